"""The token that a login ends with: its person's own, for one workspace where the program asked for one."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from valetkey.errors import Denied
from valetkey.model.caller import Caller
from valetkey.model.calls import SESSION
from valetkey.model.tokens import TokenKind
from valetkey.model.users import ScopeInfo, UserInfo, UserPermission, includes

if TYPE_CHECKING:
    from valetkey.identity.plugin import AuthPlugin
    from valetkey.identity.tokens import Tokens
    from valetkey.ports.world import Clock

DAY = 86_400.0

PermissionOf = Callable[[Caller, str], "Awaitable[UserPermission | None] | UserPermission | None"]


class Minting:
    """Makes them, never wider and never longer than what the person holds.

    Args:
        plugin: a generator of the host program's own makes the text, where one is registered.
        permission_of: what a caller may do in a workspace; None: what the scope says.
        lifetime, longest: seconds that one lives when nobody says, and at most.
    """

    def __init__(
        self,
        *,
        tokens: Tokens,
        clock: Clock,
        plugin: AuthPlugin | None = None,
        permission_of: PermissionOf | None = None,
        lifetime: float = 3600.0,
        longest: float = 31 * DAY,
    ) -> None:
        self._tokens = tokens
        self._clock = clock
        self._plugin = plugin
        self._permission_of = permission_of
        self._lifetime = lifetime
        self._longest = longest

    async def mint(
        self, caller: Caller, *, workspace: str | None, expires_in: float | None, address: str, agent: str
    ) -> tuple[str, str]:
        """The token, and its id where it has one.

        Raises:
            Denied: that user may not read in that workspace.
        """
        user, owner = user_of(caller).model_copy(deep=True), caller.owner
        if workspace:
            own = user.scope or ScopeInfo()
            permission = await self._permission(caller, workspace)
            user.scope = own.model_copy(
                update={"workspaces": {workspace: permission}, "current_workspace": workspace},
            )
            owner = replace(owner, workspace=workspace)
        seconds = min(expires_in or self._lifetime, self._longest)
        # A person who says yes in their browser lets a program in for itself: it goes on when the browser signs out.
        # A token that reports gives no more than it has, and what it gave ends with it.
        in_person = caller.how == SESSION
        if caller.until is not None and not in_person:
            seconds = min(seconds, caller.until - self._clock.now())
        user.expires_at = self._clock.now() + seconds
        parent = "" if in_person else await self._tokens.parent(caller)
        if self._plugin is not None and self._plugin.generates:
            return await self._plugin.generate(user, seconds, owner=owner, name="login", parent=parent), ""
        secret, token = await self._tokens.issue(
            TokenKind.ACCESS,
            user,
            owner,
            expires_in=seconds,
            name="login",
            parent=parent,
            address=address,
            agent=agent,
        )
        return secret.reveal(), token.id

    async def withdraw(self, caller: Caller, token_id: str) -> None:
        """Revoke one that nobody will get."""
        if token_id:
            await self._tokens.revoke(caller, token_id)

    async def _permission(self, caller: Caller, workspace: str) -> UserPermission:
        held = user_of(caller).get_permission(workspace)
        if self._permission_of is not None:
            found = self._permission_of(caller, workspace)
            held = await found if inspect.isawaitable(found) else found
        if held is None or not includes(held, UserPermission.read):
            raise Denied(f"You do not have any permission for workspace: {workspace}")
        return held


def user_of(caller: Caller) -> UserInfo:
    """The user who lets a program in.

    Raises:
        Denied: there is none.
    """
    if caller.user is None:
        raise Denied("Only a user who signed in can let a program in.")
    return caller.user
