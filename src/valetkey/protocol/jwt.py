"""RFC 7519, 7515, 8725, 9068: a signed string in, claims out; and claims in, a signed string out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.jwk import ECKey, OctKey

from valetkey.errors import InvalidSetting, Unauthenticated
from valetkey.protocol import jws as compact
from valetkey.protocol.foreign import shown
from valetkey.protocol.jwk import ASYMMETRIC, SYMMETRIC, VerifyingKey, secret_key
from valetkey.protocol.jws import LONGEST_ID, Header, members_of, payload_of, refuse, split
from valetkey.secret import Secret

LONGEST = compact.LONGEST
"""Characters of a token that are read."""

LEEWAY = 30.0
"""Seconds by which clocks may differ."""

MAX_LIFETIME = 31 * 86_400.0
"""Seconds for which a token may be made out."""

EXPIRED = "The token has expired. Please fetch a new one"

LONGEST_SUBJECT = 256

_ANOTHER_AUDIENCE = "it is meant for another audience"
_LATEST = 2**42  # seconds; beyond it, a claim is no time, and reckoning with it may overflow
_ACCESS_TYPES = frozenset({"", "jwt", "at+jwt"})
# What ID tokens (OpenID Connect Core §2, FAPI) and security events (RFC 8417) have, and access tokens have not;
# and what binds a token to a key that a bearer need not prove (RFC 7800, 8705, 9449).
_OF_OTHERS = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events", "cnf"})


class Parsed(NamedTuple):
    """A token that can be read in one way only. Nothing in it may be relied on before `judge`.

    A tuple, as `Claims` is one: they are made with every request, and a frozen dataclass takes three times as long.
    """

    header: Header
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @property
    def fingerprint(self) -> str:
        """As `fingerprint` has it."""
        return hashlib.sha256(self.signed).hexdigest()

    def __repr__(self) -> str:
        return f"Parsed(header={self.header})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a token must be.

    Attributes:
        algorithms: those that it may be signed with; HS256 stands alone.
        issuer: its ``iss``, to the letter.
        audiences: one of these must be in its ``aud``.
        leeway: seconds by which clocks may differ.
        max_lifetime: seconds from ``iat`` (or now) to ``exp``.
        token_type: the header ``typ``, such as ``at+jwt``; empty: that of any access token, or none.
        require: claims that must be there beside ``iss``, ``sub``, ``aud`` and ``exp``.
        bound: whether it may be bound to a key: the caller sees to the proof (``protocol/dpop.py``).

    Raises:
        InvalidSetting: no algorithm, one that we do not take, HS256 with another one, no issuer, or no audience.
    """

    algorithms: frozenset[str]
    issuer: str
    audiences: frozenset[str]
    leeway: float = LEEWAY
    max_lifetime: float = MAX_LIFETIME
    token_type: str = ""
    require: frozenset[str] = frozenset()
    bound: bool = False

    def __post_init__(self) -> None:
        check_algorithms(self.algorithms, of=self.issuer)
        if not self.issuer or not self.audiences or "" in self.audiences:
            raise InvalidSetting("Tokens are judged by their issuer and audience: neither may be empty.")


class Claims(NamedTuple):
    """What a token says whose signature is good and whose time has not run out.

    Attributes:
        expires_at, issued_at: seconds since the epoch, as the token has them; the leeway is not in them.
        id: its ``jti``; empty: it has none.
        members: all of them.
    """

    issuer: str
    subject: str
    audience: tuple[str, ...]
    expires_at: float
    issued_at: float | None
    id: str
    members: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Claims(issuer={self.issuer!r}, subject={self.subject!r})"


def check_algorithms(algorithms: frozenset[str], *, of: str) -> None:
    """Refuse what no tokens should be signed with (RFC 8725 §3.1).

    Raises:
        InvalidSetting: none at all, one that we do not take, or HS256 with another one.
    """
    known = ASYMMETRIC | SYMMETRIC
    if not algorithms or not algorithms <= known or (algorithms & SYMMETRIC and algorithms & ASYMMETRIC):
        raise InvalidSetting(
            f"The algorithms for tokens of {shown(of)} cannot be {shown(', '.join(sorted(algorithms)) or 'none')}. "
            f"Name some of {', '.join(sorted(ASYMMETRIC))}, or HS256 alone."
        )


def parse(token: str) -> Parsed:
    """Take a token apart (RFC 7515 §7.1), strictly; nothing is verified yet.

    Raises:
        Unauthenticated: it can be read in two ways or none.
    """
    header, payload, signed, signature = split(token)
    return Parsed(header, members_of(payload), signed, signature)


def claimed_issuer(token: str) -> str:
    """The ``iss`` of a token whose claims can be read, whatever else is wrong with it; empty: it cannot be told."""
    try:
        issuer = members_of(payload_of(token)).get("iss")
    except Unauthenticated:
        return ""
    return issuer if isinstance(issuer, str) else ""


def judge(parsed: Parsed, keys: Sequence[VerifyingKey], *, rules: Rules, now: float) -> Claims:
    """The claims of a token that one of these keys signed and that is what the rules say.

    Args:
        parsed: the token.
        keys: a few, each of that issuer.
        rules: of that issuer.
        now: seconds since the epoch.

    Raises:
        Unauthenticated: it is not; the text says why and quotes nothing of the token but its algorithm.
    """
    header = parsed.header
    if header.algorithm not in rules.algorithms:
        raise Unauthenticated(f"Invalid algorithm: {shown(header.algorithm)}")
    if header.type != rules.token_type if rules.token_type else header.type not in _ACCESS_TYPES:
        refuse("its typ is not that of an access token")
    for key in keys:
        if key.verifies(header.algorithm, parsed.signed, parsed.signature):
            break
    else:
        refuse("its signature is not by a key of its issuer")
    return _judged(parsed.claims, rules, now)


def verify(token: str, *keys: VerifyingKey, rules: Rules, now: float) -> Claims:
    """`parse` and `judge` in one.

    Raises:
        Unauthenticated: as they do.
    """
    return judge(parse(token), keys, rules=rules, now=now)


def sign(
    claims: Mapping[str, Any],
    key: ec.EllipticCurvePrivateKey | Secret | bytes,
    *,
    alg: str,
    kid: str = "",
    typ: str = "JWT",
) -> str:
    """A signed token in compact form.

    Args:
        claims: what it says.
        key: of P-256 for ES256; a secret of at least 32 bytes for HS256.
        alg: ``ES256`` or ``HS256``.
        kid: the key's id; empty: none is named.
        typ: what the header calls it.

    Raises:
        InvalidSetting: the secret is too short, or key and algorithm do not fit.
        ValueError: a claim cannot be written as JSON.
    """
    header = {"alg": alg, "typ": typ, **({"kid": kid} if kid else {})}
    payload = json.dumps(claims, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1) and alg == "ES256":
        return jws.serialize_compact(header, payload, ECKey.import_key(key), algorithms=[alg])
    if isinstance(key, Secret | bytes) and alg == "HS256":
        made = secret_key(key).key
        if isinstance(made, OctKey):
            return jws.serialize_compact(header, payload, made, algorithms=[alg])
    raise InvalidSetting(f"Tokens cannot be signed with {shown(alg)} by a key of that kind. Use ES256 or HS256.")


def fingerprint(text: str) -> str:
    """The SHA-256 by which a token of somebody else is stopped, hexadecimal.

    Of a JWT without its signature: from one ES256 signature anybody makes a second good one.
    """
    signed, dot, _ = text.rpartition(".")
    named = signed if dot and "." in signed else text
    return hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()


def _judged(claims: Mapping[str, Any], rules: Rules, now: float) -> Claims:
    if claims.get("iss") != rules.issuer:
        refuse("it is not by the issuer that was expected")
    audience = _audience(claims.get("aud"), rules)
    if not claims.keys().isdisjoint(_OF_OTHERS - {"cnf"} if rules.bound else _OF_OTHERS):
        refuse("it is no access token: its claims are those of an ID token, an event, or one that is bound to a key")
    issued_at, expires_at = _check_times(claims, rules, now)
    subject, token_id = claims.get("sub"), claims.get("jti", "")
    if not fit_subject(subject):
        refuse(f"its sub is no text of 1 to {LONGEST_SUBJECT} printable characters")
    if not isinstance(token_id, str) or len(token_id) > LONGEST_ID or not token_id.isprintable():
        refuse("its jti is none")
    if rules.require and not rules.require <= claims.keys():
        refuse(f"it lacks one of {', '.join(sorted(rules.require))}")
    return Claims(rules.issuer, subject, audience, expires_at, issued_at, token_id, claims)


def _audience(told: object, rules: Rules) -> tuple[str, ...]:
    audience = tuple(told) if isinstance(told, list) else (told,)
    for each in audience:
        if not isinstance(each, str):
            refuse(_ANOTHER_AUDIENCE)
    if rules.audiences.isdisjoint(audience):
        refuse(_ANOTHER_AUDIENCE)
    return audience


def _check_times(claims: Mapping[str, Any], rules: Rules, now: float) -> tuple[float | None, float]:
    expires_at, issued_at, starts_at = _time(claims, "exp"), _time(claims, "iat"), _time(claims, "nbf")
    if expires_at is None:
        refuse("it has no exp")
    if now >= expires_at + rules.leeway:
        raise Unauthenticated(EXPIRED)
    if max(issued_at or now, starts_at or now) > now + rules.leeway:
        refuse("it is not valid yet. Check the clocks of both sides")
    if expires_at - (now if issued_at is None else issued_at) > rules.max_lifetime:
        refuse(f"it is made out for longer than {rules.max_lifetime / 86_400:g} days")
    return issued_at, expires_at


def fit_subject(subject: object) -> TypeGuard[str]:
    """Whether that can name a user: 1 to 256 printable characters, no space at either end."""
    return (
        isinstance(subject, str)
        and 0 < len(subject) <= LONGEST_SUBJECT
        and subject.isprintable()
        and subject.strip() == subject
    )


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 §2); None: it is not there."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        refuse(f"its {name} is no time in seconds since the epoch")
    return float(value)
