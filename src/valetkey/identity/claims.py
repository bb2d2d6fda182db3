"""The claims of our own access tokens, in the layout of seed 004's tokens (RFC 7519 §4, RFC 9068 §2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from valetkey.errors import InvalidArguments, Unauthenticated
from valetkey.model.caller import OURS, Owner
from valetkey.model.users import (
    ADMIN_ROLE,
    ANONYMOUS_ROLE,
    ScopeInfo,
    UserInfo,
    UserPermission,
    generate_jwt_scope,
    parse_scope,
)
from valetkey.protocol.jwt import Claims, fit_subject

GRANT = "client-credentials"
"""The claim ``gty`` that tools of that ecosystem expect."""

_MOST_ROLES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Whom the claims of a verified token name.

    Attributes:
        token_id: the claim ``jti``; empty where there is none.
        expires_at: seconds since the epoch.
    """

    user: UserInfo
    owner: Owner
    token_id: str
    expires_at: float


def write(
    user: UserInfo,
    owner: Owner,
    *,
    issuer: str,
    audience: str,
    namespace: str,
    issued_at: int,
    expires_at: int,
    token_id: str,
) -> dict[str, Any]:
    """The claims that say who the user is, until when, and what they may.

    One for all that its user may names no workspace (``wid``): what names one is good there only.

    Raises:
        InvalidArguments: the scope cannot be written: a part of it holds a space.
    """
    scope = user.scope or ScopeInfo()
    if owner.workspace != user.get_workspace():
        scope = scope.model_copy(update={"current_workspace": owner.workspace})
    try:
        text = generate_jwt_scope(scope)
    except ValueError as error:
        raise InvalidArguments(f"No token can be made for that: {error}") from None
    return {
        "iss": issuer,
        "sub": user.id,
        "aud": audience,
        "iat": issued_at,
        "exp": expires_at,
        "jti": token_id,
        "scope": text,
        "gty": GRANT,
        f"{namespace}roles": list(user.roles),
        f"{namespace}email": user.email,
        f"{namespace}parent": user.parent,
        f"{namespace}principal": [owner.issuer, owner.subject],
        **({f"{namespace}self_given": list(scope.self_given)} if scope.self_given else {}),
    }


def read(verified: Claims, *, namespace: str) -> Bearer:
    """Whom they name. A token that another program signed with our secret is read as seed 004 reads it.

    Raises:
        Unauthenticated: a claim is missing, or is of no use; the text names it, and quotes nothing.
    """
    claims, subject = verified.members, verified.subject
    scope = _scope(claims.get("scope"))
    scope.self_given = _self_given(claims.get(f"{namespace}self_given", []), namespace)
    roles = claims.get(f"{namespace}roles") or []
    if (
        not isinstance(roles, list)
        or len(roles) > _MOST_ROLES
        or not all(isinstance(role, str) and role for role in roles)
    ):
        raise _bad(f"{namespace}roles", "a list of texts")
    parent = claims.get(f"{namespace}parent") or None
    if parent is not None and not fit_subject(parent):
        raise _bad(f"{namespace}parent", "the id of a user")
    try:
        user = UserInfo(
            id=subject,
            roles=roles,
            is_anonymous=ANONYMOUS_ROLE in roles,
            scope=scope,
            email=claims.get(f"{namespace}email") or None,
            parent=parent,
            expires_at=verified.expires_at,
            current_workspace=scope.current_workspace,
        )
    except ValidationError:
        raise _bad(f"{namespace}email", "an e-mail address") from None
    principal = _principal(claims, namespace)
    if principal is None:
        _widen(user, scope)
        principal = OURS, subject
    else:
        user.current_workspace = scope.current_workspace or user.get_workspace()
    user._principal = principal  # noqa: SLF001 - the note for verifiers of whom they vouched for
    owner = Owner(workspace=scope.current_workspace or user.get_workspace(), issuer=principal[0], subject=principal[1])
    return Bearer(user=user, owner=owner, token_id=verified.id, expires_at=verified.expires_at)


def _scope(value: object) -> ScopeInfo:
    if not isinstance(value, str):
        raise _bad("scope", "a text")
    try:
        return parse_scope(value)
    except ValueError:
        raise _bad("scope", "workspaces with permissions, and scopes, parted by spaces") from None


def _self_given(value: object, namespace: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _bad(f"{namespace}self_given", "a list of texts")
    return value


def _principal(claims: Mapping[str, Any], namespace: str) -> tuple[str, str] | None:
    value = claims.get(f"{namespace}principal")
    if value is None:
        return None
    match value:
        case [str(issuer), str(subject)] if issuer and subject:
            return issuer, subject
        case _:
            raise _bad(f"{namespace}principal", "an issuer and a subject")


def _widen(user: UserInfo, scope: ScopeInfo) -> None:
    """What seed 004 gives to every token: the own workspace, and to admins all. Ours say it in their scope."""
    if scope.is_specialized():
        return
    scope.workspaces[user.get_workspace()] = UserPermission.admin
    if ADMIN_ROLE in user.roles and user.parent is None:
        scope.workspaces["*"] = UserPermission.admin


def _bad(claim: str, expected: str) -> Unauthenticated:
    return Unauthenticated(f"The token's claim {claim} has to be {expected}. Ask for another token.")
