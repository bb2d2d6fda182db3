"""RFC 7521, 7523: signed assertions, by which a client proves itself or asks for a token without a person."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from valetkey.errors import InvalidSetting
from valetkey.protocol.client_auth import Proof
from valetkey.protocol.jwk import public_key
from valetkey.protocol.jws import LONGEST_ID
from valetkey.secret import Secret

LIFE = 60
"""Seconds for which an assertion is good: it is made for one request."""

CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""RFC 7523 §2.2."""

_ALGORITHMS = {"RSA": ("RS256", "PS256"), "EC": ("ES256",), "OKP": ("EdDSA", "Ed25519")}
_JWK: Mapping[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}

_Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key, ready to sign. It does not print.

    Attributes:
        algorithm: by the key's type (RFC 7518 §3.1, RFC 8037 §3.1): ES256, EdDSA, RS256; PS256 where its JWK says so.
        kid: the id by which the other side knows it; empty: it has none.
        fingerprint: its public half in DER, to tell two keys apart.
    """

    algorithm: str
    kid: str
    fingerprint: bytes = field(repr=False)
    key: RSAKey | ECKey | OKPKey = field(repr=False, compare=False)


def signing_key(text: Secret, *, kid: str = "", where: str) -> SigningKey:
    """The key in a setting: PEM, or a JWK as JSON.

    Args:
        text: the setting's value.
        kid: its id; empty: the one in its JWK.
        where: the setting, for errors.

    Raises:
        InvalidSetting: it is no private key, or of a kind that nobody should sign with. Nothing of it is quoted.
    """
    given = text.reveal().strip()
    try:
        members = json.loads(given) if given.startswith("{") else {}
        private = _of_jwk(members) if members else _of_pem(given)
        algorithm = _algorithm(private, members.get("alg"))
        public = public_key(private.public_key(), algorithm="EdDSA" if algorithm == "Ed25519" else algorithm)
    except (ValueError, TypeError, JoseError, InvalidSetting) as error:
        why = f": {error}" if isinstance(error, InvalidSetting) else ""
        raise InvalidSetting(
            f"{where} cannot be used{why.rstrip('.')}. Expected a private key without a password, as PEM or JWK: RSA "
            "of 2048 bits or more, P-256 or Ed25519; or file: and the path of such a file."
        ) from None
    named = kid or members.get("kid", "")
    if not isinstance(named, str) or len(named) > LONGEST_ID:
        raise InvalidSetting(f"The kid of {where} is no text of at most {LONGEST_ID} characters.")
    return SigningKey(algorithm=algorithm, kid=named, fingerprint=public.octets, key=_imported(private))


def client_assertion(key: SigningKey, *, client_id: str, audience: str, now: float, jti: str) -> str:
    """By which a client proves itself (RFC 7523 §3; RFC 7521 §5.2).

    Args:
        key: the one registered for this client.
        client_id: who we are at that server: issuer and subject.
        audience: the server's issuer identifier, as one text, never a list; its token endpoint where it has none.
        now: seconds since the epoch.
        jti: never used before.
    """
    return _signed(key, {"iss": client_id, "sub": client_id, "aud": audience}, now, jti)


def client_proof(key: SigningKey, *, client_id: str, audience: str, now: float, jti: str) -> Proof:
    """The same, as what a request carries (RFC 7523 §2.2)."""
    assertion = client_assertion(key, client_id=client_id, audience=audience, now=now, jti=jti)
    return Proof(
        parameters={
            "client_id": client_id,
            "client_assertion_type": CLIENT_ASSERTION,
            "client_assertion": assertion,
        }
    )


def grant_assertion(
    key: SigningKey, *, issuer: str, subject: str, audience: str, scope: str, now: float, jti: str
) -> Secret:
    """By which a token is asked for without a person (RFC 7523 §2.1, §3).

    Args:
        key: of the service account.
        issuer: the service account.
        subject: for whom it acts; empty: for itself, where the server takes no subject then.
        audience: whom it is for.
        scope: what is asked for, where the server reads it here; empty: not said.
        now: seconds since the epoch.
        jti: never used before.
    """
    claims = {"iss": issuer, "aud": audience}
    claims |= {"sub": subject} if subject else {}
    claims |= {"scope": scope} if scope else {}
    return Secret(_signed(key, claims, now, jti))


def _signed(key: SigningKey, claims: Mapping[str, str], now: float, jti: str) -> str:
    header = {"alg": key.algorithm, "typ": "JWT", **({"kid": key.kid} if key.kid else {})}
    times = {"iat": int(now), "exp": int(now) + LIFE, "jti": jti}
    signed = f"{_part(header)}.{_part({**claims, **times})}"
    # Not by jws.serialize_compact: it warns of the name EdDSA (RFC 9864), the only one that servers know by now.
    signature = JWSRegistry.algorithms[key.algorithm].sign(signed.encode(), key.key)
    return f"{signed}.{_coded(signature)}"


def _part(members: Mapping[str, object]) -> str:
    return _coded(json.dumps(members, separators=(",", ":")).encode())


def _coded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _of_pem(text: str) -> _Private:
    private = serialization.load_pem_private_key(text.replace("\\n", "\n").encode(), password=None)
    if not isinstance(private, _Private):
        raise TypeError("another kind of key")
    return private


def _of_jwk(members: Mapping[str, Any]) -> _Private:
    kind = _JWK.get(str(members.get("kty")))
    private = None if kind is None else kind.import_key(dict(members)).private_key
    if not isinstance(private, _Private):
        raise TypeError("another kind of key, or its public half alone")
    return private


def _algorithm(private: _Private, named: object) -> str:
    kty = {rsa.RSAPrivateKey: "RSA", ec.EllipticCurvePrivateKey: "EC"}
    known = next((_ALGORITHMS[name] for kind, name in kty.items() if isinstance(private, kind)), _ALGORITHMS["OKP"])
    if named is None:
        return known[0]
    if named not in known:
        raise ValueError("its alg does not fit it")
    return str(named)


def _imported(private: _Private) -> RSAKey | ECKey | OKPKey:
    match private:
        case rsa.RSAPrivateKey():
            return RSAKey.import_key(private)
        case ec.EllipticCurvePrivateKey():
            return ECKey.import_key(private)
        case _:
            return OKPKey.import_key(private)
