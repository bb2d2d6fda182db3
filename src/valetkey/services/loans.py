"""What a service is lent for one call: a ticket for our proxy for each account, never the account's own credential."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from valetkey.connections.find import Connector
from valetkey.connections.finder import Finder, known
from valetkey.errors import Denied, InvalidSetting, MissingSetting, Unauthenticated, UnknownProvider, ValetkeyError
from valetkey.identity.tokens import Tokens
from valetkey.model.caller import OURS, Caller, Owner
from valetkey.model.calls import Call, Connected
from valetkey.model.connections import DEFAULT_PROFILE, Connection
from valetkey.model.lendings import FACTS, VIA, Account, Lending, lending_of, may_be_lent
from valetkey.model.needs import Need, Needs
from valetkey.model.services import Registered
from valetkey.model.tokens import Token, TokenKind
from valetkey.model.users import ScopeInfo
from valetkey.policy.consents import Consents, Terms, is_nobody
from valetkey.policy.decide import Policy
from valetkey.ports.world import Clock
from valetkey.services.complaints import Complaints
from valetkey.services.relay import ServiceLoan
from valetkey.services.sight import Who

LONGEST = 300.0
"""Seconds that a ticket is good, if its call does not end before."""

REMEMBERED = 10_000
"""Consents whose ids are remembered; each is looked up by it at every call."""

LONGEST_NAME = 100

_NOT_SET_UP = "This service asks for an account that cannot be connected here. Ask whoever runs this server."
_log = logging.getLogger("valetkey.services")


class Loans:
    """Lends to services that ask for accounts of their callers; for use on the home loop.

    Args:
        policy: decides first, as for any call.
        connector: finds the caller's accounts, or asks for them.
        consents: asks the caller, where the service is somebody else's.
        base_url: the public address, without a slash at the end.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        connector: Connector,
        consents: Consents,
        finder: Finder,
        tokens: Tokens,
        clock: Clock,
        base_url: Callable[[], str],
    ) -> None:
        self._policy = policy
        self._connector = connector
        self._consents = consents
        self._finder = finder
        self._tokens = tokens
        self._clock = clock
        self._complain = Complaints(clock)
        self._base_url = base_url
        self._known: OrderedDict[tuple[Owner, Lending], str] = OrderedDict()
        self._ending: set[asyncio.Task[None]] = set()

    async def lend(self, service: Registered, who: Who) -> ServiceLoan:
        """Tickets for one call of that service by that caller.

        Raises:
            Denied: a rule says no, or nobody knows who is calling.
            AuthRequired: the caller has to connect an account first; holds the link.
            AmbiguousConnection: several accounts fit.
            ApprovalRequired: the caller has to say yes first; holds the link.
            Unauthenticated: the caller's token, or their yes, has just ended.
        """
        caller = who.caller
        if is_nobody(caller):
            raise Denied("This service asks for an account of yours, and nobody knows who is calling. Sign in.")
        wanted = {need.provider for alternative in service.needs.alternatives for need in alternative}
        if not may_be_lent(caller.user, wanted):
            raise Denied(
                "This token was made for a program, and lends no account of whoever made it. They can make one with the"
                f" extra scope {' and '.join(f'{VIA}{each}' for each in sorted(wanted))}; or call with your own."
            )
        name = f"{service.workspace}/{service.id}"
        call = Call(tool=name, needs=service.needs, entrance="rpc")
        allowed = await self._policy.decide(caller, call)
        try:
            connected = await self._connector.connect(allowed)
        except (UnknownProvider, MissingSetting, InvalidSetting) as error:  # its text is for whoever runs the server
            self._complain("nobody can be asked for what a service needs: %s", f"{name}: {error}")
            raise type(error)(_NOT_SET_UP) from None
        if not connected.connections:
            return ServiceLoan(told={}, end=lambda: None)
        lending = Lending(
            service=name,
            registrant=service.registrant,
            accounts=_accounts(service.needs, connected.connections),
            delegated=service.delegated,
        )
        parent = await self._parent(caller, lending, service, connected)
        issued = [await self._ticket(caller, lending, account, parent) for account in lending.accounts]
        via = {
            account.provider: {
                "url": f"{self._base_url().rstrip('/')}/via/{account.provider}",
                "token": text,
                "expires_at": token.expires_at,
            }
            for account, (text, token) in zip(lending.accounts, issued, strict=True)
        }
        tickets = [token for _, token in issued]
        return ServiceLoan(told={"via": via}, end=lambda: self._end(tickets))

    async def _parent(self, caller: Caller, lending: Lending, service: Registered, connected: Connected) -> str:
        """The token with which tickets end: the caller's own for a service of theirs, else their yes."""
        if service.registrant == caller.principal and not service.delegated:
            return await self._tokens.parent(caller)
        consent = await self._consent(caller, lending)
        if consent is None:
            await self._consents.ask(caller, lending, self._terms(service, lending, connected))
        return consent.id

    async def _consent(self, caller: Caller, lending: Lending) -> Token | None:
        key = caller.owner, lending
        remembered = self._known.get(key)
        if remembered is not None:
            row = await self._tokens.find(remembered)
            if row is not None and self._covers(row, caller.owner, lending):
                return row
            del self._known[key]
        for row in await self._tokens.of(*caller.principal, TokenKind.CONSENT):
            if self._covers(row, caller.owner, lending):
                self._known[key] = row.id
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
                return row
        return None

    def _covers(self, row: Token, owner: Owner, lending: Lending) -> bool:
        over = row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= self._clock.now())
        return not over and row.kind is TokenKind.CONSENT and row.owner == owner and lending_of(row.user) == lending

    async def _ticket(self, caller: Caller, lending: Lending, account: Account, parent: str) -> tuple[str, Token]:
        user = caller.user
        left = LONGEST if caller.until is None else min(LONGEST, caller.until - self._clock.now())
        if user is None or left <= 0:
            raise Unauthenticated("The token has expired. Please fetch a new one")
        own = replace(lending, accounts=(account,), asker=caller.token)
        scope = ScopeInfo(**{"extra_scopes": [f"{VIA}{account.provider}"], FACTS: own.facts})  # type: ignore[arg-type]
        bearer = user.model_copy(deep=True, update={"scope": scope, "current_workspace": None})
        secret, token = await self._tokens.issue(
            TokenKind.TICKET, bearer, caller.owner, expires_in=left, name=_named(lending.service), parent=parent
        )
        return secret.reveal(), token

    def _terms(self, service: Registered, lending: Lending, connected: Connected) -> Terms:
        issuer, subject = service.registrant
        runs = subject if issuer == OURS else f"{subject} ({issuer})"
        rows = {connection.provider: connection for connection in connected.connections}
        return Terms(
            title=service.name or service.id,
            runs=f"a program that {runs} gave a token" if service.delegated else runs,
            accounts=tuple(self._shown(each, rows[each.provider]) for each in lending.accounts),
            lifetime=self._consents.lifetime,
        )

    def _shown(self, account: Account, row: Connection) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
        handler = known(self._finder, row.handler, row.provider)
        title = row.provider if handler is None else handler.provider.title
        profile = "" if row.profile == DEFAULT_PROFILE else row.profile
        besides = tuple(sorted(row.scopes - set(account.scopes)))
        return title, row.account or profile, account.scopes, besides

    def _end(self, tickets: Sequence[Token]) -> None:
        self._spawn(self._ended(tickets))

    async def _ended(self, tickets: Sequence[Token]) -> None:
        for ticket in tickets:
            try:
                await self._tokens.end(ticket, by=ticket.user.id, reason="the call is over")
            except ValetkeyError as error:
                _log.warning("a ticket lives on until its own end: %s", error.code)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def settle(self) -> None:
        """Wait until the tickets of calls that are over have ended."""
        while self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)


def _accounts(needs: Needs, connections: Sequence[Connection]) -> tuple[Account, ...]:
    """The accounts that were found, each with all that is asked for there."""
    found = {connection.provider: connection for connection in connections}
    chosen = next(
        (each for each in needs.alternatives if len(each) == len(connections) and _fits(each, connections)),
        tuple(Need(provider=held.provider) for held in connections),
    )
    return tuple(
        sorted(
            Account(
                provider=provider,
                scopes=tuple(
                    sorted(
                        {
                            scope
                            for need, held in zip(chosen, connections, strict=True)
                            if held.provider == provider
                            for scope in need.scopes
                        }
                    )
                ),
                profile=row.profile,
                account=row.account or row.id,
                granted=tuple(sorted(row.scopes)),
            )
            for provider, row in found.items()
        )
    )


def _fits(needs: Sequence[Need], connections: Sequence[Connection]) -> bool:
    return all(
        need.provider in ("", held.provider) and need.handler in (None, held.handler)
        for need, held in zip(needs, connections, strict=True)
    )


def _named(service: str) -> str:
    return "".join(char for char in service if char.isprintable())[:LONGEST_NAME]
