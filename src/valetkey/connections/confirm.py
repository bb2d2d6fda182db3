"""Before an account is used or takes another one's place: whether the person must say that it is theirs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from valetkey.connections.handler import Handler
from valetkey.connections.keep import Keeper
from valetkey.connections.revoke import Ended, Revoker
from valetkey.errors import ValetkeyError, VaultError
from valetkey.interactions.service import LINK_LIFETIME, SETTLE_LIFETIME, Interactions
from valetkey.interactions.states import Event
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Credential, Grant, Sealed, Subject
from valetkey.model.interactions import CONFIRM, GRANT, Interaction
from valetkey.model.revocations import Revocation
from valetkey.ports.stores import ConnectionStore, RevocationStore
from valetkey.vault.seal import Sealer

MARGIN = 60.0
"""Seconds past the end of a question after which what was not kept is revoked."""

DECLINED = "The person did not want this account. What it gave is revoked at the provider, where that can be done."

SPARED = "ending it at the provider could end another account that is connected there, too."


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the person is asked.

    Attributes:
        account: the account that signed in; empty: the provider did not tell.
        before: the one that is connected until now; empty: none, or it has no name.
        replaces: whether there is one until now, which is another.
    """

    account: str = ""
    before: str = ""
    replaces: bool = False


class Confirming:
    """Holds back what was obtained until its owner says yes (RFC 8628 §5.4; RFC 9700 §4.7).

    What is held back is noted as a revocation whose time comes when the question is over: whatever happens to this
    process, nothing lives on at the provider that nobody wanted. A yes takes the note back.

    Args:
        personal: whether several people are served: then an account that came without a browser is always asked about.
    """

    def __init__(
        self,
        *,
        interactions: Interactions,
        store: ConnectionStore,
        revocations: RevocationStore,
        sealer: Sealer,
        keeper: Keeper,
        revoker: Revoker,
        personal: Callable[[], bool],
    ) -> None:
        self._interactions = interactions
        self._store = store
        self._revocations = revocations
        self._sealer = sealer
        self._keeper = keeper
        self._revoker = revoker
        self._personal = personal

    async def question(self, grant: Grant, handler: Handler, owner: Owner, profile: str) -> Question | None:
        """What to ask of that grant; None: nothing.

        Where either account is not known by its subject, their names tell that they are two, but never that they are
        one: people may choose the same name.
        """
        held = await self._store.get(owner, handler.provider.name, profile)
        known = None if held is None else self._subject(held)
        told = grant.credential.subject
        if known is not None and told is not None:
            same = _same(known, told)
            other = not same
        else:
            before = None if held is None else held.account
            same, other = False, bool(before and grant.account) and before != grant.account
        if not other and (same or not (handler.polls and self._personal())):
            return None
        return Question(
            account=grant.account or (told.subject if told else ""),
            before=_named(held, known) if other else "",
            replaces=other,
        )

    async def asks(
        self, taken: Interaction, payload: Mapping[str, Any], grant: Grant, handler: Handler, *, pages: str
    ) -> bool:
        """Whether the person has to say that this is the account that they meant; then the grant waits for that.

        Args:
            taken: the flow that is being settled.
            payload: its sealed part.
            grant: what the handler obtained.
            handler: by which it was.
            pages: base URL of our own pages.
        """
        owner, profile = taken.owner, str(taken.about["profile"])
        question = await self.question(grant, handler, owner, profile)
        if question is None:
            return False
        asked_for = frozenset(payload["scopes"])
        held = await self.hold(grant, handler, owner, question, profile=profile, asked=asked_for)
        url = f"{pages}/auth/{handler.provider.name}/confirm/{taken.id}"
        # What began the flow is of no use any more, the code that the person entered among it.
        kept = {name: value for name, value in payload.items() if name != "shown"}
        about = {name: value for name, value in taken.about.items() if name != "device"}
        asked = await self._interactions.move(
            taken,
            Event.ASK,
            payload={**kept, "private": {}, "url": url, GRANT: held},
            about={**about, CONFIRM: True},
        )
        if asked is None:
            await self.given_up(held, owner, handler)
        return True

    async def hold(
        self, grant: Grant, handler: Handler, owner: Owner, question: Question, *, profile: str, asked: frozenset[str]
    ) -> dict[str, Any]:
        """Keep the grant back; what to keep of it in the sealed part of the flow's row.

        Raises:
            StoreUnavailable: the note could not be written.
        """
        stand_in = self._keeper.make(grant, handler, owner, profile=profile, asked=asked, kept=False)
        note = self._revoker.prepare(stand_in, grant.credential)
        spared = await self._spared(grant.credential.subject, handler, owner)
        held = {
            "id": note.id,
            "handler": note.handler,
            "provider": note.provider,
            "created_at": note.created_at,
            "sealed": base64.b64encode(note.sealed).decode(),
            "scopes": None if grant.scopes is None else sorted(grant.scopes),
            "expires_at": grant.expires_at,
            "account": grant.account,
            "note": grant.note,
            "question": {"account": question.account, "before": question.before, "replaces": question.replaces},
            "spared": spared,
        }
        if not spared:
            wait = LINK_LIFETIME + SETTLE_LIFETIME + MARGIN
            await self._revocations.add(replace(note, next_try_at=note.created_at + wait))
        return held

    async def taken(self, held: Mapping[str, Any], owner: Owner) -> Grant:
        """The grant that was held back, to be kept now: it is not revoked any more.

        Raises:
            VaultError: it cannot be opened any more.
            StoreUnavailable: the note could not be taken back.
        """
        credential = self._credential(held, owner)
        await self._revocations.remove(held["id"])
        scopes = held["scopes"]
        return Grant(
            credential=credential,
            scopes=None if scopes is None else frozenset(scopes),
            expires_at=held["expires_at"],
            account=held["account"],
            note=held["note"],
        )

    async def given_up(self, held: Mapping[str, Any], owner: Owner, handler: Handler | None) -> Ended:
        """The person does not want it: revoke it now; what cannot be is tried again by upkeep."""
        note, spared = _note(held, owner), bool(held.get("spared"))
        try:
            if handler is not None and await self._spared(self._told(held, owner), handler, owner):
                await self._revocations.remove(note.id)
                return Ended(reason=SPARED)
            if spared and handler is None:
                return Ended(reason=SPARED)
            if spared:  # what it was spared for is gone since
                await self._revocations.add(note)
            return await self._revoker.revoke(note, handler)
        except ValetkeyError as error:
            return Ended(queued=not spared, reason=error.message)

    async def _spared(self, told: Subject | None, handler: Handler, owner: Owner) -> bool:
        """Whether it has to live on: where revoking one token ends all of an account's, none that is connected may end.

        Only one that is known to be another account is not concerned.
        """
        if not handler.revocation_ends_all:
            return False
        rows = await self._store.of_owner(owner, handler.provider.name)
        known = [self._subject(row) for row in rows]
        return any(each is None or told is None or _same(each, told) for each in known)

    def _told(self, held: Mapping[str, Any], owner: Owner) -> Subject | None:
        try:
            return self._credential(held, owner).subject
        except VaultError:
            return None

    def _credential(self, held: Mapping[str, Any], owner: Owner) -> Credential:
        return self._sealer.open_revocation(_note(held, owner))

    def _subject(self, held: Connection) -> Subject | None:
        try:
            return self._sealer.open_credential(held).subject
        except VaultError:
            return None  # nothing can be compared with what nobody can open


def question_of(held: Mapping[str, Any]) -> Question:
    """What is asked of a grant that is held back."""
    asked = held["question"]
    return Question(account=asked["account"], before=asked["before"], replaces=asked["replaces"])


def _named(held: Connection | None, known: Subject | None) -> str:
    if held is not None and held.account:
        return held.account
    return "" if known is None else known.subject


def _same(first: Subject, now: Subject) -> bool:
    """Whether both are one account. What an API tells has its own name for the issuer, and no audience."""
    named_alike = first.issuer == now.issuer or not (first.audience and now.audience)
    return named_alike and first.subject == now.subject


def _note(held: Mapping[str, Any], owner: Owner) -> Revocation:
    return Revocation(
        id=held["id"],
        owner=owner,
        provider=held["provider"],
        handler=held["handler"],
        sealed=Sealed(base64.b64decode(held["sealed"])),
        created_at=held["created_at"],
    )
