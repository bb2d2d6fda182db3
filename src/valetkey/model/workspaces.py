"""WorkspaceInfo: the tenant."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from valetkey.model.users import UserInfo

PUBLIC = "public"
"""Where services for everybody are; nobody's own."""

ANONYMOUS_WORKSPACE = "ws-anonymous"
"""Where HTTP callers without a token are."""


class WorkspaceInfo(BaseModel):
    """One workspace.

    Attributes:
        id: its name.
        owners: ids or e-mail addresses of users.
        read_only: nobody registers anything there.
        created_at: seconds since the epoch.
    """

    id: str
    name: str
    description: str = ""
    persistent: bool = False
    owners: list[str] = Field(default_factory=list)
    read_only: bool = False
    config: dict[str, Any] = Field(default_factory=dict)
    status: dict[str, Any] | None = None
    service_types: dict[str, Any] = Field(default_factory=dict)
    created_at: float = 0.0

    def owned_by(self, user: UserInfo) -> bool:
        """Whether it is the user's: by id, by e-mail address, or as their own workspace."""
        names = {user.id, user.email, user.parent} - {None, ""}
        own = {f"ws-user-{name}" for name in (user.id, user.parent) if name}
        return bool(names & set(self.owners)) or self.id in own
