"""What a token may be given by the one with which it is asked for: never more than that one has."""

from __future__ import annotations

import re

from valetkey.errors import Denied, InvalidArguments
from valetkey.model.lendings import VIA
from valetkey.model.users import ADMIN_ROLE, ScopeInfo, TokenConfig, UserInfo, UserPermission

MOST_SCOPES = 64
"""Extra scopes that one token may have."""

LONGEST_SCOPE = 256
"""Characters of one extra scope."""

_EXTRA = re.compile(r"[a-z0-9._-]+:[!-~]+")
_RESERVED = ("ws:", "wid:", "cid:")
_NAME = re.compile(r"[^\s*#,\x00-\x1f\x7f][^\s,\x00-\x1f\x7f]*")


def narrowed(
    user: UserInfo, config: TokenConfig, *, workspace: str, held: UserPermission | None, admin: bool
) -> ScopeInfo:
    """The scope of a token in that workspace, where its asker has the permission ``held``.

    A specialised asker's token keeps within the asker's extra scopes, and has all of them where none is named. What
    another asker names narrows the token; it grants something only where the asker has it, or is an admin. A person,
    and nobody's program, may give their own accounts along: ``via:<provider>``.

    Raises:
        Denied: the asker is no admin there, or asks for more than it has.
        InvalidArguments: a scope, a workspace or a client can be none.
    """
    check_name(workspace, what="workspace")
    if held is None:
        raise Denied(f"You do not have any permission for workspace: {workspace}")
    if held is not UserPermission.admin:
        raise Denied("Only admin can generate token.")
    own = user.scope or ScopeInfo()
    extra = _extra(own, config.extra_scopes)
    in_person = user.parent is None and not own.is_specialized()
    given = {scope for scope in extra if user.is_granted(scope) or (in_person if scope.startswith(VIA) else admin)}
    return ScopeInfo(
        current_workspace=workspace,
        workspaces={workspace: UserPermission[config.permission]},
        client_id=_client(own.client_id, config.client_id),
        extra_scopes=extra,
        self_given=[scope for scope in extra if scope not in given],
    )


def restricted(
    user: UserInfo, *, workspace: str | None, permission: UserPermission, extra_scopes: list[str]
) -> UserInfo:
    """The same user with less: one workspace, and extra scopes that make the token one for these purposes only.

    Without workspace and scopes it is the user as they are. Who is narrowed is an admin no more.

    Raises:
        InvalidArguments: a scope or a workspace can be none.
    """
    if workspace is None and not extra_scopes:
        return user
    name = workspace or user.get_workspace()
    check_name(name, what="workspace")
    scope = ScopeInfo(current_workspace=name, workspaces={name: permission}, extra_scopes=checked_scopes(extra_scopes))
    roles = [role for role in user.roles if role != ADMIN_ROLE]
    return user.model_copy(deep=True, update={"scope": scope, "roles": roles, "current_workspace": name})


def email_of(user: UserInfo, config: TokenConfig, *, admin: bool) -> str | None:
    """The e-mail address of a token: the asker's own, or another where an admin says so.

    Raises:
        Denied: the asker is no admin.
    """
    if config.email is None or config.email == user.email:
        return user.email
    if not admin:
        raise Denied("Only admin can set the email of a token. Leave email out.")
    return config.email


def check_name(name: str, *, what: str) -> None:
    """Refuse what cannot stand in a scope.

    Raises:
        InvalidArguments: it holds a space or a control character, or stands for all.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidArguments(f"That can be no {what}: use a name without spaces, commas, # or * at its beginning.")


def checked_scopes(scopes: list[str]) -> list[str]:
    """Extra scopes, each once.

    Raises:
        InvalidArguments: one can be none, or looks like a workspace or a client; or there are too many.
    """
    if len(scopes) > MOST_SCOPES:
        raise InvalidArguments(f"A token has at most {MOST_SCOPES} extra scopes.")
    for scope in scopes:
        if len(scope) > LONGEST_SCOPE or _EXTRA.fullmatch(scope) is None or scope.startswith(_RESERVED):
            raise InvalidArguments(
                "An extra scope is name:value, the name of a-z, 0-9, dot, hyphen and low line, without spaces, and"
                f" is not ws:, wid: or cid:; at most {LONGEST_SCOPE} characters."
            )
    return list(dict.fromkeys(scopes))


def _client(own: str | None, wanted: str | None) -> str | None:
    if wanted:
        check_name(wanted, what="client")
    if own is not None and wanted not in {None, own}:
        raise Denied("This token is for one client only, and cannot make one for another. Leave client_id out.")
    return own if own is not None else wanted or None


def _extra(own: ScopeInfo, wanted: list[str] | None) -> list[str]:
    scopes = checked_scopes(wanted or [])
    if not own.is_specialized():
        return scopes
    if not set(scopes) <= set(own.extra_scopes):
        raise Denied("This token is for one purpose only, and cannot make one for another. Ask for scopes that it has.")
    return scopes or list(own.extra_scopes)
