"""A person's yes to these exact arguments, once."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from valetkey.audit import Audit
from valetkey.errors import (
    ApprovalRequired,
    AuthExpired,
    Denied,
    InvalidAnswer,
    InvalidArguments,
    RateLimited,
)
from valetkey.interactions.service import Interactions
from valetkey.interactions.states import WAITING, Event
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import ANONYMOUS, Caller, Owner
from valetkey.model.calls import SESSION, Call
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.policy.rules import PermissionOf
from valetkey.ports.world import Clock
from valetkey.vault.keyring import Keyring, Purpose

ASKED_LIFETIME = 600.0
"""Seconds that a question waits for its answer."""

YES_LIFETIME = 600.0
"""Seconds after which a yes that was not used is none."""

MOST_OPEN = 20
"""Questions of one owner that may wait at once."""

DEEPEST = 64
"""Levels of nesting in arguments that can still be shown."""

LONGEST = 65_536
"""Characters of arguments that a person can still be expected to look through."""

LENDING = "lending"
"""Marks questions of `policy.consents`, which are answered there."""

PATH = "/approve/"
"""Where the page is, below the base URL; the state follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """What a person is asked.

    Attributes:
        id: the interaction's.
        arguments: all of them, to the last character, as indented JSON in ASCII: nothing hides in it.
        profile: which account was named; empty: none.
        reason: why somebody is asked.
        user: who calls; ``UserInfo.id``, or the subject where there is no user.
        entrance: the way in through which the call came.
        waiting: whether it can be answered still; ``phase`` says what became of it.
        created_at, expires_at: seconds since the epoch.
    """

    id: str
    tool: str
    arguments: str = field(repr=False)
    profile: str
    reason: str
    user: str
    workspace: str
    entrance: str
    phase: Phase
    created_at: float
    expires_at: float

    @property
    def waiting(self) -> bool:
        """Whether it can be answered still."""
        return self.phase in WAITING


class Approvals:
    """Asks for approvals, takes the answers and spends them; the row decides, on whichever instance.

    Args:
        keyring: arguments are compared by a keyed hash, which tells nobody who reads the database what they are.
        base_url: of our own pages, as browsers call them.
        permission_of: an admin of the workspace may answer, too; None: only who calls.
    """

    def __init__(
        self,
        *,
        interactions: Interactions,
        keyring: Keyring,
        audit: Audit,
        clock: Clock,
        base_url: Callable[[], str],
        permission_of: PermissionOf | None = None,
    ) -> None:
        self._interactions = interactions
        self._keyring = keyring
        self._audit = audit
        self._clock = clock
        self._base_url = base_url
        self._permission_of = permission_of

    async def ask(self, caller: Caller, call: Call, reason: str) -> NoReturn:
        """Ask about this call, unless the same question is open already.

        Raises:
            ApprovalRequired: always, where somebody can be asked; with the link.
            Denied: nobody knows who is calling, so nobody can say yes.
            InvalidArguments: the arguments cannot be shown as they are.
            RateLimited: too many questions of this owner wait already.
        """
        if caller.owner.issuer == ANONYMOUS or (caller.user is not None and caller.user.is_anonymous):
            raise Denied(f"A person has to approve this call ({reason}), and nobody knows who is calling. Sign in.")
        arguments = canonical(call.arguments)
        topic = self._topic(self._keyring.newest, caller, call, arguments)
        row = await asked_once(
            self._interactions,
            caller.owner,
            [topic],
            about={"tool": call.tool, "entrance": call.entrance, "conversation": call.conversation},
            begin=lambda state: _payload(state, caller, call, arguments, reason),
            too_many=f"{MOST_OPEN} calls wait for a person's approval already. Answer some, or wait until they end.",
        )
        state = str(self._interactions.payload(row)["state"])
        raise ApprovalRequired(
            f"A person has to approve this call of {call.tool} first: {reason}. Have them open the link, then call"
            " again with exactly the same arguments.",
            url=f"{self._base_url().rstrip('/')}{PATH}{state}",
            interaction=row.id,
        )

    async def spend(self, caller: Caller, call: Call) -> bool:
        """Use up the yes to exactly this call of this caller; False: there is none. Of several at once, one gets it.

        Raises:
            InvalidArguments: the arguments cannot be shown as they are.
        """
        arguments = canonical(call.arguments)
        for key_id in self._keyring.ids():  # the question may be older than the newest key
            topic = self._topic(key_id, caller, call, arguments)
            row = await self._interactions.find(InteractionKind.APPROVE, caller.owner, topic)
            if row is not None and row.phase is Phase.ANSWERED:
                return await self._spend(row, caller, call, arguments)
        return False

    async def _spend(self, row: Interaction, caller: Caller, call: Call, arguments: str) -> bool:
        if self._clock.now() >= float(self._interactions.answer(row)["at"]) + YES_LIFETIME:
            await self._interactions.move(row, Event.EXPIRE, reason="The approval was not used in time.")
            return False
        asked = self._interactions.payload(row)
        if (asked["tool"], asked["arguments"], asked["profile"]) != (call.tool, arguments, call.profile or ""):
            return False
        taken = await self._interactions.move(row, Event.SETTLE)
        if taken is None:
            return False
        # Spent from here on, whatever happens: what is not ended below ends by itself, and is never used again.
        await self._interactions.move(taken, Event.FINISH)
        self._tell(row, caller, "spent")
        return True

    async def asked(self, state: str, caller: Caller | None = None) -> ApprovalRequest:
        """The question that a link's state names; with a caller, only for one who may answer it.

        Raises:
            InvalidAnswer: there is none.
            Denied: it is not this caller's to see.
        """
        row = await self._row(state)
        if caller is not None and not await self._may(caller, row):
            self._tell(row, caller, "wrong_person")
            raise _not_yours()
        asked = self._interactions.payload(row)
        return ApprovalRequest(
            id=row.id,
            tool=str(asked["tool"]),
            arguments=json.dumps(json.loads(asked["arguments"]), indent=2, ensure_ascii=True),
            profile=str(asked["profile"]),
            reason=str(asked["reason"]),
            user=str(asked["user"]),
            workspace=row.owner.workspace,
            entrance=str(row.about.get("entrance", "")),
            phase=row.phase,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )

    async def answer(self, state: str, caller: Caller, *, yes: bool) -> None:
        """Take the answer of whoever may give it: the caller's own principal, or an admin of the workspace.

        They have to be signed in in a browser: whoever holds a program's token cannot approve that program's calls.

        Raises:
            InvalidAnswer: there is no such question, or it was answered.
            AuthExpired: it comes too late.
            Denied: this caller may not answer.
        """
        row = await self._row(state)
        if not await self._may(caller, row):
            self._tell(row, caller, "wrong_person")
            raise _not_yours()
        await self._answer(row, caller, yes=yes)

    async def answer_here(self, interaction_id: str, caller: Caller, *, conversation: str, yes: bool) -> None:
        """Take the answer of the person who sits at the conversation in which the call was made.

        Only a way in that hears a person, and no program or model, may pass it on.

        Raises:
            InvalidAnswer: there is no such question, or it was answered.
            AuthExpired: it comes too late.
            Denied: it was asked for another owner, or in another conversation.
        """
        row = await self._interactions.get(interaction_id)
        if row is None or row.kind is not InteractionKind.APPROVE or row.about.get(LENDING):
            raise InvalidAnswer("There is no such question here. Have the call made again.")
        if row.owner != caller.owner or not conversation or row.about.get("conversation") != conversation:
            self._tell(row, caller, "wrong_person")
            raise _not_yours()
        await self._answer(row, caller, yes=yes)

    async def withdraw(self, interaction_id: str, reason: str) -> None:
        """Nobody is to answer it any more, and no yes to it is to be used; one that is over stays as it is."""
        row = await self._interactions.get(interaction_id)
        if row is None or row.kind is not InteractionKind.APPROVE:
            return
        if row.phase in WAITING or row.phase is Phase.ANSWERED:
            await self._interactions.move(row, Event.EXPIRE, reason=reason)

    async def _answer(self, row: Interaction, caller: Caller, *, yes: bool) -> None:
        if row.phase is Phase.EXPIRED:
            raise AuthExpired(row.reason or "This question has ended. Have the program call again.")
        if row.phase not in WAITING:
            raise InvalidAnswer(f"This question was answered already ({row.phase}). Go back to the program.")
        if yes:
            answer = {"by": list(caller.principal), "at": self._clock.now()}
            moved = await self._interactions.move(row, Event.ANSWER, answer=answer)
        else:
            moved = await self._interactions.move(row, Event.REFUSE, reason="The person did not approve this call.")
        if moved is None:
            raise InvalidAnswer("This question was just answered in another window. Go back to the program.")
        self._tell(row, caller, "ok" if yes else "refused")

    async def _row(self, state: str) -> Interaction:
        row = await self._interactions.by_state(state)
        if row.kind is not InteractionKind.APPROVE or row.about.get(LENDING):
            raise InvalidAnswer("This link is not known here. Go back to the program and ask for a new link.")
        return row

    async def _may(self, caller: Caller, row: Interaction) -> bool:
        if caller.how != SESSION:
            return False
        if caller.principal == (row.owner.issuer, row.owner.subject):
            return True
        if self._permission_of is None:
            return False
        from valetkey.model.users import UserPermission, includes  # noqa: PLC0415 - Pocket loads without it

        held = self._permission_of(caller, row.owner.workspace)
        return includes(await held if inspect.isawaitable(held) else held, UserPermission.admin)

    def _topic(self, key_id: str, caller: Caller, call: Call, arguments: str) -> str:
        """A keyed hash of all that the yes is for; the owner is part of the row's own key besides."""
        what = [*caller.principal, caller.owner.workspace, call.tool, call.profile or "", arguments]
        if call.entrance == "chat":
            what.append(call.conversation)  # a yes in one window lets no call of another one through
        key = self._keyring.subkey(Purpose.HASH, key_id)
        return hmac.new(key, b"approval\n" + json.dumps(what).encode(), hashlib.sha256).hexdigest()

    def _tell(self, row: Interaction, caller: Caller, outcome: str) -> None:
        self._audit.tell(
            Entry(
                action=Action.APPROVE,
                outcome=outcome,
                workspace=row.owner.workspace,
                what=str(row.about.get("tool", "")),
                details={"interaction": row.id, "asked_for": row.owner.subject},
            ).by(caller)
        )


async def asked_once(
    interactions: Interactions,
    owner: Owner,
    topics: Sequence[str],
    *,
    about: Mapping[str, Any],
    begin: Callable[[str], Awaitable[Mapping[str, Any]]],
    too_many: str,
) -> Interaction:
    """The question of that topic: the one that is open already, else a new one.

    Args:
        interactions: where questions are.
        owner: who is asked.
        topics: what it is known by, under the newest key first.
        about: what may be told of it.
        begin: makes its payload.
        too_many: the text where too many wait.

    Raises:
        RateLimited: too many questions of this owner wait already.
    """
    for topic in topics:
        row = await interactions.find(InteractionKind.APPROVE, owner, topic)
        if row is not None:
            return row
    there = await interactions.of_owner(owner, InteractionKind.APPROVE)
    if sum(row.phase in WAITING for row in there) >= MOST_OPEN:  # a yes that no call used waits for nobody
        raise RateLimited(too_many, retry_after=60)
    return await interactions.open(
        kind=InteractionKind.APPROVE,
        owner=owner,
        topic=topics[0],
        about=about,
        begin=begin,
        lifetime=ASKED_LIFETIME,
    )


async def _payload(state: str, caller: Caller, call: Call, arguments: str, reason: str) -> Mapping[str, Any]:
    return {
        "state": state,
        "tool": call.tool,
        "arguments": arguments,
        "profile": call.profile or "",
        "reason": reason,
        "user": caller.owner.subject if caller.user is None else caller.user.id,
    }


def canonical(arguments: Mapping[str, object]) -> str:
    """Arguments as the one text that stands for them: JSON, sorted (RFC 8785's order for ASCII names), in ASCII.

    Raises:
        InvalidArguments: JSON does not have a value of that kind, so that nobody could be shown what it is.
    """
    _check(dict(arguments), depth=0)
    try:
        text = json.dumps(dict(arguments), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except ValueError:  # an integer of thousands of digits
        raise _unshowable("a number in them is too long") from None
    if len(text) > LONGEST:
        raise _unshowable(f"they are longer than {LONGEST} characters")
    return text


def _check(value: object, *, depth: int) -> None:
    # Exactly these types: what merely looks like a text or a number may say something else when it is used.
    if depth > DEEPEST:
        raise _unshowable("they are nested too deeply")
    if type(value) is dict:
        for name, each in value.items():
            if type(name) is not str:
                raise _unshowable("a name in them is no text")
            _check(each, depth=depth + 1)
    elif type(value) is list:
        for each in value:
            _check(each, depth=depth + 1)
    elif type(value) is float:
        if not math.isfinite(value):
            raise _unshowable("a number in them is not finite")
    elif value is not None and type(value) not in (str, int, bool):
        raise _unshowable(f"one is of the type {type(value).__name__}, which JSON does not have")


def _unshowable(why: str) -> InvalidArguments:
    return InvalidArguments(f"A person has to see the arguments of this call, and cannot: {why}.")


def _not_yours() -> Denied:
    return Denied("This question is not yours to answer. Sign in as who asked, or as an admin of the workspace.")
