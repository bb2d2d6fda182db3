"""A canary: look for secrets where none may be, in every coding in which they may come back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

_ALIGNMENTS = 3  # base64 codes three octets at a time: what stands before a secret shifts it


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A secret was found. ``which`` counts the given secrets from 0; the secret itself does not print."""

    place: str
    form: str
    which: int
    secret: str = field(repr=False)


def forms(secret: str) -> dict[str, tuple[bytes, ...]]:
    """What a secret looks like in each coding, as octets."""
    raw = secret.encode()
    percent = "".join(f"%{octet:02x}" for octet in raw)
    units = list(_units(secret))
    escaped = ["".join(f"\\u{unit:{digits}}" for unit in units).encode() for digits in ("04x", "04X")]
    return {
        "raw": (raw,),
        "base64": tuple(dict.fromkeys(_base64(raw))),
        "URL-encoded": tuple({quote(secret, safe="").encode(), percent.encode(), percent.upper().encode()}),
        "JSON-escaped": (json.dumps(secret)[1:-1].encode(), *escaped),
        "hexadecimal": (raw.hex().encode(), raw.hex().upper().encode()),
    }


def find(places: Mapping[str, str | bytes], secrets: Iterable[str]) -> list[Sighting]:
    """Every place in which a secret is, with the first coding that shows it; none is good.

    Args:
        places: what is searched, by the name under which a sighting tells of it.
        secrets: each of at least 8 characters: a shorter one is in many texts by chance.

    Raises:
        ValueError: a secret is too short to be looked for.
    """
    found = []
    coded = [(secret, forms(_long_enough(secret))) for secret in secrets]
    for place, text in places.items():
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        for which, (secret, by_form) in enumerate(coded):
            form = next((name for name, looks in by_form.items() if any(look in data for look in looks)), None)
            if form is not None:
                found.append(Sighting(place=place, form=form, which=which, secret=secret))
    return found


def _long_enough(secret: str) -> str:
    if len(secret) < 8:  # noqa: PLR2004  # said in find's docstring
        raise ValueError("A secret of fewer than 8 characters cannot be looked for: it is in many texts by chance.")
    return secret


def _base64(raw: bytes) -> Iterator[bytes]:
    """The part of each alignment that does not depend on what stands before and after."""
    for before in range(_ALIGNMENTS):
        coded = base64.b64encode(bytes(before) + raw).rstrip(b"=")
        first = -(-before * 8 // 6)
        last = (before + len(raw)) * 8 // 6
        yield coded[first:last]
        yield coded[first:last].translate(bytes.maketrans(b"+/", b"-_"))


def _units(text: str) -> Iterator[int]:
    """UTF-16 code units, as JSON escapes them (RFC 8259 §7)."""
    data = text.encode("utf-16-be", "surrogatepass")
    return (int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
