"""RFC 8414 and OpenID Connect Discovery 1.0: where an issuer's metadata is, and what of it to believe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from valetkey.protocol.authorize import endpoint_fault

_ENDPOINTS = {
    "jwks_uri": "jwks_url",
    "authorization_endpoint": "authorize_url",
    "token_endpoint": "token_url",
    "introspection_endpoint": "introspection_url",
    "userinfo_endpoint": "userinfo_url",
    "end_session_endpoint": "end_session_url",
    "revocation_endpoint": "revocation_url",
    "device_authorization_endpoint": "device_url",
    "pushed_authorization_request_endpoint": "par_url",
    "registration_endpoint": "registration_url",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What an issuer says of itself, as far as we go along with it.

    Attributes:
        issuer: to the letter the one that was asked.
        jwks_url, authorize_url, token_url, introspection_url, userinfo_url, end_session_url: empty: it names none.
        revocation_url, device_url, par_url, registration_url: the same (RFC 7009, 8628, 9126, 7591).
        algorithms: those of ours with which it signs ID tokens; ``none`` and the like are never among them.
        code: whether it has the authorization code flow; implicit ones are never taken.
        s256: whether it says that it takes the code challenge S256; ``plain`` is never sent.
        client_auth: how clients may prove themselves at the token endpoint; empty: it does not say.
        iss_in_callback: whether it says who it is in each callback (RFC 9207 §3).
        par_only: whether it takes pushed authorization requests only (RFC 9126 §5).
        dpop: the algorithms with which a proof may be signed (RFC 9449 §5.1); empty: it does not say.
    """

    issuer: str
    jwks_url: str = ""
    authorize_url: str = ""
    token_url: str = ""
    introspection_url: str = ""
    userinfo_url: str = ""
    end_session_url: str = ""
    revocation_url: str = ""
    device_url: str = ""
    par_url: str = ""
    registration_url: str = ""
    algorithms: frozenset[str] = frozenset()
    code: bool = True
    s256: bool = False
    client_auth: frozenset[str] = frozenset()
    iss_in_callback: bool = False
    par_only: bool = False
    dpop: frozenset[str] = frozenset()


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where its metadata may be, the likeliest first (OpenID Connect Discovery §4; RFC 8414 §3.1, §5)."""
    base = issuer.removesuffix("/")
    parts = urlsplit(base)
    origin = f"{parts.scheme}://{parts.netloc}"
    return (f"{base}/.well-known/openid-configuration", f"{origin}/.well-known/oauth-authorization-server{parts.path}")


def read_metadata(members: Mapping[str, Any], *, issuer: str, operator: bool) -> Metadata:
    """What to believe.

    Args:
        members: the answer.
        issuer: the one that was asked; the answer must name it to the letter (RFC 8414 §3.3).
        operator: whether settings named the issuer; then plain http on loopback is one for its endpoints, too.

    Raises:
        ValueError: it speaks for another issuer, or names an endpoint that cannot be one; the text says why.
    """
    from valetkey.protocol.jwk import ASYMMETRIC  # noqa: PLC0415 - Pocket loads without it

    if members.get("issuer") != issuer:
        raise ValueError("it names another issuer than the one that was asked")
    urls = {}
    for name, ours in _ENDPOINTS.items():
        url = members.get(name, "")
        fault = endpoint_fault(url, operator=operator) if isinstance(url, str) else "it is no text"
        if url and fault:
            raise ValueError(f"its {name} cannot be used: {fault}")
        urls[ours] = url or ""
    return Metadata(
        issuer=issuer,
        **urls,
        algorithms=_texts(members, "id_token_signing_alg_values_supported") & ASYMMETRIC,
        code="code" in (_texts(members, "response_types_supported") or {"code"}),
        s256="S256" in _texts(members, "code_challenge_methods_supported"),
        client_auth=_texts(members, "token_endpoint_auth_methods_supported"),
        iss_in_callback=members.get("authorization_response_iss_parameter_supported") is True,
        par_only=members.get("require_pushed_authorization_requests") is True,
        dpop=_texts(members, "dpop_signing_alg_values_supported"),
    )


def same_origin(url: str, other: str) -> bool:
    """Whether two URLs have one scheme, host and port (RFC 6454 §4)."""
    return _origin(url) == _origin(other)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _texts(members: Mapping[str, Any], name: str) -> frozenset[str]:
    value = members.get(name)
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()
