"""A local account's password."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from valetkey.audit import Audit
from valetkey.errors import RateLimited, Unauthenticated
from valetkey.identity.accounts import Accounts, fold
from valetkey.identity.tokens import Tokens
from valetkey.limits import FAILED_LOGINS_FROM_ADDRESS, FAILED_LOGINS_OF_ACCOUNT, Limit, Limits, Watch
from valetkey.model.accounts import Account
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import OURS
from valetkey.model.tokens import Token, TokenKind
from valetkey.ports.world import Clock
from valetkey.secret import Secret

WRONG = "Name or password is wrong."
"""The one answer, whichever of them it is, and for an account that is disabled."""


class LocalLogin:
    """Signs in by name and password; for use on the home loop."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        tokens: Tokens,
        limits: Limits,
        audit: Audit,
        clock: Clock,
        watch: Watch | None = None,
    ) -> None:
        self._watch = watch
        self._accounts = accounts
        self._tokens = tokens
        self._limits = limits
        self._audit = audit
        self._clock = clock

    async def sign_in(self, name: str, password: Secret, *, address: str, agent: str) -> tuple[Secret, Token]:
        """A session.

        Args:
            name: as it was typed; compared without case.
            password: as it was typed.
            address: the browser's; empty: not known.
            agent: what the browser calls itself.

        Raises:
            Unauthenticated: name or password is wrong, or the account is disabled.
            RateLimited: too many sign-ins failed, for this account or from this address.
        """
        account = await self.check(name, password, address=address)
        if self._accounts.passwords.is_dated(account.password_hash):
            await self._accounts.rehash(account, password)
        user, owner = self._accounts.user_of(account), self._accounts.owner_of(account)
        secret, token = await self._tokens.issue(TokenKind.SESSION, user, owner, address=address, agent=agent)
        after = await self._accounts.get(account.name)
        if after is None or after.disabled or after.changed_at != account.changed_at:
            # The password was changed while this one was being verified: its sessions were ended before this one.
            await self._tokens.end(token, by=account.id, reason="account changed")
            self._tell(account, "failed", address)
            raise Unauthenticated(WRONG)
        self._tell(account, "ok", address)
        return secret, token

    async def check(self, name: str, password: Secret, *, address: str) -> Account:
        """The account of that name, where that is its password; a wrong one counts as a sign-in that failed.

        Raises:
            Unauthenticated, RateLimited: as ``sign_in``.
        """
        account = await self._accounts.get(name)
        counted = _counted(name, address)
        await self._look(counted, account, address)
        hashed = None if account is None else account.password_hash
        right = await self._accounts.passwords.matches(hashed, password)
        if not right or account is None or account.disabled:
            for limit, who in counted:
                await self._limits.count(limit, who)
            await self._failed(account, "failed", address)
            raise Unauthenticated(WRONG)
        # Again: of many that came at once, one may not be right after the others were wrong too often.
        await self._look(counted, account, address)
        return account

    async def _look(self, counted: Sequence[tuple[Limit, str]], account: Account | None, address: str) -> None:
        try:
            for limit, who in counted:
                await self._limits.look(limit, who)
        except RateLimited:
            await self._failed(account, "limited", address)
            raise

    async def _failed(self, account: Account | None, outcome: str, address: str) -> None:
        self._tell(account, outcome, address)
        if self._watch is not None:
            await self._watch.failed(subject="" if account is None else account.id, address=address)

    def _tell(self, account: Account | None, outcome: str, address: str) -> None:
        # What was typed as a name is not noted: it may have been the password.
        subject = "" if account is None else account.id
        self._audit.tell(
            Entry(
                action=Action.SIGN_IN,
                outcome=outcome,
                issuer=OURS,
                subject=subject,
                user=subject,
                what="password",
                address=address,
            )
        )


def _counted(name: str, address: str) -> list[tuple[Limit, str]]:
    """A name that nobody has is counted as one that somebody has; by its hash, as it may be a password."""
    counted = [(FAILED_LOGINS_OF_ACCOUNT, hashlib.sha256(fold(name).encode("utf-8", "surrogatepass")).hexdigest())]
    return [*counted, (FAILED_LOGINS_FROM_ADDRESS, address)] if address else counted
