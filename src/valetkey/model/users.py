"""UserInfo, UserPermission, ScopeInfo, create_scope: a user as seed 004 spells it. Anyone may build one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, EmailStr, Field, HttpUrl, PrivateAttr

ADMIN_ROLE = "admin"
"""The role that may do everything, everywhere."""

ANONYMOUS_ROLE = "anonymous"

_RESERVED = ("ws:", "wid:", "cid:")


class UserPermission(StrEnum):
    """What a user may do in a workspace; each includes those before it."""

    read = "r"
    read_write = "rw"
    admin = "a"


_RANK = {UserPermission.read: 1, UserPermission.read_write: 2, UserPermission.admin: 3}


def includes(held: UserPermission | None, wanted: UserPermission) -> bool:
    """Whether a permission is at least the wanted one."""
    return held is not None and _RANK[held] >= _RANK[wanted]


def strongest(*permissions: UserPermission | None) -> UserPermission | None:
    """The strongest of those that are there."""
    return max((each for each in permissions if each is not None), key=_RANK.__getitem__, default=None)


class ScopeInfo(BaseModel):
    """What a user's token allows.

    Attributes:
        current_workspace: the workspace in which it acts.
        workspaces: permissions by workspace; ``*`` stands for all.
        client_id: the one client that may use it.
        extra_scopes: anything else, as ``name:value``.
        self_given: those of them that the bearer named for a token of their own: they narrow it, and grant nothing.
    """

    model_config = ConfigDict(extra="allow")

    current_workspace: str | None = None
    workspaces: dict[str, UserPermission] = Field(default_factory=dict)
    client_id: str | None = None
    extra_scopes: list[str] = Field(default_factory=list)
    self_given: list[str] = Field(default_factory=list)

    def is_specialized(self) -> bool:
        """Whether it is for one purpose only: any extra scope with a colon makes it so."""
        return any(":" in scope for scope in self.extra_scopes)

    def get_specialized_scopes(self) -> list[str]:
        """The extra scopes with a colon."""
        return [scope for scope in self.extra_scopes if ":" in scope]

    def has_scope(self, scope: str) -> bool:
        """Whether that extra scope is there."""
        return scope in self.extra_scopes

    def has_scope_prefix(self, prefix: str) -> bool:
        """Whether an extra scope begins so."""
        return self.get_scope_with_prefix(prefix) is not None

    def get_scope_with_prefix(self, prefix: str) -> str | None:
        """The first extra scope that begins so."""
        return next((scope for scope in self.extra_scopes if scope.startswith(prefix)), None)


class UserInfo(BaseModel):
    """A user.

    Attributes:
        id: unique; ``sub`` of our own issuer, ``<issuer alias>|<sub>`` of others.
        roles: such as ``admin``.
        is_anonymous: nobody knows who this is.
        parent: for a token made for a program, the user behind it.
        expires_at: seconds since the epoch.
    """

    id: Annotated[str, Field(min_length=1, max_length=256)]
    roles: list[str]
    is_anonymous: bool = False
    scope: ScopeInfo | None = None
    email: EmailStr | None = None
    parent: str | None = None
    expires_at: float | None = None
    current_workspace: str | None = None
    _metadata: dict[str, Any] = PrivateAttr(default_factory=dict)
    _principal: tuple[str, str] | None = PrivateAttr(default=None)

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> UserInfo:
        """The user of a service call's context, in the workspace of that call.

        Raises:
            ValidationError: ``context["user"]`` is no user.
        """
        user = cls.model_validate(context["user"])
        user.current_workspace = context["ws"]
        return user

    def get_workspace(self) -> str:
        """The name of the user's own workspace."""
        return f"ws-user-{self.id}"

    def get_effective_user_id(self) -> str:
        """The user behind a program's token, else the user."""
        return self.parent or self.id

    def get_metadata(self, key: str | None = None) -> Any:
        """What was noted about this user in this process: one value, or all."""
        return self._metadata if key is None else self._metadata.get(key)

    def set_metadata(self, key: str, value: Any) -> None:
        """Note something about this user in this process."""
        self._metadata[key] = value

    def get_permission(self, workspace: str) -> UserPermission | None:
        """The strongest permission that the scope gives for a workspace."""
        if self.scope is None:
            return None
        held = self.scope.workspaces
        return strongest(held.get("*"), held.get(workspace))

    def check_permission(self, workspace: str, minimal_permission: UserPermission) -> bool:
        """Whether the scope gives at least that permission for a workspace."""
        return includes(self.get_permission(workspace), UserPermission(minimal_permission))

    def is_specialized_token(self) -> bool:
        """Whether the token is for one purpose only."""
        return self.scope is not None and self.scope.is_specialized()

    def has_scope(self, scope: str) -> bool:
        """Whether that extra scope is there."""
        return self.scope is not None and self.scope.has_scope(scope)

    def validate_for_general_access(self) -> None:
        """Refuse a token that is for one purpose only.

        Raises:
            PermissionError: it is.
        """
        if self.scope is not None and self.scope.is_specialized():
            raise PermissionError(
                f"Specialized token with scopes {self.scope.get_specialized_scopes()} cannot be used for general"
                " workspace access. Use a token without such scopes."
            )

    def is_granted(self, scope: str) -> bool:
        """Whether that extra scope is there, and somebody who may gave it: an issuer, an admin, a parser."""
        return self.scope is not None and self.scope.has_scope(scope) and scope not in self.scope.self_given

    def validate_scope(self, required_scope: str) -> None:
        """Refuse a token without that extra scope.

        Raises:
            PermissionError: it lacks it.
        """
        if not self.has_scope(required_scope):
            raise PermissionError(f"The token lacks the scope {required_scope}. Ask for one that has it.")


class UserTokenInfo(BaseModel):
    """What a login ends with: the token, and what is known of who signed in."""

    token: Annotated[str, Field(max_length=4096, repr=False)]
    workspace: Annotated[str, Field(max_length=256)] | None = None
    expires_in: Annotated[int, Field(gt=0)] | None = None
    email: EmailStr | None = None
    email_verified: bool | None = None
    name: Annotated[str, Field(max_length=64)] | None = None
    nickname: Annotated[str, Field(max_length=64)] | None = None
    user_id: Annotated[str, Field(max_length=64)] | None = None
    picture: HttpUrl | None = None


class TokenConfig(BaseModel):
    """What a token is asked for with.

    Attributes:
        expires_in: seconds.
        workspace: where it acts; None: where the asker does.
        client_id: the one client that may use it.
    """

    expires_in: Annotated[int, Field(gt=0)] = 3600
    workspace: Annotated[str, Field(max_length=256)] | None = None
    permission: Annotated[str, Field(pattern="^(read|read_write|admin)$")] = "read_write"
    extra_scopes: list[str] | None = None
    client_id: Annotated[str, Field(max_length=256)] | None = None
    email: EmailStr | None = None


def create_scope(
    workspaces: Mapping[str, UserPermission | str] | str | None,
    client_id: str | None = None,
    current_workspace: str | None = None,
    extra_scopes: Sequence[str] | None = None,
) -> ScopeInfo:
    """A scope from permissions by workspace, or from text such as ``"ws-a#rw,ws-b#r"``.

    Raises:
        AssertionError: there are no workspaces at all (seed 004's own error).
        ValueError: the text names no permission of ours.
    """
    if workspaces is None:
        raise AssertionError("create_scope needs workspaces: a dict, or text such as 'my-workspace#rw'.")
    if isinstance(workspaces, str):
        held = {}
        for part in filter(None, workspaces.split(",")):
            name, mark, permission = part.strip().partition("#")
            if not name or not mark:
                raise ValueError(f"{part!r} is no permission. Write workspace#r, workspace#rw or workspace#a.")
            held[name] = UserPermission(permission)
    else:
        held = {name: UserPermission(permission) for name, permission in workspaces.items()}
    return ScopeInfo(
        workspaces=held,
        client_id=client_id,
        current_workspace=current_workspace,
        extra_scopes=list(extra_scopes or ()),
    )


def generate_jwt_scope(scope: ScopeInfo) -> str:
    """The claim ``scope`` (RFC 8693 §4.2) that says the same.

    Raises:
        ValueError: a part holds a space, or an extra scope looks like a workspace or a client.
    """
    parts = [f"ws:{name}#{permission.value}" for name, permission in scope.workspaces.items()]
    if scope.client_id:
        parts.append(f"cid:{scope.client_id}")
    if scope.current_workspace:
        parts.append(f"wid:{scope.current_workspace}")
    if any(extra.startswith(_RESERVED) for extra in scope.extra_scopes):
        raise ValueError("An extra scope cannot begin with ws:, wid: or cid:.")
    parts += scope.extra_scopes
    if any(not part or part != "".join(part.split()) for part in parts):
        raise ValueError("A scope cannot hold a space.")
    return " ".join(parts)


def parse_scope(text: str) -> ScopeInfo:
    """What a claim ``scope`` says; the other way round.

    Raises:
        ValueError: a workspace has no permission of ours, or two current ones or clients are named.
    """
    scope = ScopeInfo()
    for part in text.split():
        if part.startswith("ws:"):
            name, mark, permission = part.removeprefix("ws:").rpartition("#")
            if not name or not mark:
                raise ValueError("A workspace in the scope has no permission.")
            scope.workspaces[name] = UserPermission(permission)
        elif part.startswith("cid:"):
            scope.client_id = _once(scope.client_id, part.removeprefix("cid:"))
        elif part.startswith("wid:"):
            scope.current_workspace = _once(scope.current_workspace, part.removeprefix("wid:"))
        else:
            scope.extra_scopes.append(part)
    return scope


def _once(before: str | None, value: str) -> str:
    if before is not None or not value:
        raise ValueError("The scope names two clients or two current workspaces, or an empty one.")
    return value
