"""The accounts that are kept: list them, find one by its name, rename it, add one whose secret is at hand."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

from valetkey.connections.find import ambiguous
from valetkey.connections.finder import Finder, known
from valetkey.connections.handler import Flow, Handler
from valetkey.connections.keep import Keeper
from valetkey.errors import InvalidArguments, StoreUnavailable
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection
from valetkey.ports.stores import ConnectionStore
from valetkey.ports.world import Clock, Entropy
from valetkey.providers.names import nearest, shown

LEASE = 20.0
"""Seconds that a change may keep refreshes away from a row."""

PATIENCE = 45.0
"""Seconds to wait for a refresh that is under way."""

POLL = 0.05
"""Seconds between two looks at a row that is being refreshed."""

LONGEST = 128
"""Characters of a profile's name."""


class Accounts:
    """What a person or an operator does with accounts, besides connecting them."""

    def __init__(
        self, *, store: ConnectionStore, keeper: Keeper, finder: Finder, clock: Clock, entropy: Entropy
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._finder = finder
        self._clock = clock
        self._me = entropy.token(12)
        self._entropy = entropy

    async def all(self, owner: Owner | None = None) -> list[Connection]:
        """Those of one owner, or of all, by owner, provider and profile."""
        if owner is not None:
            return list(await self._store.of_owner(owner))
        found: list[Connection] = []
        while page := await self._store.page(after=found[-1].id if found else ""):
            found.extend(page)
        return sorted(found, key=lambda row: (*_parts(row.owner), row.provider, row.profile))

    async def find(self, name: str, owner: Owner) -> Connection:
        """The account with that id, or the owner's that ``provider`` or ``provider:profile`` names.

        Raises:
            InvalidArguments: there is none; names the nearest.
            AmbiguousConnection: the owner has several at that provider, and no profile was named.
        """
        provider, colon, profile = name.partition(":")
        rows = await self._store.of_owner(owner)
        found = [row for row in rows if row.provider == provider.lower() and (not colon or row.profile == profile)]
        if len(found) > 1:
            advice = f"Name one, such as {_named(found[0])}."
            raise ambiguous(self._title(found[0]), found, advice)
        if found:
            return found[0]
        by_id = await self._store.by_id(name)
        if by_id is None:
            theirs = [_named(row) for row in rows]
            told = nearest(name, theirs) or (f" It has {', '.join(theirs[:8])}." if theirs else " It has none.")
            raise InvalidArguments(f"The thread {shown(owner.subject)} has no account {shown(name)}.{told}")
        return by_id

    async def rename(self, connection: Connection, profile: str) -> Connection:
        """Keep the account under another profile.

        No refresh is in flight meanwhile: it would write the row back as it knew it. What is sealed stays as it is.

        Raises:
            InvalidArguments: the name cannot be used, or is taken; or the account is gone.
            StoreUnavailable: the row is busy all the time.
        """
        profile = checked_profile(profile)
        deadline = self._clock.monotonic() + PATIENCE
        while True:
            before = await self._store.by_id(connection.id)
            if before is None:
                raise InvalidArguments(f"The account {_named(connection)} was disconnected meanwhile.")
            if before.profile == profile:
                return before
            if await self._store.get(before.owner, before.provider, profile) is not None:
                raise InvalidArguments(
                    f"There is an account {before.provider}:{profile} already. Rename or disconnect that one first."
                )
            renamed = await self._rename(before, profile)
            if renamed is not None:
                return renamed
            if self._clock.monotonic() > deadline:
                raise StoreUnavailable("The account is being refreshed, and that does not end. Try again.")
            await self._clock.sleep(POLL)

    async def _rename(self, before: Connection, profile: str) -> Connection | None:
        attempt = self._entropy.token(12)
        now = self._clock.now()
        if not await self._store.lease(
            before.id,
            generation=before.generation,
            owner=self._me,
            attempt=attempt,
            now=now,
            ttl=LEASE,
            seen=before.attempt_id,
        ):
            return None
        saved = False
        try:
            leased = await self._store.by_id(before.id)
            if leased is None or leased.attempt_id != attempt:
                return None
            # The trace of an attempt whose outcome nobody knows is not ours to remove.
            renamed = replace(
                leased,
                profile=profile,
                lease_owner="",
                lease_until=0.0,
                attempt_id=before.attempt_id,
                attempt_started=before.attempt_started,
                updated_at=now,
            )
            saved = await self._store.save(renamed, generation=before.generation)
        finally:
            if not saved:
                await self._store.release(before.id, owner=self._me, attempt=attempt, unclear=bool(before.attempt_id))
        return renamed if saved else None

    async def add(
        self, handler: Handler, owner: Owner, profile: str, values: Mapping[str, str], *, instead: bool = False
    ) -> Connection:
        """Keep what a person would paste on our form, under that profile; ``instead`` of what may be there.

        Raises:
            InvalidArguments: the name cannot be used or is taken, or nothing is pasted for this handler.
            InvalidAnswer: a value is missing, or can be none, or the provider does not take it; the text names it.
        """
        profile = checked_profile(profile)
        if not handler.fields:
            raise InvalidArguments(f"{handler.name} takes nothing that is pasted: an account is connected by a link.")
        answer = await handler.tried(handler.judge({}, list(values.items())))
        flow = Flow(state="", owner=owner, profile=profile, scopes=frozenset(), redirect_uri="", pages="")
        grant = await handler.finish(flow, {}, answer)
        if instead:
            return await self._keeper.keep(grant, handler, owner, profile=profile, asked=frozenset())
        made = self._keeper.make(grant, handler, owner, profile=profile, asked=frozenset(), kept=True)
        if not await self._store.insert(made):
            raise InvalidArguments(
                f"The thread {shown(owner.subject)} has an account {_named(made)} already. "
                "Take another name, or replace it with --replace."
            )
        return made

    def _title(self, connection: Connection) -> str:
        handler = known(self._finder, connection.handler, connection.provider)
        return connection.provider if handler is None else handler.provider.title


def checked_profile(name: str) -> str:
    """A profile's name that can be typed and read.

    Raises:
        InvalidArguments: it is empty, too long, or holds what cannot be seen.
    """
    plain = unicodedata.normalize("NFC", name.strip())
    if not 0 < len(plain) <= LONGEST or not plain.isprintable():
        raise InvalidArguments(f"A profile's name has 1 to {LONGEST} characters that can be seen.")
    return plain


def _named(connection: Connection) -> str:
    return f"{connection.provider}:{connection.profile}"


def _parts(owner: Owner) -> Sequence[str]:
    return owner.workspace, owner.issuer, owner.subject
