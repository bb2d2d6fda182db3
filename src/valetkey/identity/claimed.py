"""What a trusted issuer says of a user, as a user here: its name never meets another's, its workspaces do not count."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import EmailStr, TypeAdapter, ValidationError

from valetkey.errors import InvalidSetting, Unauthenticated
from valetkey.identity.issuers import ALGORITHMS, TrustedIssuer
from valetkey.model.caller import ANONYMOUS, CUSTOM, OURS
from valetkey.model.users import ADMIN_ROLE, ANONYMOUS_ROLE, ScopeInfo, UserInfo, UserPermission
from valetkey.ports.world import Trust
from valetkey.protocol.authorize import endpoint_fault
from valetkey.protocol.foreign import shown
from valetkey.protocol.jwk import ASYMMETRIC
from valetkey.protocol.jwt import check_algorithms

LONGEST_ID = 256
"""Characters of a user's id."""

LONGEST_ROLE = 128
MOST_ROLES = 200
LONGEST_EMAIL = 254

TENANT = "{tid}"

_ALIAS = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_TENANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_OURS = ("local", OURS, CUSTOM, ANONYMOUS)  # how ids of our own begin, before the bar
_ROOT, _NAMELESS = "root", "anonymouz-"  # users whom every such server has
_NO_ROLE = f"The token is not accepted: a role is no text of at most {LONGEST_ROLE} characters."
_RESERVED = ("ws:", "wid:", "cid:")
_EMAIL = TypeAdapter[str](EmailStr)


def check_issuers(issuers: Sequence[TrustedIssuer]) -> None:
    """Refuse issuers whose tokens could not be judged safely (RFC 8725 §3.1, §3.8, §3.9).

    Raises:
        InvalidSetting: an alias that is none or is taken, no algorithm or one that is not for others, no audience,
            tenants without ``{tid}`` or the other way round, or a URL that is no endpoint.
    """
    aliases: set[str] = set()
    for issuer in issuers:
        name = shown(issuer.issuer) or "an issuer"
        if not _ALIAS.fullmatch(issuer.alias) or issuer.alias in {*_OURS, *aliases}:
            raise InvalidSetting(
                f"{name} cannot have the alias {shown(issuer.alias)!r}. Give it its own, of a-z, 0-9 and hyphens."
            )
        aliases.add(issuer.alias)
        check_algorithms(issuer.algorithms, of=issuer.issuer)
        if not issuer.algorithms <= ASYMMETRIC & ALGORITHMS:
            raise InvalidSetting(f"Tokens of {name} must be signed with one of {', '.join(sorted(ALGORITHMS))}.")
        if not issuer.issuer or not issuer.audiences or "" in issuer.audiences:
            raise InvalidSetting(f"{name} needs its issuer and at least one audience: who its tokens are meant for.")
        if issuer.plain_ids and any(each.plain_ids for each in issuers if each is not issuer):
            raise InvalidSetting(f"{name}: only one issuer's users can have their bare sub as id (plain_ids).")
        _check_tenants(issuer, name)
        _check_urls(issuer, name)


def _check_tenants(issuer: TrustedIssuer, name: str) -> None:
    if (TENANT in issuer.issuer) != bool(issuer.tenants) or not all(map(_TENANT_NAME.fullmatch, issuer.tenants)):
        raise InvalidSetting(f"{name}: {TENANT} in an issuer and its list of tenants go together.")


def _check_urls(issuer: TrustedIssuer, name: str) -> None:
    urls = {"jwks_url" if issuer.jwks_url else "issuer": issuer.jwks_url or issuer.issuer}
    if issuer.introspection_url:
        urls["introspection_url"] = issuer.introspection_url
    for setting, url in urls.items():
        fault = endpoint_fault(url.replace(TENANT, "t"), operator=issuer.trust is Trust.OPERATOR)
        if fault is not None:
            raise InvalidSetting(f"{name}: its {setting} cannot be asked: {fault}. Expected https://host/path.")


class Users:
    """The users of one issuer, as claims describe them.

    Workspaces that claims name are not read: what a user may do here is decided here. Neither is a ``parent``: it
    would name a user of somebody else.

    Args:
        issuer: who says so.
        others: all issuers that are trusted.
    """

    def __init__(self, issuer: TrustedIssuer, others: Sequence[TrustedIssuer]) -> None:
        self._prefix = "" if issuer.plain_ids else f"{issuer.alias}|"
        self._taken = frozenset({*_OURS, *(each.alias for each in others if each is not issuer)})
        self._roles, self._email, self._verified = (
            _names(issuer.namespace, name) for name in ("roles", "email", "email_verified")
        )

    def user(self, subject: str, members: Mapping[str, Any], *, principal: tuple[str, str], ends: float) -> UserInfo:
        """The user.

        Args:
            subject: ``sub``, judged already.
            members: all claims.
            principal: issuer and subject.
            ends: seconds since the epoch.

        Raises:
            Unauthenticated: the user's id would be another's, or the roles are none.
        """
        user_id = self._prefix + subject
        if not self._prefix:
            head, bar, _ = subject.partition("|")
            if (bar and head in self._taken) or subject == _ROOT or subject.startswith(_NAMELESS):
                raise Unauthenticated("The token is not accepted: its sub is the name of somebody else here.")
        if len(user_id) > LONGEST_ID:
            raise Unauthenticated("The token is not accepted: its sub is too long to name a user here.")
        roles = _fit_roles(_first(members, self._roles))
        workspaces = {f"ws-user-{user_id}": UserPermission.admin}
        if ADMIN_ROLE in roles:
            workspaces["*"] = UserPermission.admin
        scope = members.get("scope")
        extra = _scopes(scope) if isinstance(scope, str) else ()
        user = UserInfo(
            id=user_id,
            roles=roles,
            is_anonymous=ANONYMOUS_ROLE in roles,
            scope=ScopeInfo(workspaces=workspaces, extra_scopes=list(extra)),
            expires_at=ends,
        )
        email = _first(members, self._email)
        if (
            isinstance(email, str)
            and _first(members, self._verified) is not False
            and members.get("email_verified") is not False
        ):
            # Past the model's own check, which costs more than all the rest: it was checked before, by the same rules.
            user.email = fit_email(email)
        user._principal = principal  # noqa: SLF001  # every verifier sets it
        return user


@lru_cache(maxsize=4096)
def fit_email(text: str) -> str | None:
    """An address as a user may have it; None: it is none. Many who sign in have one that no mail reaches."""
    if len(text) > LONGEST_EMAIL:
        return None
    try:
        return _EMAIL.validate_python(text)
    except ValidationError:
        return None


def _names(namespace: str, name: str) -> tuple[str, str]:
    """How an issuer may write a claim of its own: with the slash or without; the plain name without a namespace."""
    bare = namespace.rstrip("/")
    return (f"{bare}/{name}", f"{bare}{name}") if bare else (name, name)


def _first(members: Mapping[str, Any], names: tuple[str, str]) -> object:
    first, second = names
    return members[first] if first in members else members.get(second)


def _fit_roles(told: object) -> list[str]:
    if told is None:
        return []
    if not isinstance(told, list) or len(told) > MOST_ROLES:
        raise Unauthenticated(f"The token is not accepted: its roles are no list of at most {MOST_ROLES} texts.")
    for role in told:
        if not isinstance(role, str):
            raise Unauthenticated(_NO_ROLE)
    return list(_roles_of(tuple(told)))


@lru_cache(maxsize=1024)
def _roles_of(told: tuple[str, ...]) -> tuple[str, ...]:
    if any(not 0 < len(role) <= LONGEST_ROLE or not role.isprintable() for role in told):
        raise Unauthenticated(_NO_ROLE)
    return tuple(dict.fromkeys(told))


@lru_cache(maxsize=1024)
def _scopes(told: str) -> tuple[str, ...]:
    """What it may be used for (RFC 8693 §4.2), without what would name workspaces or clients here."""
    given = dict.fromkeys(told.split(" "))
    return tuple(each for each in given if each and each.isprintable() and not each.startswith(_RESERVED))
