"""RFC 9449: a proof that whoever presents a token holds the key to which it is bound."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws as signing
from joserfc.jwk import ECKey

from valetkey.errors import Unauthenticated
from valetkey.protocol import jws
from valetkey.protocol.jwk import ASYMMETRIC, read_key
from valetkey.secret import Secret

TYPE = "dpop+jwt"

INVALID = "invalid_dpop_proof: "
"""How the text of an error begins that is about a proof (RFC 9449 §12.2): the challenge names it."""

WINDOW = 300.0
"""Seconds by which the time of a proof may differ from ours (RFC 9449 §11.1)."""

LONGEST_ID = 256
"""Characters of a proof's id."""

_THUMBED: Mapping[str, tuple[str, ...]] = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")} | {
    "OKP": ("crv", "kty", "x")
}
_PORTS = {"https": 443, "http": 80}
# Of P-256 (SP 800-186 §3.2.1.3).
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What a proof shows.

    Attributes:
        thumbprint: of its key (RFC 7638), as a token's ``cnf.jkt`` has it.
        proof_id: its ``jti``: a second one of the same key is a replay.
    """

    thumbprint: str
    proof_id: str = field(repr=False)


def make_proof(
    seed: Secret,
    *,
    method: str,
    url: str,
    now: float,
    proof_id: str,
    nonce: str = "",
    token: Secret | None = None,
) -> str:
    """A proof for one request (RFC 9449 §4.2), signed with ES256.

    Args:
        seed: 32 random bytes in base64url, of which the key is made: one for each connection.
        method: of the request.
        url: of the request; its query and fragment are left out.
        now: seconds since the epoch.
        proof_id: never used before.
        nonce: what the server asked for; empty: nothing.
        token: the access token that goes along; None at a token endpoint.
    """
    key = _key(seed)
    header = {"typ": TYPE, "alg": "ES256", "jwk": key.as_dict(private=False)}
    claims: dict[str, Any] = {"htm": method.upper(), "htu": _target(url), "iat": int(now), "jti": proof_id}
    if nonce:
        claims["nonce"] = nonce
    if token is not None:
        claims["ath"] = _hash(token.reveal())
    payload = json.dumps(claims, separators=(",", ":")).encode()
    registry = signing.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    return signing.serialize_compact(header, payload, key, registry=registry)


def key_thumbprint(seed: Secret) -> str:
    """The thumbprint of that key, for the parameter ``dpop_jkt`` of an authorization request (RFC 9449 §10)."""
    return thumbprint_of(_key(seed).as_dict(private=False))


def _key(seed: Secret) -> ECKey:
    """The key of P-256 that 256 random bits stand for (FIPS 186-5 A.2.1, from a hash of 512 bits)."""
    drawn = int.from_bytes(hashlib.sha512(f"valetkey dpop {seed.reveal()}".encode()).digest())
    return ECKey.import_key(ec.derive_private_key(drawn % (_ORDER - 1) + 1, ec.SECP256R1()))


def judge_proof(proof: str, *, method: str, url: str, token: Secret, now: float) -> Proven:
    """What a proof shows for a request with that token (RFC 9449 §4.3, §7.1).

    Args:
        proof: the one value of the request's ``DPoP`` header.
        method: of the request.
        url: of the request, as the client wrote it.
        token: the access token that came along.
        now: seconds since the epoch.

    Raises:
        Unauthenticated: it is not good for this request.
    """
    try:
        return _judged(proof, method=method, url=url, token=token, now=now)
    except Unauthenticated:
        raise Unauthenticated(
            f"{INVALID}the DPoP header is no proof for this request (RFC 9449 §4.3). Make a new one for each request, "
            "with its method, its URL and the hash of its token, and compare clocks."
        ) from None


def thumbprint_of(jwk: Mapping[str, Any]) -> str:
    """The SHA-256 thumbprint of a public key (RFC 7638)."""
    members = {name: jwk[name] for name in _THUMBED[jwk["kty"]]}
    return _encoded(hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())


def bound_to(claims: Mapping[str, Any], thumbprint: str) -> bool:
    """Whether a token's ``cnf`` binds it to the key of that thumbprint, and to nothing else (RFC 9449 §6.1)."""
    confirmed = claims.get("cnf")
    if not isinstance(confirmed, dict) or confirmed.keys() != {"jkt"} or not isinstance(confirmed["jkt"], str):
        return False
    return hmac.compare_digest(confirmed["jkt"].encode("utf-8", "surrogatepass"), thumbprint.encode())


def _judged(proof: str, *, method: str, url: str, token: Secret, now: float) -> Proven:
    header, payload, signed, signature = jws.split(proof)
    if header.type != TYPE or header.algorithm not in ASYMMETRIC:
        jws.refuse("it is no proof")
    jwk = jws.members_of(signed.partition(b".")[0]).get("jwk")
    try:
        key = read_key(jwk) if isinstance(jwk, dict) else None
    except ValueError:
        key = None
    if key is None or not isinstance(jwk, dict) or not key.verifies(header.algorithm, signed, signature):
        jws.refuse("its signature is not good")
    claims = jws.members_of(payload)
    issued_at, proof_id, told = claims.get("iat"), claims.get("jti"), claims.get("ath")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        jws.refuse("it does not say of when it is")
    if not now - WINDOW <= issued_at <= now + WINDOW:
        jws.refuse("it is not of now")
    if not isinstance(proof_id, str) or not 0 < len(proof_id) <= LONGEST_ID:
        jws.refuse("it has no id")
    if claims.get("htm") != method or not _same_target(claims.get("htu"), url):
        jws.refuse("it is for another request")
    if not isinstance(told, str) or not hmac.compare_digest(
        told.encode("utf-8", "surrogatepass"), _hash(token.reveal()).encode()
    ):
        jws.refuse("it is for another token")
    return Proven(thumbprint=thumbprint_of(jwk), proof_id=proof_id)


def _same_target(told: object, url: str) -> bool:
    """Whether both are one URL, scheme and host in any case, the usual port or none (RFC 9449 §4.3, item 9)."""
    try:
        return isinstance(told, str) and _target(told) == _target(url)
    except ValueError:
        return False


def _target(url: str) -> str:
    """The URL without query and fragment (RFC 9449 §4.2), normalised (RFC 3986 §6.2.2, §6.2.3)."""
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS.get(scheme)) else f":{parts.port}"
    return urlunsplit((scheme, f"{host}{port}", parts.path or "/", "", ""))


def _hash(token: str) -> str:
    return _encoded(hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest())


def _encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")
