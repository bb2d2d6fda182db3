"""RFC 7517, 7518 §6, 8037: a key as its issuer published it, or as settings have it, made ready to verify with."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry

from valetkey.errors import InvalidSetting
from valetkey.protocol.foreign import shown
from valetkey.protocol.jws import LONGEST_ID
from valetkey.secret import Secret

ASYMMETRIC = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
"""What others may sign with: RFC 7518 §3.3-3.5, RFC 8037 §3.1 (Ed25519)."""

SYMMETRIC = frozenset({"HS256"})
"""What only we, and who holds our secret, sign with: RFC 7518 §3.2."""

SHORTEST_SECRET = 32
"""Bytes of an HS256 secret (RFC 7518 §3.2)."""

_RSA_BITS = range(2048, 8193)
_RSA_EXPONENTS = range(65_537, 2**32)  # FIPS 186-5 §5.4 from below; above, a check only costs more
_COORDINATE = 32  # bytes, of P-256 and of Ed25519
_OF_KTY = {"RSA": frozenset({"RS256", "PS256"}), "EC": frozenset({"ES256"}), "OKP": frozenset({"EdDSA"})}
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}
_SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_ALGORITHMS = {name: JWSRegistry.algorithms[name] for name in ASYMMETRIC | SYMMETRIC}

_PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class _Ready:
    """A public key as joserfc's algorithms ask for it, without its ledger of uses: that was judged when it was read."""

    raw: _PublicKey
    curve_key_size: int = 256

    def get_op_key(self, _operation: str) -> _PublicKey:
        return self.raw


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyingKey:
    """A key that was judged fit, parsed once and for all.

    Attributes:
        kid: its id; empty: it has none.
        algorithms: the only ones with which it verifies: those of its type and curve, of which its ``alg`` names one.
        octets: what tells two keys apart.
    """

    kid: str
    algorithms: frozenset[str]
    octets: bytes = field(repr=False)
    key: OctKey | _Ready = field(repr=False, compare=False)

    def verifies(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether the signature over the message is by this key (RFC 7515 §5.2); never with an algorithm not its own.

        By joserfc's algorithm itself: its way by tokens parses each token again, and costs as much as the check.
        """
        if algorithm not in self.algorithms:
            return False
        try:
            return _ALGORITHMS[algorithm].verify(message, signature, self.key)
        except (JoseError, ValueError):
            return False


def secret_key(secret: Secret | bytes, *, kid: str = "") -> VerifyingKey:
    """A key for HS256.

    Raises:
        InvalidSetting: the secret has under 32 bytes (RFC 7518 §3.2).
    """
    octets = secret.reveal().encode() if isinstance(secret, Secret) else secret
    if len(octets) < SHORTEST_SECRET:
        raise InvalidSetting(
            f"The secret that signs tokens has {len(octets)} bytes; HS256 needs at least {SHORTEST_SECRET} "
            "(RFC 7518 §3.2). Set a random one, such as 43 characters of base64url."
        )
    return VerifyingKey(
        kid=kid, algorithms=SYMMETRIC, octets=octets, key=OctKey.import_key({"kty": "oct", "k": _written(octets)})
    )


def public_key(key: _PublicKey, *, kid: str = "", algorithm: str = "") -> VerifyingKey:
    """A public key that is at hand.

    Args:
        key: RSA of 2048 to 8192 bits, P-256 or Ed25519.
        kid: its id; empty: it has none.
        algorithm: the one that it is for; empty: each that fits it.

    Raises:
        InvalidSetting: RSA of another size than 2048 to 8192 bits or an unfit exponent, another curve than P-256 and
            Ed25519, or an algorithm that does not fit the key.
    """
    try:
        return _made(key, kid=kid, algorithm=algorithm)
    except ValueError as error:
        raise InvalidSetting(f"A key for tokens cannot be used: {error}.") from None


def read_key(jwk: Mapping[str, Any]) -> VerifyingKey | None:
    """A public key out of a set (RFC 7517 §4); None: it is for something else than the signatures that we take.

    Raises:
        ValueError: it must not be used: it is secret, weak, damaged, or contradicts itself; the text says why.
    """
    kid = jwk.get("kid", "")
    if jwk.get("kty") == "oct" or not _SECRET_MEMBERS.isdisjoint(jwk):
        raise ValueError("it holds what its owner must keep secret")
    if not isinstance(kid, str) or len(kid) > LONGEST_ID:
        raise ValueError(f"its kid is no text of at most {LONGEST_ID} characters")
    if not _is_for_signatures(jwk):
        return None
    return _made(_read_public(jwk), kid=kid, algorithm=jwk.get("alg", ""))


def _is_for_signatures(jwk: Mapping[str, Any]) -> bool:
    """Whether it verifies signatures of an algorithm that we take (RFC 7517 §4.1-4.4)."""
    kty, operations = jwk.get("kty"), jwk.get("key_ops", ["verify"])
    if not isinstance(kty, str) or kty not in _OF_KTY or jwk.get("crv") != _CURVES.get(kty):
        return False
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return False
    return "alg" not in jwk or (isinstance(jwk["alg"], str) and jwk["alg"] in _OF_KTY[kty])


def _read_public(jwk: Mapping[str, Any]) -> _PublicKey:
    """Its numbers (RFC 7518 §6.2.1, §6.3.1; RFC 8037 §2)."""
    if jwk["kty"] == "OKP":
        return ed25519.Ed25519PublicKey.from_public_bytes(_read(jwk, "x", _COORDINATE))
    if jwk["kty"] == "EC":
        x, y = (int.from_bytes(_read(jwk, name, _COORDINATE), "big") for name in ("x", "y"))
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    e, n = (int.from_bytes(_read(jwk, name), "big") for name in ("e", "n"))
    _check_rsa(n.bit_length(), e)  # before anything is reckoned with them
    return rsa.RSAPublicNumbers(e, n).public_key()


def read_key_set(members: Mapping[str, Any], *, most: int) -> tuple[tuple[VerifyingKey, ...], tuple[str, ...]]:
    """The keys of a set (RFC 7517 §5) that may be used, and why others that claim to be such may not.

    Raises:
        ValueError: it is no set of keys, or has more than ``most``.
    """
    given = members.get("keys")
    if not isinstance(given, list):
        raise ValueError("it has no list of keys")  # noqa: TRY004  # every way to be unreadable is one error
    if len(given) > most:
        raise ValueError(f"it has more than {most} keys")
    keys: list[VerifyingKey] = []
    faults: list[str] = []
    for each in given:
        try:
            key = read_key(each) if isinstance(each, dict) else None
        except ValueError as error:
            faults.append(f"key {_named(each.get('kid'))} is not used: {error}")
            continue
        if key is not None and key not in keys:
            keys.append(key)
    ambiguous = {key.kid for key in keys if key.kid and sum(each.kid == key.kid for each in keys) > 1}
    faults += [f"key {_named(kid)} is not used: two different keys have that id" for kid in sorted(ambiguous)]
    return tuple(key for key in keys if key.kid not in ambiguous), tuple(faults)


def _made(key: _PublicKey, *, kid: str, algorithm: str) -> VerifyingKey:
    match key:
        case rsa.RSAPublicKey():
            _check_rsa(key.key_size, key.public_numbers().e)
            kty = "RSA"
        case ec.EllipticCurvePublicKey():
            if key.curve.name != ec.SECP256R1.name:
                raise ValueError("it is of another curve than P-256")
            kty = "EC"
        case _:
            kty = "OKP"
    if algorithm and algorithm not in _OF_KTY[kty]:
        raise ValueError(f"its algorithm {shown(algorithm)} does not fit it")
    return VerifyingKey(
        kid=kid,
        algorithms=frozenset({algorithm}) if algorithm else _OF_KTY[kty],
        octets=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key=_Ready(key),
    )


def _check_rsa(bits: int, exponent: int) -> None:
    if bits not in _RSA_BITS:
        raise ValueError(f"it is RSA of {bits} bits, where 2048 to 8192 are expected")
    if exponent not in _RSA_EXPONENTS or exponent % 2 == 0:
        raise ValueError("its RSA exponent is even, under 65537 or over 32 bits")


def _read(jwk: Mapping[str, Any], name: str, size: int | None = None) -> bytes:
    """A member in base64url (RFC 7515 §2), written in the one way that there is."""
    text = jwk.get(name)
    octets = b""
    if isinstance(text, str):
        try:
            octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            octets = b""
    if not octets or _written(octets) != text or len(octets) != (size or len(octets)):
        raise ValueError(f"its {name} cannot be read")
    return octets


def _written(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _named(kid: object) -> str:
    return repr(shown(kid)) if isinstance(kid, str) and kid else "without an id"


def fitting(keys: Sequence[VerifyingKey], *, algorithm: str, most: int) -> tuple[VerifyingKey, ...]:
    """Those that may have signed with that algorithm, at most so many."""
    return tuple([key for key in keys if algorithm in key.algorithms][:most])
