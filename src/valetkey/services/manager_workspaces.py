"""The workspace manager's functions for workspaces: made, listed, deleted; their variables and service types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from valetkey.errors import Denied, InvalidArguments
from valetkey.identity.powers import is_admin, is_whole
from valetkey.identity.workspaces import Workspaces, open_part
from valetkey.limits import DELETIONS_BY_USER, Limits
from valetkey.model.users import UserPermission
from valetkey.services import types
from valetkey.services.asking import mapping, need, number, plain, text
from valetkey.services.sight import Sight, Who

if TYPE_CHECKING:
    from valetkey.model.workspaces import WorkspaceInfo
    from valetkey.services.environs import Environs

LARGEST = 65_536
"""Bytes of what a workspace says of itself, as JSON."""

MOST_OWNERS = 1000

MOST_LISTED = 256

_KEYS = frozenset(
    {"id", "name", "description", "persistent", "owners", "config", "type", "read_only", "status", "service_types"}
)


class WorkspaceFunctions:
    """What callers do with workspaces.

    Args:
        limits: how often a user may delete one.
        deleted: called with the name of one that was deleted: its tokens end, and its clients have to go.
        changed: called with the name of one that has other owners now.
    """

    def __init__(
        self,
        *,
        workspaces: Workspaces,
        sight: Sight,
        environs: Environs,
        limits: Limits,
        deleted: Callable[[str], Awaitable[None]],
        changed: Callable[[str], Awaitable[None]],
    ) -> None:
        self._workspaces = workspaces
        self._sight = sight
        self._environs = environs
        self._limits = limits
        self._deleted = deleted
        self._changed = changed

    def functions(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {
            "create_workspace": self.create_workspace,
            "delete_workspace": self.delete_workspace,
            "list_workspaces": self.list_workspaces,
            "get_workspace_info": self.get_workspace_info,
            "check_status": self.check_status,
            "set_env": self.set_env,
            "get_env": self.get_env,
            "register_service_type": self.register_service_type,
            "get_service_type": self.get_service_type,
            "list_service_types": self.list_service_types,
        }

    async def create_workspace(
        self,
        config: Mapping[str, Any],
        overwrite: bool = False,  # noqa: FBT001, FBT002 - by place, as callers may give it
        *,
        who: Who,
    ) -> dict[str, Any]:
        """Make a workspace of the caller's.

        Args:
            config: ``id``, of a-z, 0-9, hyphen and |, with a hyphen; description, persistent, owners, config.
            overwrite: change one that is there, where the caller is its admin.
            who: the caller.

        Raises:
            Denied: the caller is anonymous, presents a narrowed token, or is no admin of the one that is there.
            InvalidArguments: the name is taken or can be none; the user has too many.
        """
        wanted = _wanted(config)
        name = wanted["id"]
        if overwrite is True and await self._is_admin(who, name):
            row = await self._workspaces.change(
                who.caller,
                name,
                lambda row: _rewrite(row, wanted),
                wanted=UserPermission.admin,
                told={"change": "rewritten"},
            )
            await self._changed(name)
            return _told(row)
        made = await self._workspaces.create(
            who.caller,
            name,
            title=wanted["title"],
            description=wanted["description"],
            owners=wanted["owners"],
            persistent=wanted["persistent"],
            config=wanted["config"],
        )
        return _told(made)

    async def delete_workspace(self, workspace: str, *, who: Who) -> None:
        """Remove a workspace; tokens that were made for it end, and its clients are cut off.

        Raises:
            NotFound: there is none of that name, or none that the caller may see.
            Denied: the caller is no admin there.
            RateLimited: they have deleted too many: all tokens are looked through for each.
        """
        name = text(workspace, "workspace")
        await self._limits.take(DELETIONS_BY_USER, " ".join(who.caller.principal))
        await self._workspaces.delete(who.caller, name)
        await self._deleted(name)

    async def list_workspaces(
        self, match: Mapping[str, Any] | None = None, offset: int = 0, limit: int = MOST_LISTED, *, who: Who
    ) -> list[dict[str, Any]]:
        """Those in which the caller may read, by name.

        Args:
            match: facts that have to be just so.
            offset: after so many.
            limit: how many at most.
            who: the caller.

        Raises:
            InvalidArguments: one of them can be none.
        """
        wanted = mapping(match, "match")
        first = int(number(offset, "offset", least=0, most=1_000_000))
        most = int(number(limit, "limit", least=1, most=MOST_LISTED))
        found = [
            {
                "id": row.id,
                "name": row.id,
                "description": row.description,
                "read_only": row.read_only,
                "persistent": row.persistent,
                "owners": row.owners,
            }
            for row in await self._workspaces.list(who.caller)
        ]
        there = [each for each in found if all(each.get(name) == value for name, value in wanted.items())]
        return there[first : first + most]

    async def get_workspace_info(self, workspace: str | None = None, *, who: Who) -> dict[str, Any]:
        """What is kept of a workspace, its variables left out.

        Args:
            workspace: which; by default the caller's.
            who: the caller.

        Raises:
            Denied: there is none of that name, or the caller may not read there.
        """
        name = who.workspace if workspace is None else text(workspace, "workspace")
        return _told(await self._workspaces.get(who.caller, name))

    async def check_status(self, *, who: Who) -> dict[str, Any]:
        """Whether the caller's workspace is ready, and what the caller may do there.

        Raises:
            Denied: the caller may not read there.
        """
        await need(self._sight, who, who.workspace, UserPermission.read)
        held = await self._workspaces.permission(who.caller, who.workspace)
        return {"status": "ready", "errors": None, "user_permission": None if held is None else held.value}

    # Variables

    async def set_env(self, key: str, value: str | None, *, who: Who) -> None:
        """Set a variable of the caller's workspace, for its programs; None removes it. It is kept sealed.

        Raises:
            Denied: the caller may not write there.
            InvalidArguments: the name or the value can be none, or there are too many.
        """
        await self._workspaces.change(
            who.caller,
            who.workspace,
            lambda row: self._environs.put(row, key, value),
            wanted=UserPermission.read_write,
            told={"change": "variable removed" if value is None else "variable set", "name": str(key)},
        )

    async def get_env(self, key: str | None = None, *, who: Who) -> str | dict[str, str]:
        """A variable of the caller's workspace, or all of them by name.

        Raises:
            Denied: the caller may not write there: who may only read is told no values.
            NotFound: there is none of that name.
        """
        row = await self._workspaces.row(who.caller, who.workspace, wanted=UserPermission.read_write)
        return self._environs.all(row) if key is None else self._environs.get(row, key)

    # Service types

    async def register_service_type(self, type_info: Mapping[str, Any], *, who: Who) -> dict[str, Any]:
        """Keep what services of a kind offer: id, name, definition, description, config, docs.

        Raises:
            Denied: the caller may not write in its workspace.
            InvalidArguments: it can be none, or one of that id is there.
        """
        type_id, facts = types.type_of(type_info, who.workspace)
        await self._workspaces.change(
            who.caller,
            who.workspace,
            lambda row: types.put(row.service_types, type_id, facts),
            wanted=UserPermission.read_write,
            told={"change": "service type registered", "name": type_id},
        )
        return facts

    async def get_service_type(self, type_id: str, *, who: Who) -> dict[str, Any]:
        """One, by ``id`` or ``workspace/id``; one whose config says visibility public, for everybody.

        Raises:
            Denied: it is not public, and the caller may not read there.
            NotFound: there is none.
        """
        place, name = types.split(text(type_id, "type_id"), who.workspace)
        row = await self._workspaces.at(place)
        facts = {} if row is None else row.service_types.get(name) or {}
        if (facts.get("config") or {}).get("visibility") != "public":
            await need(self._sight, who, place, UserPermission.read)
        return types.get({} if row is None else row.service_types, name, place)

    async def list_service_types(self, workspace: str | None = None, *, who: Who) -> list[dict[str, Any]]:
        """All of a workspace, by id.

        Args:
            workspace: of which; by default the caller's.
            who: the caller.

        Raises:
            Denied: the caller may not read there.
        """
        name = who.workspace if workspace is None else text(workspace, "workspace")
        await need(self._sight, who, name, UserPermission.read)
        row = await self._workspaces.at(name)
        return [] if row is None else [facts for _, facts in sorted(row.service_types.items())]

    async def _is_admin(self, who: Who, name: str) -> bool:
        """Whether one of that name is there, and the caller is its admin.

        Raises:
            Denied: it is there, and the caller is not.
        """
        if await self._workspaces.at(name) is None:
            return False
        await need(self._sight, who, name, UserPermission.admin)
        if not (is_whole(who.caller) or is_admin(who.caller)):
            raise Denied("Only users who signed in can change a workspace, and not a program with a narrowed token.")
        return True


def _wanted(config: object) -> dict[str, Any]:
    given = mapping(config, "config")
    strange = given.keys() - _KEYS
    if strange:
        raise InvalidArguments(
            f"A workspace has {', '.join(sorted(_KEYS))}, and no {', '.join(sorted(strange))[:200]}."
        )
    if "id" not in given:
        raise InvalidArguments("Workspace id must be provided.")
    name = text(given["id"], "id")
    title = text(given.get("name") or name, "name", longest=256)
    description = given.get("description") or ""
    if not isinstance(description, str):
        raise InvalidArguments("The description of a workspace is a text.")
    owners = given.get("owners") or []
    if (
        not isinstance(owners, list | tuple)
        or len(owners) > MOST_OWNERS
        or not all(isinstance(each, str) and 0 < len(each.strip()) <= 256 for each in owners)  # noqa: PLR2004
    ):
        raise InvalidArguments(f"owners is a list of at most {MOST_OWNERS} ids or e-mail addresses of users.")
    own = mapping(given.get("config"), "config of a workspace")
    plain([title, description, own], "What a workspace says of itself", most=LARGEST)
    return {
        "id": name,
        "title": title,
        "description": description,
        "persistent": given.get("persistent") is True,
        "owners": [each.strip() for each in owners],
        "config": own,
    }


def _rewrite(row: WorkspaceInfo, wanted: Mapping[str, Any]) -> None:
    kept = {name: value for name, value in row.config.items() if name not in open_part(row.config)}
    row.name = wanted["title"]
    row.description = wanted["description"]
    row.persistent = wanted["persistent"]
    row.owners = list(dict.fromkeys([*row.owners[:1], *wanted["owners"]]))
    row.config = {**open_part(wanted["config"]), **kept}


def _told(row: WorkspaceInfo) -> dict[str, Any]:
    facts = row.model_dump(mode="json")
    return {**facts, "config": open_part(facts["config"]), "status": facts["status"] or {"ready": True}}
