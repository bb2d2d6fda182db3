"""RFC 7662: ask the issuer of an opaque token what it stands for, and judge the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from valetkey.protocol.client_auth import Proof
from valetkey.protocol.foreign import FORM, JSON, media_type, read_object
from valetkey.protocol.jwt import LEEWAY, fit_subject
from valetkey.protocol.token import HttpAnswer
from valetkey.secret import Secret

LONGEST = 4096
"""Characters of an opaque token."""

_OPAQUE = re.compile(r"[A-Za-z0-9._~+/-]{8,}=*")  # RFC 6750 §2.1
_LATEST = 2**42
_ACCESS = frozenset({"access_token", "access"})
# What a bearer need not prove (RFC 7800, 8705, 9449).
_BOUND = frozenset({"cnf"})


@dataclass(frozen=True, slots=True, kw_only=True)
class IntrospectionRequest:
    """What to send; it does not print."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What a live token stands for.

    Attributes:
        expires_at: seconds since the epoch.
        members: all that was said.
    """

    subject: str
    expires_at: float
    members: Mapping[str, Any] = field(repr=False)


def may_be_opaque(text: str) -> bool:
    """Whether it has the form of a bearer token (RFC 6750 §2.1) worth asking about."""
    return len(text) <= LONGEST and _OPAQUE.fullmatch(text) is not None


def introspection_request(token: Secret, *, proof: Proof) -> IntrospectionRequest:
    """The request (RFC 7662 §2.1), with the client's proof."""
    form = {"token": token.reveal(), "token_type_hint": "access_token", **proof.parameters}
    headers = {"accept": JSON, "content-type": FORM, **proof.headers}
    return IntrospectionRequest(headers=headers, body=urlencode(form).encode())


def judge_introspection(
    answer: HttpAnswer, *, issuer: str, audiences: frozenset[str], client_id: str, now: float
) -> Explained | None:
    """What a token stands for (RFC 7662 §2.2); None: it is not active, or not for us.

    Beyond the standard an answer must name ``sub`` and ``exp``, a ``token_type`` of Bearer (a refresh token has none),
    and one of our audiences in ``aud``; without an ``aud``, the token must have been issued to us or to one of them.

    Args:
        answer: the issuer's.
        issuer: its name, to the letter that of ``iss`` where that is there.
        audiences: of which one must be named.
        client_id: who we are there.
        now: seconds since the epoch.

    Raises:
        ValueError: it is no answer; the text says why and quotes nothing.
    """
    if answer.status != 200:  # noqa: PLR2004  # OK
        raise ValueError(f"it answered {answer.status}")
    if media_type(answer.header("content-type")) != JSON:
        raise ValueError("its answer is no JSON")
    members = read_object(answer.body, JSON)
    active = members.get("active")
    if not isinstance(active, bool):
        raise ValueError("its answer does not say whether the token is active")  # noqa: TRY004  # as the other ways
    if not active or not _for_us(members, issuer=issuer, audiences=audiences, client_id=client_id):
        return None
    subject, kind = members.get("sub"), members.get("token_type")
    expires_at = _time(members, "exp")
    if expires_at is None or not fit_subject(subject) or not isinstance(kind, str):
        raise ValueError("its answer lacks sub, exp or token_type, or has one that is none")
    starts_at = max(_time(members, "nbf") or now, _time(members, "iat") or now)
    if kind.lower() != "bearer" or members.get("token_use", "access") not in _ACCESS:
        return None
    if now >= expires_at + LEEWAY or starts_at > now + LEEWAY or not _BOUND.isdisjoint(members):
        return None
    return Explained(subject=subject, expires_at=expires_at, members=members)


def _for_us(members: Mapping[str, Any], *, issuer: str, audiences: frozenset[str], client_id: str) -> bool:
    if members.get("iss", issuer) != issuer:
        return False
    if "aud" in members:
        told = members["aud"]
        audience = told if isinstance(told, list) else [told]
        return all(isinstance(each, str) for each in audience) and not audiences.isdisjoint(audience)
    given_to = members.get("client_id")
    return isinstance(given_to, str) and given_to in {client_id, *audiences}


def _time(members: Mapping[str, Any], name: str) -> float | None:
    if name not in members:
        return None
    value = members[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        raise ValueError(f"its {name} is no time in seconds since the epoch")
    return float(value)
