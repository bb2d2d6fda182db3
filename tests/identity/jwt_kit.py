"""Tokens as anybody may write them, right or wrong, keys to sign them with, and issuers that answer from a table."""

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, OKPKey, RSAKey

from valetkey.identity.issuers import TrustedIssuer
from valetkey.ports.world import Request, Response
from valetkey.protocol.jwk import VerifyingKey, public_key

NOW = 1_750_000_000.0
ISSUER = "https://issuer.test/"
AUDIENCE = "https://api.test"
RSA = rsa.generate_private_key(65_537, 2048)
OTHER_RSA = rsa.generate_private_key(65_537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER_EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS: dict[str, Any] = {"RS256": RSA, "PS256": RSA, "ES256": EC, "EdDSA": ED}
PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


def b64(octets: bytes | str) -> str:
    raw = octets.encode() if isinstance(octets, str) else octets
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signature(alg: str, key: Any, message: bytes) -> bytes:
    """Written here, not by the code under test."""
    made: bytes
    match alg:
        case "RS256":
            made = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case "RS512":
            made = key.sign(message, padding.PKCS1v15(), hashes.SHA512())
        case "PS256":
            made = key.sign(message, PSS, hashes.SHA256())
        case "EdDSA":
            made = key.sign(message)
        case "ES256":
            r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
            made = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        case _:
            made = hmac.new(key, message, f"sha{alg[2:]}").digest()
    return made


def claims(**changed: Any) -> dict[str, Any]:
    """Those of a good token; None takes one out."""
    members = {"iss": ISSUER, "sub": "ada", "aud": AUDIENCE, "iat": NOW - 10, "exp": NOW + 600} | changed
    return {name: value for name, value in members.items() if value is not ...}


def raw(header: str | bytes, payload: str | bytes, *, alg: str = "RS256", key: Any = None) -> str:
    """A token of these very bytes, signed."""
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(signature(alg, key or KEYS[alg], signed.encode()))}"


def token(
    *, alg: str = "RS256", key: Any = None, header: dict[str, Any] | None = None, typ: Any = "at+jwt", **changed: Any
) -> str:
    """A token that is good but for what is changed; ``...`` takes a member out."""
    members = {"alg": alg, "typ": typ, "kid": alg} | (header or {})
    kept = {name: value for name, value in members.items() if value is not ...}
    return raw(json.dumps(kept), json.dumps(claims(**changed)), alg=alg, key=key)


def ready(alg: str, key: Any = None) -> VerifyingKey:
    return public_key((key or KEYS[alg]).public_key(), kid=alg, algorithm=alg)


def jwk(alg: str, key: Any = None, *, kid: str | None = None, **more: Any) -> dict[str, Any]:
    """As an issuer publishes it."""
    kinds: dict[str, Any] = {"RS256": RSAKey, "PS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey}
    members = kinds[alg].import_key((key or KEYS[alg]).public_key()).as_dict(private=False)
    members.pop("kid", None)
    members |= {"alg": alg, "use": "sig", "kid": alg if kid is None else kid} | more
    return {name: value for name, value in members.items() if value is not ...}


def jwks(*keys: dict[str, Any]) -> dict[str, Any]:
    return {"keys": list(keys or (jwk(alg) for alg in KEYS))}


def answer(members: Any, *, status: int = 200, **headers: str) -> Response:
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    told = {"content_type": "application/json"} | headers
    return Response(
        status=status, headers=tuple((name.replace("_", "-"), value) for name, value in told.items()), body=body
    )


class World:
    """The way out: answers by URL, and how often each was asked."""

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.answers: dict[str, Any] = answers or {}
        self.asked: list[Request] = []
        self.before: Callable[[Request], Any] | None = None

    async def fetch(self, request: Request) -> Response:
        self.asked.append(request)
        if self.before is not None:
            await self.before(request)
        given = self.answers.get(request.url, answer({}, status=404))
        if isinstance(given, Exception):
            raise given
        return given if isinstance(given, Response) else answer(given)


def trusted(alias: str = "main", **changed: Any) -> TrustedIssuer:
    given: dict[str, Any] = {
        "alias": alias,
        "issuer": ISSUER,
        "audiences": frozenset({AUDIENCE}),
        "algorithms": frozenset(KEYS),
        "jwks_url": f"{ISSUER}jwks",
    }
    return TrustedIssuer(**(given | changed))
