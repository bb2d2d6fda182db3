"""RFC 7515: a JWS in its compact form, read in one way only or not at all."""

from __future__ import annotations

import binascii
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from valetkey.errors import Unauthenticated

LONGEST = 16_384
"""Characters of a token that are read."""

LONGEST_ID = 256
"""Characters of a key's id."""

_SHORT_HEADER = 2048
_HEADERS = 512
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_PADDING = (b"", b"", b"==", b"=")
# With what 8 and 16 bits end: the last 4 and 2 bits of their last character are zero.
_LAST = (b"", b"", b"AQgw", b"AEIMQUYcgkosw048")
_NOT_BASE64URL = "it is not written in base64url as it should be"
# We know no extension that a header could make critical, take no unencoded payload, unpack nothing and decrypt nothing.
# Where a header tells of keys (jwk, jku, x5c, x5u), nobody listens: keys are the issuer's.
_REFUSED = frozenset({"crit", "b64", "zip", "enc"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A JOSE header, read strictly; not yet to be relied on.

    Attributes:
        kid: the id of the key; None: it names none.
        type: ``typ`` in lower case, without ``application/`` (RFC 7515 §4.1.9); empty: it names none.
    """

    algorithm: str
    kid: str | None
    type: str


def split(token: str) -> tuple[Header, bytes, bytes, bytes]:
    """Header, payload as it is written, what is signed, and the signature.

    Raises:
        Unauthenticated: it can be read in two ways or none, or asks for what we do not do.
    """
    head, payload, signature = _parts(token)
    header = _header(head) if len(head) <= _SHORT_HEADER else _read_header(head)
    return header, payload, head + b"." + payload, octets_of(signature)


def payload_of(token: str) -> bytes:
    """The payload as it is written, whatever else is wrong with the token.

    Raises:
        Unauthenticated: it has not three parts in that alphabet.
    """
    return _parts(token)[1]


def _parts(token: str) -> list[bytes]:
    """Its three parts (RFC 7515 §7.1), in no other alphabet than that of URLs as far as both differ."""
    if len(token) > LONGEST:
        refuse(f"it has more than {LONGEST} characters")
    octets = token.encode("ascii") if token.isascii() else b""
    parts = octets.split(b".")
    if len(parts) != 3:  # noqa: PLR2004  # header, payload, signature
        refuse("it is no signed JSON Web Token in its compact form")
    if b"=" in octets or b"+" in octets or b"/" in octets:
        refuse(_NOT_BASE64URL)
    return parts


def _read_header(part: bytes) -> Header:
    members = members_of(part)
    if not _REFUSED.isdisjoint(members):
        refuse("its header asks for what is not done here")
    algorithm, kid, kind = members.get("alg"), members.get("kid"), members.get("typ", "")
    if not isinstance(algorithm, str) or not algorithm:
        raise Unauthenticated("Invalid algorithm: none is named")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= LONGEST_ID and kid.isprintable()):
        refuse(f"its kid is no text of 1 to {LONGEST_ID} printable characters")
    if not isinstance(kind, str):
        refuse("its typ is no text")
    return Header(algorithm=algorithm, kid=kid, type=kind.lower().removeprefix("application/"))


_header = lru_cache(maxsize=_HEADERS)(_read_header)  # an issuer's tokens have the same few headers


def octets_of(part: bytes) -> bytes:
    """Base64url without padding, noise or unused bits (RFC 7515 §2, RFC 4648 §3.5): there is one way to write it.

    The alphabet of URLs was checked for the whole token: `split`.

    Raises:
        Unauthenticated: it is written in another way.
    """
    over = len(part) & 3
    if over and (over == 1 or part[-1] not in _LAST[over]):
        refuse(_NOT_BASE64URL)
    if b"-" in part or b"_" in part:
        part = part.translate(_TO_STANDARD)
    try:
        return binascii.a2b_base64(part + _PADDING[over], strict_mode=True)
    except ValueError:
        refuse(_NOT_BASE64URL)


def members_of(part: bytes) -> dict[str, Any]:
    """The members of a part: a JSON object in UTF-8, each name given once at every depth, finite numbers.

    Raises:
        Unauthenticated: it is none.
    """
    octets = octets_of(part)
    try:
        text = octets.decode()
        value = _read(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a character (a lone surrogate) has no UTF-8
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        refuse("a part of it is no JSON object that can be read in one way only")
    return value


def _read(text: str) -> Any:
    if text[:1] == "{":
        value, end = _DECODER.raw_decode(text)
        if end == len(text):
            return value
    return _DECODER.decode(text)  # with space around it, or something else


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is given twice")
    return members


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("no finite number")
    return value


def _no_number(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_number)


def refuse(why: str) -> NoReturn:
    """Say why a token is not accepted; nothing of it is quoted.

    Raises:
        Unauthenticated: always.
    """
    raise Unauthenticated(f"The token is not accepted: {why}. Ask for a new one.")
