"""What a credential may do for its user: all that the user may, or less."""

from __future__ import annotations

from valetkey.errors import Denied
from valetkey.model.caller import Caller
from valetkey.model.users import ADMIN_ROLE, UserPermission

ROOT = "root"
"""The way and the id of whoever presents the root token."""


def is_admin(caller: Caller) -> bool:
    """Whether the caller may do everything: the role counts where the credential's scope was not narrowed."""
    user = caller.user
    if user is None or ADMIN_ROLE not in user.roles or user.parent is not None or user.is_specialized_token():
        return False
    return user.get_permission("*") is UserPermission.admin


def is_whole(caller: Caller) -> bool:
    """Whether it is the user in person, and not a program with a narrowed token of theirs."""
    user = caller.user
    if user is None or user.scope is None or user.parent is not None or user.scope.is_specialized():
        return False
    return user.scope.client_id is None and user.check_permission(user.get_workspace(), UserPermission.admin)


def check_general(caller: Caller) -> None:
    """Refuse a token that is for one purpose only where a workspace, or what is in it, is asked for (contract 1.1).

    Raises:
        Denied: it is one.
    """
    try:
        if caller.user is not None:
            caller.user.validate_for_general_access()
    except PermissionError as error:
        raise Denied(str(error)) from None


def current_workspace(caller: Caller) -> str:
    """Where the caller acts."""
    user = caller.user
    if user is None:
        return caller.owner.workspace
    named = user.current_workspace or (None if user.scope is None else user.scope.current_workspace)
    return named or caller.owner.workspace
