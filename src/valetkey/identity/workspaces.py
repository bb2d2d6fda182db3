"""Workspaces: owners, permissions, made on first use."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from valetkey.audit import Audit
from valetkey.errors import Denied, InvalidArguments, NotFound, StoreUnavailable
from valetkey.identity.narrowing import check_name
from valetkey.identity.powers import ROOT, check_general, is_admin, is_whole
from valetkey.identity.verifiers.vouched import CHAT, WORKSPACE
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import CHAT_USERS, CUSTOM, OURS, Caller
from valetkey.model.users import UserInfo, UserPermission, includes
from valetkey.model.workspaces import ANONYMOUS_WORKSPACE, PUBLIC, WorkspaceInfo
from valetkey.ports.stores import WorkspaceStore
from valetkey.ports.world import Clock
from valetkey.vault.variables import ENVIRONS

PRINCIPAL = "principal"
"""Under this name a workspace's ``config`` has [issuer, subject] of whoever made it."""

MOST = 100
"""Workspaces that one user may make, where nobody says otherwise."""

OWN = "ws-user-"
"""What the name of everybody's own workspace begins with."""

REMEMBERED = 10_000
"""Users' own workspaces whose makers are remembered."""

KEEP = 60.0
"""Seconds for which they are."""

_NAME = re.compile(r"[a-z0-9-|]*")
_LONGEST = 128
_ATTEMPTS = 20  # at a change, while other instances change the same row
_BUILT_IN = (PUBLIC, ANONYMOUS_WORKSPACE)
_RESERVED = (WORKSPACE, CHAT, CHAT_USERS)
"""Of those whom a host program vouches for: nobody makes them, and no token says that they are its bearer's."""


class Workspaces:
    """The tenants; for use on the home loop."""

    def __init__(self, *, store: WorkspaceStore, audit: Audit, clock: Clock) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._remembered: OrderedDict[str, tuple[WorkspaceInfo, float]] = OrderedDict()
        self._changing = asyncio.Lock()
        self._most = 0

    def limit(self, most: int) -> None:
        """Let one user make so many."""
        self._most = most

    async def permission(self, caller: Caller, name: str) -> UserPermission | None:
        """What the caller may do there; None: nothing.

        Admin in the own workspace and in those that the caller owns, unless the token was narrowed; else what the
        token's scope says. A workspace is its first owner's: nobody of another issuer has a part in it. A user's own
        one is made here when it is first asked for, and is that principal's from then on.
        """
        return _permission(caller, name, await self._used(caller, name))

    async def ensure(self, caller: Caller, name: str) -> WorkspaceInfo:
        """The workspace, for use: made where it is the caller's own, or one that a host program's parser named.

        Raises:
            NotFound: there is none of that name, or none that the caller may read.
            Denied: the token is for one purpose only.
            InvalidArguments: that can be no workspace.
        """
        check_general(caller)
        check_name(name, what="workspace")
        row = await self._found(caller, name)
        if row is not None:
            return row
        raise NotFound(f"Workspace {name} does not exist or is not accessible")

    async def create(
        self,
        caller: Caller,
        name: str,
        *,
        title: str = "",
        description: str = "",
        owners: Collection[str] = (),
        persistent: bool = False,
        config: Mapping[str, Any] | None = None,
    ) -> WorkspaceInfo:
        """Make one.

        Raises:
            Denied: the caller is anonymous, or presents a narrowed token.
            InvalidArguments: the name is taken or can be none; the user has too many.
        """
        user = caller.user
        if user is None or user.is_anonymous or not (is_whole(caller) or is_admin(caller)):
            raise Denied("Only users who signed in can create a workspace.")
        if not 0 < len(name) <= _LONGEST or _NAME.fullmatch(name) is None or "-" not in name:
            raise InvalidArguments(
                "The name of a workspace has the characters a-z, 0-9, hyphen and |, with at least one hyphen."
            )
        if name.startswith(OWN) or name in (*_BUILT_IN, *_RESERVED):
            raise InvalidArguments(f"There is a workspace of the name {name}. Choose another one.")
        most = self._most or MOST
        if not is_admin(caller) and await self._made_by(caller) >= most:
            raise InvalidArguments(f"You have {most} workspaces. Delete one that you do not need.")
        made = WorkspaceInfo(
            id=name,
            name=title or name,
            description=description,
            persistent=persistent,
            owners=list(dict.fromkeys([*_owners(caller), *owners])),
            config=open_part(config or {}),
        )
        if not await self._store.insert(self._new(caller, made)):
            raise InvalidArguments(f"There is a workspace of the name {name}. Choose another one.")
        await self._tell(caller, made, Action.WORKSPACE_MAKE, change="made")
        return made

    async def get(self, caller: Caller, name: str) -> WorkspaceInfo:
        """One that the caller may read; made on first use, as `ensure` does.

        Raises:
            Denied: there is none of that name, or none that the caller may read; or the token is for one purpose only.
            InvalidArguments: that can be no workspace.
        """
        check_general(caller)
        row = await self._found(caller, name)
        if row is None:
            raise Denied(f"{_id_of(caller)} has no permission to access {name}")
        return _told(row)

    async def at(self, name: str) -> WorkspaceInfo | None:
        """One as it is kept, whoever asks; None: there is none."""
        return await self._row(name)

    async def row(self, caller: Caller, name: str, *, wanted: UserPermission) -> WorkspaceInfo:
        """As it is kept, for who may do that much there.

        Raises:
            Denied: the caller may not; or the token is for one purpose only.
        """
        check_general(caller)
        row = await self._used(caller, name)
        if row is None or not includes(_permission(caller, name, row), wanted):
            raise Denied(f"Permission denied for workspace {name}")
        return await self._store.get(name) or row

    async def change(
        self,
        caller: Caller,
        name: str,
        change: Callable[[WorkspaceInfo], None],
        *,
        wanted: UserPermission,
        told: Mapping[str, str],
    ) -> WorkspaceInfo:
        """Change what is kept of one; what another instance changed meanwhile stays.

        Args:
            caller: who asks.
            name: of which.
            change: is given the row, and may raise. It is called anew where somebody else was first.
            wanted: what the caller must be allowed to do there.
            told: what the audit log is told of it; no value that somebody keeps there.

        Raises:
            Denied: they may not, or that workspace is not kept; or the token is for one purpose only.
            StoreUnavailable: too many others change it just now.
        """
        async with self._changing:
            for attempt in range(_ATTEMPTS):
                await self.row(caller, name, wanted=wanted)
                was = None if name in _BUILT_IN else await self._store.get(name)
                if was is None:
                    raise Denied(f"Nothing is kept in the workspace {name}. Sign in, and use one of your own.")
                row = was.model_copy(deep=True)
                change(row)
                if attempt == 0:  # what cannot be noted must not be done
                    await self._tell(caller, row, Action.WORKSPACE_CHANGE, **told)
                if await self._store.save(row, was=was):
                    self._remembered.pop(name, None)
                    return row
        raise StoreUnavailable(f"The workspace {name} is being changed by many. Try again in a moment.")

    async def delete(self, caller: Caller, name: str) -> None:
        """Remove one; a user's own one stays, as it says whose it is.

        Raises:
            NotFound: there is none of that name, or none that the caller may see.
            Denied: the caller is no admin there, or it is nobody's to delete; or the token is for one purpose only.
        """
        check_general(caller)
        row = await self._row(name)
        held = _permission(caller, name, row)
        if row is None or held is None:
            raise NotFound(f"Workspace {name} does not exist or is not accessible")
        if held is not UserPermission.admin or name in _BUILT_IN or (name.startswith(OWN) and not is_admin(caller)):
            raise Denied(f"{_id_of(caller)} cannot delete the workspace {name}.")
        await self._store.delete(name)
        self._remembered.pop(name, None)
        await self._tell(caller, row, Action.WORKSPACE_MAKE, change="deleted")

    async def list(self, caller: Caller) -> Sequence[WorkspaceInfo]:
        """Those in which the caller may read, by name."""
        found: list[WorkspaceInfo] = []
        if caller.user is None or caller.user.is_specialized_token():
            return found
        names = _named(caller)
        if names is not None:
            there = [await self._store.get(name) for name in sorted(names)]
            return [
                _told(row) for row in there if row and includes(_permission(caller, row.id, row), UserPermission.read)
            ]
        after = ""
        while rows := await self._store.page(after=after):
            after = rows[-1].id
            found += [_told(row) for row in rows if includes(_permission(caller, row.id, row), UserPermission.read)]
        return found

    async def _row(self, name: str) -> WorkspaceInfo | None:
        if name in _BUILT_IN:
            return _built_in(name)
        return await self._store.get(name)

    async def _used(self, caller: Caller, name: str) -> WorkspaceInfo | None:
        """Its row; the caller's own workspace is made where it is not there yet."""
        user = caller.user
        if user is None or name not in _own(user):
            return await self._row(name)
        if user.is_anonymous:  # theirs for as long as they are there: nothing is kept
            return self._new(caller, WorkspaceInfo(id=name, name=name, owners=_owners(caller)))
        row, until = self._remembered.get(name, (None, 0.0))
        now = self._clock.monotonic()
        if row is not None and now < until:
            return row
        row = await self._store.get(name)
        if row is None and includes(_permission(caller, name, None), UserPermission.read):
            row = await self._make(caller, name)
        if row is not None:
            self._remembered[name] = row, now + KEEP
            self._remembered.move_to_end(name)
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return row

    async def _found(self, caller: Caller, name: str) -> WorkspaceInfo | None:
        """One that the caller may read, made where that is theirs to do; None: there is none."""
        row = await self._used(caller, name)
        if not includes(_permission(caller, name, row), UserPermission.read):
            return None
        if row is None and _may_make(caller, name):
            check_name(name, what="workspace")
            row = await self._make(caller, name)
            # Somebody may have been first.
            return row if includes(_permission(caller, name, row), UserPermission.read) else None
        return row

    async def _make(self, caller: Caller, name: str) -> WorkspaceInfo | None:
        """The row of a workspace that is used for the first time, by whoever was first."""
        made = self._new(caller, WorkspaceInfo(id=name, name=name, owners=_owners(caller)))
        if await self._store.insert(made):
            await self._tell(caller, made, Action.WORKSPACE_MAKE, change="made")
            return made
        return await self._store.get(name)

    def _new(self, caller: Caller, made: WorkspaceInfo) -> WorkspaceInfo:
        made.config[PRINCIPAL] = list(caller.principal)
        made.created_at = self._clock.now()
        return made

    async def _made_by(self, caller: Caller) -> int:
        count, after = 0, ""
        while rows := await self._store.page(after=after):
            after = rows[-1].id
            count += sum(_maker(row) == caller.principal and not row.id.startswith(OWN) for row in rows)
        return count

    async def _tell(self, caller: Caller, row: WorkspaceInfo, action: Action, **details: str) -> None:
        issuer, subject = caller.principal
        entry = Entry(
            action=action,
            issuer=issuer,
            subject=subject,
            user=_id_of(caller),
            workspace=row.id,
            what=row.id,
            details=details,
        )
        await self._audit.note(entry)


def open_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a workspace's config may be told, and set, by its users."""
    return {key: value for key, value in config.items() if key not in (PRINCIPAL, ENVIRONS)}


def _told(row: WorkspaceInfo) -> WorkspaceInfo:
    return row.model_copy(update={"config": open_part(row.config)})


def _permission(caller: Caller, name: str, row: WorkspaceInfo | None) -> UserPermission | None:
    user = caller.user
    if user is None or name == "*" or (name in _RESERVED and not is_admin(caller)):
        return None
    if is_admin(caller):
        return UserPermission.admin
    maker = None if row is None else _maker(row)
    if name in _own(user) and maker not in {None, caller.principal}:
        return None  # somebody of another issuer with the same id was first
    alike = maker is not None and maker[0] == caller.owner.issuer
    if row is not None and alike and is_whole(caller) and row.owned_by(user):
        return UserPermission.admin
    if maker is not None and maker[0] != CUSTOM and caller.owner.issuer == CUSTOM:
        return None  # a parser, and what was made with its tokens, speaks for its own users' workspaces only
    return user.get_permission(name)


def _may_make(caller: Caller, name: str) -> bool:
    """The own workspace, or one by its name in the scope of a host program's own parser."""
    user = caller.user
    if user is None or user.is_anonymous or user.scope is None or name in _RESERVED:
        return False
    named_by_parser = caller.owner.issuer == CUSTOM and name in user.scope.workspaces and not name.startswith(OWN)
    return name in _own(user) or named_by_parser


def _maker(row: WorkspaceInfo) -> tuple[str, str] | None:
    match row.config.get(PRINCIPAL):
        case [str(issuer), str(subject)]:
            return issuer, subject
        case _:
            return None


def _own(user: UserInfo) -> set[str]:
    return {f"{OWN}{name}" for name in (user.id, user.parent) if name}


def _named(caller: Caller) -> set[str] | None:
    """The only workspaces in which the caller may have a part; None: it may have one in any."""
    user = caller.user
    scope = {} if user is None or user.scope is None else user.scope.workspaces
    if user is None or is_admin(caller) or "*" in scope or (is_whole(caller) and not user.is_anonymous):
        return None
    return _own(user) | scope.keys()


def _owners(caller: Caller) -> list[str]:
    return [] if caller.user is None else [caller.user.get_effective_user_id()]


def _id_of(caller: Caller) -> str:
    return caller.owner.subject if caller.user is None else caller.user.id


def _built_in(name: str) -> WorkspaceInfo:
    return WorkspaceInfo(
        id=name,
        name=name,
        description="Services for everybody." if name == PUBLIC else "Callers without a token.",
        persistent=True,
        owners=[ROOT],
        read_only=True,
        config={PRINCIPAL: [OURS, ROOT]},
    )
