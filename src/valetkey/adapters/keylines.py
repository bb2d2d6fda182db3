"""A root key as text: as an operator spells it, and as one line of a key file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

SIZE = 32
"""Bytes of a root key."""

WRAPPED = "aws-kms:"
"""What a line's third column begins with where it holds ciphertext that AWS KMS made."""

_COLUMNS = 3
_DISTINCT = 16  # of 32 random bytes fewer than 16 differ once in 10^17 keys
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: the key's id, when it was made, and its bytes in base64url, as they are or wrapped by a KMS."""

    number: int
    id: str
    made: str
    body: str = field(repr=False)

    @property
    def wrapped(self) -> bool:
        """Whether its bytes are ciphertext."""
        return self.body.startswith(WRAPPED)

    @property
    def created_at(self) -> float:
        """When it was made, in seconds since the epoch; 0 where the line does not say."""
        try:
            return datetime.fromisoformat(self.made).timestamp()
        except ValueError:
            return 0.0

    def material(self) -> bytes | None:
        """The key; None where the line is damaged. The id is made of the bytes: a lost character is found here."""
        found = decode(self.body)
        return found if found is not None and key_id(found) == self.id else None

    def ciphertext(self) -> bytes | None:
        """What the KMS made; None where the line is damaged."""
        try:
            return base64.b64decode(self.body.removeprefix(WRAPPED), altchars=b"-_", validate=True) or None
        except (ValueError, binascii.Error):
            return None


def lines_of(text: str) -> Iterator[Line | int]:
    """The keys of a key file, and the numbers of those lines that are damaged; comments are left out."""
    for number, content in enumerate(text.splitlines(), start=1):
        if not content.strip() or content.startswith("#"):
            continue
        columns = content.split()
        if len(columns) == _COLUMNS and _ID.fullmatch(columns[0]):
            yield Line(number=number, id=columns[0], made=columns[1], body=columns[2])
        else:
            yield number


def line(material: bytes, *, now: float, ciphertext: bytes | None = None) -> str:
    """A key as one line without its end; with a ``ciphertext``, that stands for its bytes."""
    body = base64.urlsafe_b64encode(material if ciphertext is None else ciphertext).decode()
    made = datetime.fromtimestamp(int(now), UTC).isoformat()
    return f"{key_id(material)} {made} {'' if ciphertext is None else WRAPPED}{body}"


def decode(text: str) -> bytes | None:
    """32 bytes, spelled in hexadecimal, base64 or base64url; None: something else."""
    try:
        if len(text) == 2 * SIZE:
            material = bytes.fromhex(text)
        else:
            plain = text.rstrip("=").replace("+", "-").replace("/", "_")
            material = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    return material if len(material) == SIZE else None


def weakness(material: bytes) -> str:
    """Why it cannot be a random key; empty: nothing speaks against it."""
    if len(set(material)) < _DISTINCT:
        return "repeats itself: it is not random"
    if material.isascii() and material.decode("ascii").isprintable():
        return "is a text, not random bytes"
    return ""


def key_id(material: bytes) -> str:
    """The public name of a key, made of its bytes: the same wherever it is kept."""
    return hashlib.sha256(b"valetkey key id 1\0" + material).hexdigest()[:16]
