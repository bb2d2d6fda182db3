"""Root: whom the server's own startup functions act as."""

from __future__ import annotations

from valetkey.identity.powers import ROOT
from valetkey.model.users import UserInfo, UserPermission, create_scope


def root_user() -> UserInfo:
    """A user who may do everything everywhere."""
    return UserInfo(id=ROOT, roles=["admin"], scope=create_scope({"*": UserPermission.admin}))
