"""Who may see and call a service: its visibility, and what a caller may do in its workspace."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from valetkey.identity.verifiers.vouched import CHAT, LONGEST, WORKSPACE
from valetkey.model.caller import Caller, Owner
from valetkey.model.users import UserInfo, UserPermission, includes

PermissionOf = Callable[[Caller, str], "Awaitable[UserPermission | None] | UserPermission | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who calls a service, and from where.

    Attributes:
        workspace: in which they act.
        agent: what their program calls itself.
        peer: the address of their client, where they call through one.
    """

    caller: Caller
    workspace: str
    address: str = ""
    agent: str = ""
    peer: str = ""

    @property
    def user(self) -> dict[str, Any]:
        """Who it is, as seed 004's services are told."""
        user = self.caller.user
        return (_vouched_for(self.caller.owner) if user is None else user).model_dump(mode="json")


def _vouched_for(owner: Owner) -> UserInfo:
    """One whom a host program names: by an id that no user of an issuer has (decision 21)."""
    place = owner.issuer if owner.workspace == WORKSPACE else owner.workspace
    anonymous = owner.workspace == CHAT  # nobody signed in to it
    name = f"{place}|{owner.subject}"
    if len(name) > LONGEST:
        name = f"{name[: LONGEST - 65]}~{sha256(name.encode()).hexdigest()}"
    return UserInfo(id=name, roles=[], is_anonymous=anonymous)


class Sight:
    """Answers from what a caller may do in a workspace. For use on the home loop."""

    def __init__(self, permission_of: PermissionOf) -> None:
        self._permission_of = permission_of

    async def may_use(
        self, who: Who, *, workspace: str, visibility: str, authorized_workspaces: Collection[str] = ()
    ) -> bool:
        """Whether a service is there for them.

        Public and unlisted ones are for everybody; a protected one for who may read in its workspace, and for callers
        of the workspaces that it names. A token for one purpose only opens public ones alone.
        """
        if visibility != "protected":
            return True
        user = who.caller.user
        if user is not None and user.is_specialized_token():
            return False
        if await self.may(who, workspace, UserPermission.read):
            return True
        return who.workspace in authorized_workspaces and await self.may(who, who.workspace, UserPermission.read)

    async def may(self, who: Who, workspace: str, wanted: UserPermission) -> bool:
        """Whether they have at least that permission there."""
        found = self._permission_of(who.caller, workspace)
        held = await found if inspect.isawaitable(found) else found
        return includes(held, wanted)
