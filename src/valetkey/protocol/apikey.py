"""The text of an opaque token of ours: prefix, id, secret, checksum. No RFC; the form that secret scanners know."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from enum import StrEnum

ID = 22
"""Characters of the id: base64url of 16 bytes."""

SECRET = 43
"""Characters of the secret: base64url of 32 bytes."""

_CHECKSUM = 6
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Prefix(StrEnum):
    """What the text begins with, before a low line."""

    KEY = "vk"
    SESSION = "vks"
    TICKET = "vkt"
    RECONNECTION = "vkr"


# Fixed widths: the low line is a character of base64url, too, so that nothing can be split by it.
_FORM = re.compile(rf"(vk[str]?)_([A-Za-z0-9_-]{{{ID}}})_([A-Za-z0-9_-]{{{SECRET}}})_([0-9A-Za-z]{{{_CHECKSUM}}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """The parts of one.

    Attributes:
        id: public; finds the row.
        secret: as random as a key; only its keyed hash is kept.
    """

    prefix: Prefix
    id: str
    secret: str = field(repr=False)


def claims_to_be(text: str) -> Prefix | None:
    """Which kind of ours a text says it is by its beginning; None: no kind of ours."""
    prefix, mark, _ = text.partition("_")
    return next((each for each in Prefix if each.value == prefix), None) if mark else None


def write(key: ApiKey) -> str:
    """The text."""
    body = f"{key.prefix.value}_{key.id}_{key.secret}"
    return f"{body}_{_checksum(body)}"


def read(text: str) -> ApiKey | None:
    """Its parts; None where the form or the checksum is wrong: nobody is asked about a key that was mistyped."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    prefix, key_id, secret, given = found.groups()
    body = f"{prefix}_{key_id}_{secret}"
    # Not secret, and kept by nobody: it is made of the very text that it stands in.
    return ApiKey(prefix=Prefix(prefix), id=key_id, secret=secret) if given == _checksum(body) else None


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("ascii"))
    digits = []
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
