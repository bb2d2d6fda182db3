"""Local accounts, the embedded default."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace

from pydantic import ValidationError

from valetkey.audit import Audit
from valetkey.errors import InvalidArguments, NotFound, StoreUnavailable
from valetkey.identity.passwords import Passwords
from valetkey.identity.tokens import Tokens
from valetkey.model.accounts import PREFIX, Account
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import OURS, Owner
from valetkey.model.users import ADMIN_ROLE, ANONYMOUS_ROLE, ScopeInfo, UserInfo, UserPermission
from valetkey.ports.stores import AccountStore
from valetkey.ports.world import Clock, Entropy
from valetkey.secret import Secret

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ROLE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LONGEST_TYPED = 256
_TRIES = 10
_SALT = 16  # bytes
_TICK = 0.001  # seconds: a change is later than the one before, whatever the clock says


class Accounts:
    """People who sign in here by name and password; for use on the home loop."""

    def __init__(
        self,
        *,
        store: AccountStore,
        tokens: Tokens,
        audit: Audit,
        clock: Clock,
        entropy: Entropy,
        passwords: Passwords | None = None,
    ) -> None:
        self.passwords = passwords or Passwords()
        self._store = store
        self._tokens = tokens
        self._audit = audit
        self._clock = clock
        self._entropy = entropy

    async def add(self, name: str, password: Secret, *, roles: Sequence[str] = (), email: str = "") -> Account:
        """Make one.

        Raises:
            InvalidArguments: the name is taken or can be none; the password has not 12 to 256 characters; a role or
                the e-mail address can be none.
        """
        now = self._clock.now()
        account = Account(
            id=PREFIX + checked_name(name),
            name=checked_name(name),
            password_hash=await self.hashed(password),
            email=_checked_email(email),
            roles=_checked_roles(roles),
            created_at=now,
            changed_at=now,
        )
        if not await self._store.insert(account):
            raise InvalidArguments(f"There is an account of the name {account.name}. Choose another one.")
        await self._audit.note(_entry(Action.ACCOUNT_ADD, account, "add"))
        return account

    async def get(self, name: str) -> Account | None:
        """The account of that name; None: there is none, or the name can be none."""
        folded = fold(name)
        return await self._store.get(folded) if _NAME.fullmatch(folded) else None

    async def list(self) -> Sequence[Account]:
        """All of them, by name."""
        found: list[Account] = []
        while rows := await self._store.page(after=found[-1].name if found else ""):
            found += rows
        return found

    async def any(self) -> bool:
        """Whether there is one that can sign in."""
        after = ""
        while rows := await self._store.page(after=after):
            if any(not row.disabled for row in rows):
                return True
            after = rows[-1].name
        return False

    async def set_password(self, name: str, password: Secret, *, keep: str = "") -> Account:
        """Change it, and end all sessions and tokens of the account, but the one with the id ``keep``.

        Raises:
            NotFound: there is no such account.
            InvalidArguments: the password has not 12 to 256 characters.
        """
        hashed = await self.hashed(password)
        return await self._change(name, lambda row: replace(row, password_hash=hashed), what="password", keep=keep)

    async def set_roles(self, name: str, roles: Sequence[str]) -> Account:
        """Change them, and end all sessions and tokens of the account: these say the old ones.

        Raises:
            NotFound: there is no such account.
            InvalidArguments: a role can be none.
        """
        checked = _checked_roles(roles)
        return await self._change(name, lambda row: replace(row, roles=checked), what="roles")

    async def disable(self, name: str) -> Account:
        """Let nobody sign in with it, and end its sessions and tokens, everywhere.

        Raises:
            NotFound: there is no such account.
        """
        return await self._change(name, lambda row: replace(row, disabled=True), what="disable")

    async def enable(self, name: str) -> Account:
        """Let it sign in again; what was ended stays so.

        Raises:
            NotFound: there is no such account.
        """
        return await self._change(name, lambda row: replace(row, disabled=False), what="enable")

    async def rehash(self, account: Account, password: Secret) -> None:
        """Keep the hash of a password, which was just found right, with the parameters of today."""
        again = replace(account, password_hash=await self.hashed(password), version=account.version + 1)
        await self._store.save(again, version=account.version)  # who changed it meanwhile comes first

    async def hashed(self, password: Secret) -> str:
        """The hash of a password.

        Raises:
            InvalidArguments: it has not 12 to 256 characters.
        """
        return await self.passwords.hash(password, salt=self._entropy.bytes(_SALT))

    def user_of(self, account: Account) -> UserInfo:
        """The account as a user: admin in the own workspace, and with that role everywhere. It is bound to none."""
        user = UserInfo(id=account.id, roles=list(account.roles), email=account.email or None)
        workspace = user.get_workspace()
        user.scope = ScopeInfo(workspaces={workspace: UserPermission.admin})
        if ADMIN_ROLE in account.roles:
            user.scope.workspaces["*"] = UserPermission.admin
        user.current_workspace = workspace
        user._principal = OURS, account.id  # noqa: SLF001 - the note for verifiers of whom they vouched for
        return user

    def owner_of(self, account: Account) -> Owner:
        """The owner of the account's connections."""
        return Owner(workspace=f"ws-user-{account.id}", issuer=OURS, subject=account.id)

    async def _change(self, name: str, change: Callable[[Account], Account], *, what: str, keep: str = "") -> Account:
        for _ in range(_TRIES):
            row = await self.get(name)
            if row is None:
                raise NotFound("There is no account of that name. See: valetkey users list")
            changed = replace(
                change(row), version=row.version + 1, changed_at=max(self._clock.now(), row.changed_at + _TICK)
            )
            if await self._store.save(changed, version=row.version):
                break
        else:
            raise StoreUnavailable("The account is being changed by others again and again. Try again.")
        await self._tokens.end_all(OURS, row.id, by=row.id, reason=f"account: {what}", keep=keep)
        await self._audit.note(_entry(Action.ACCOUNT_CHANGE, changed, what))
        return changed


def fold(name: str) -> str:
    """A name as it is compared: NFKC, without case."""
    if len(name) > _LONGEST_TYPED:
        return ""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def checked_name(name: str) -> str:
    """A name for an account.

    Raises:
        InvalidArguments: it can be none.
    """
    folded = fold(name.strip())
    if _NAME.fullmatch(folded) is None:
        raise InvalidArguments(
            "The name of an account has 1 to 64 of the characters a-z, 0-9, dot, low line and hyphen, and begins with"
            " a letter or a digit."
        )
    return folded


def _checked_roles(roles: Sequence[str]) -> tuple[str, ...]:
    if not all(_ROLE.fullmatch(role) and role != ANONYMOUS_ROLE for role in roles):
        raise InvalidArguments(f"A role is a word of a-z, 0-9, dot, low line and hyphen, and not {ANONYMOUS_ROLE}.")
    return tuple(dict.fromkeys(roles))


def _checked_email(email: str) -> str:
    if not email:
        return ""
    try:
        checked = UserInfo(id="local", roles=[], email=email).email
    except ValidationError:
        raise InvalidArguments("That is no e-mail address. Write one such as ann@example.org.") from None
    return (checked or "").lower()


def _entry(action: Action, account: Account, what: str) -> Entry:
    return Entry(
        action=action,
        issuer=OURS,
        subject=account.id,
        user=account.id,
        what=account.id,
        details={"change": what, "roles": " ".join(account.roles)},
    )
