"""A person's yes to lending accounts to a service in somebody else's process: asked for once, with an end."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from valetkey.audit import Audit
from valetkey.errors import (
    ApprovalRequired,
    AuthExpired,
    Denied,
    InvalidAnswer,
    StoreUnavailable,
)
from valetkey.interactions.service import Interactions
from valetkey.interactions.states import WAITING, Event
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import ANONYMOUS, Caller, Owner
from valetkey.model.calls import SESSION, TICKET
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.model.lendings import FACTS, Lending, lending_of
from valetkey.policy.approvals import LENDING, MOST_OPEN, PATH, asked_once
from valetkey.policy.rules import Allow, Question, Verdict
from valetkey.ports.world import Clock
from valetkey.vault.keyring import Keyring, Purpose

Keep = Callable[[Owner, str, Lending], Awaitable[None]]
"""Keeps a yes: whose, their ``UserInfo.id``, to what."""


@dataclass(frozen=True, slots=True)
class AskedFirst:
    """A caller's own accounts may be lent to a service once they were asked: the road only leads to the question."""

    name: ClassVar[str] = "asked-first"
    text: ClassVar[str] = "A service may be lent the caller's own accounts, after the caller said yes to that."

    def judge(self, question: Question) -> Verdict | None:
        """Yes for a service that is called by somebody who is known."""
        if question.action != "call" or question.call.entrance != "rpc" or is_nobody(question.caller):
            return None
        return Allow()


@dataclass(frozen=True, slots=True)
class HoldsTicket:
    """A ticket is for the provider that it names, and for the service that it was lent to."""

    name: ClassVar[str] = "holds-ticket"
    text: ClassVar[str] = "A service may use the account that it holds a ticket for, while its call lasts."

    def judge(self, question: Question) -> Verdict | None:
        """Yes where the ticket is for this."""
        call, caller = question.call, question.caller
        if question.action != "call" or call.entrance != "proxy" or caller.how != TICKET:
            return None
        lent = lending_of(caller.user)
        if lent is None or call.tool != lent.service:
            return None
        needs = [need.provider for alternative in call.needs.alternatives for need in alternative]
        lends = [account.provider for account in lent.accounts if account.profile == call.profile]
        return Allow() if needs and set(needs) <= set(lends) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a person is asked for, in words that others gave: for the page.

    Attributes:
        title: what the service calls itself.
        runs: who runs it: ``UserInfo.id``, or the subject.
        accounts: for each account the provider's title, the account's name, what is asked for, and what it can do
            besides.
        lifetime: seconds that the yes holds.
    """

    title: str
    runs: str
    accounts: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...]
    lifetime: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRequest:
    """A question, as its page shows it.

    Attributes:
        issuer: who vouches for whoever runs the service.
        user: whose accounts.
        created_at, expires_at: of the question, seconds since the epoch.
    """

    lending: Lending
    terms: Terms
    user: str
    workspace: str
    phase: Phase
    created_at: float
    expires_at: float

    @property
    def waiting(self) -> bool:
        """Whether it can be answered still."""
        return self.phase in WAITING


class Consents:
    """Asks, and takes the answers; the row decides, on whichever instance.

    Args:
        keyring: questions are told apart by a keyed hash.
        base_url: of our own pages, as browsers call them.
        keep: keeps a yes.
        lifetime: seconds that one holds.
    """

    def __init__(
        self,
        *,
        interactions: Interactions,
        keyring: Keyring,
        audit: Audit,
        clock: Clock,
        base_url: Callable[[], str],
        keep: Keep,
        lifetime: float,
    ) -> None:
        self._interactions = interactions
        self._keyring = keyring
        self._audit = audit
        self._clock = clock
        self._base_url = base_url
        self._keep = keep
        self.lifetime = lifetime

    async def ask(self, caller: Caller, lending: Lending, terms: Terms) -> NoReturn:
        """Ask the caller in person, unless the same question is open already.

        Raises:
            ApprovalRequired: always, where somebody can be asked; with the link.
            Denied: nobody knows who is calling, so nobody can say yes.
            RateLimited: too many questions of this caller wait already.
        """
        if is_nobody(caller):
            raise Denied("This service asks for an account of yours, and nobody knows who is calling. Sign in.")
        owner = caller.owner
        topics = [self._topic(key_id, lending, owner) for key_id in self._keyring.ids()]
        row = await asked_once(
            self._interactions,
            owner,
            topics,
            about={"tool": lending.service, LENDING: True},
            begin=lambda state: _payload(state, caller, lending, terms),
            too_many=f"{MOST_OPEN} questions wait for you already. Answer some.",
        )
        state = str(self._interactions.payload(row)["state"])
        named = ", ".join(each.provider for each in lending.accounts)
        raise ApprovalRequired(
            f"{lending.service} is run by somebody else, and asks for your account at {named}. Open the link and"
            " answer, then call again.",
            url=f"{self._base_url().rstrip('/')}{PATH}{state}",
            interaction=row.id,
        )

    async def asked(self, state: str, caller: Caller) -> ConsentRequest | None:
        """The question that a link's state names, for the person who was asked; None: it is one of another kind.

        Raises:
            InvalidAnswer: there is none.
            Denied: it is not this caller's to see.
        """
        row = await self._interactions.by_state(state)
        if row.kind is not InteractionKind.APPROVE or not row.about.get(LENDING):
            return None
        self._check(row, caller)
        payload = self._interactions.payload(row)
        return ConsentRequest(
            lending=_lending(payload),
            terms=_terms(payload),
            user=str(payload["user"]),
            workspace=row.owner.workspace,
            phase=row.phase,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )

    async def answer(self, state: str, caller: Caller, *, yes: bool) -> None:
        """Take the answer of the person themself, signed in in a browser; nobody's admin lends their accounts.

        Raises:
            InvalidAnswer: there is no such question, or it was answered.
            AuthExpired: it comes too late.
            Denied: this caller may not answer.
            StoreUnavailable: the yes cannot be kept, and does not hold.
        """
        row = await self._interactions.by_state(state)
        if row.kind is not InteractionKind.APPROVE or not row.about.get(LENDING):
            raise InvalidAnswer("This link is not known here. Go back to the program and ask for a new link.")
        self._check(row, caller)
        if row.phase is Phase.EXPIRED:
            raise AuthExpired(row.reason or "This question has ended. Call the service again.")
        if row.phase not in WAITING:
            raise InvalidAnswer(f"This question was answered already ({row.phase}). Go back to the program.")
        if not yes:
            if await self._interactions.move(row, Event.REFUSE, reason="The person did not lend this account."):
                self._tell(row, caller, "refused")
                return
            raise _too_slow()
        payload = self._interactions.payload(row)
        answer = {"by": list(caller.principal), "at": self._clock.now()}
        answered = await self._interactions.move(row, Event.ANSWER, answer=answer)
        taken = None if answered is None else await self._interactions.move(answered, Event.SETTLE)
        if taken is None:
            raise _too_slow()
        try:
            await self._keep(row.owner, str(payload["user"]), _lending(payload))
        except BaseException:
            await self._interactions.move(taken, Event.FAIL, reason="Your yes could not be kept. Call again.")
            raise
        await self._interactions.move(taken, Event.FINISH)
        self._tell(row, caller, "ok")

    def _check(self, row: Interaction, caller: Caller) -> None:
        if caller.how != SESSION or caller.principal != (row.owner.issuer, row.owner.subject):
            self._tell(row, caller, "wrong_person")
            raise Denied("This question is not yours to answer. Sign in as who called the service.")

    def _topic(self, key_id: str, lending: Lending, owner: Owner) -> str:
        key = self._keyring.subkey(Purpose.HASH, key_id)
        what = json.dumps([lending.facts, owner.workspace], sort_keys=True)
        return hmac.new(key, b"lending\n" + what.encode(), hashlib.sha256).hexdigest()

    def _tell(self, row: Interaction, caller: Caller, outcome: str) -> None:
        self._audit.tell(
            Entry(
                action=Action.APPROVE,
                outcome=outcome,
                workspace=row.owner.workspace,
                what=str(row.about.get("tool", "")),
                details={"interaction": row.id, "asked_for": row.owner.subject, "kind": FACTS},
            ).by(caller)
        )


def is_nobody(caller: Caller) -> bool:
    """Whether nobody knows who it is."""
    return caller.owner.issuer == ANONYMOUS or caller.user is None or caller.user.is_anonymous


async def _payload(state: str, caller: Caller, lending: Lending, terms: Terms) -> Mapping[str, Any]:
    return {
        "state": state,
        FACTS: lending.facts,
        "title": terms.title,
        "runs": terms.runs,
        "accounts": [list(each) for each in terms.accounts],
        "lifetime": terms.lifetime,
        "user": caller.owner.subject if caller.user is None else caller.user.get_effective_user_id(),
    }


def _lending(payload: Mapping[str, Any]) -> Lending:
    found = Lending.read(payload[FACTS])
    if found is None:
        raise StoreUnavailable("This question cannot be read any more. Call the service again.")
    return found


def _terms(payload: Mapping[str, Any]) -> Terms:
    accounts: Sequence[Sequence[Any]] = payload["accounts"]
    return Terms(
        title=str(payload["title"]),
        runs=str(payload["runs"]),
        accounts=tuple(
            (str(title), str(account), tuple(map(str, asked)), tuple(map(str, more)))
            for title, account, asked, more in accounts
        ),
        lifetime=float(payload["lifetime"]),
    )


def _too_slow() -> InvalidAnswer:
    return InvalidAnswer("This question was just answered in another window. Go back to the program.")
