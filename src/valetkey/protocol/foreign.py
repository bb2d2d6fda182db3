"""What another party wrote: text made fit to show, and bodies that can be read in one way only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from valetkey.scrub import Scrubber
from valetkey.secret import MASK, Secret

SHOWN = 200
"""Characters of foreign text that are shown."""

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

_MEMBERS = 200
# ECMA-48 control sequences: CSI, OSC and the two-character ones.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])|\x9b[0-?]*[ -/]*[@-~]")
_LONGEST_WORD = 16
_BETWEEN = re.compile(r"[^A-Za-z]+")
_RUN = re.compile(r"[A-Za-z0-9_~+/=.-]{24,}")


def shown(text: str, *, secrets: Iterable[Secret] = ()) -> str:
    """Foreign text as one line that may be shown and logged, at most 200 characters.

    Control characters, direction marks and terminal sequences go. So do the secrets given, in the codings in
    which they may come back, and runs that look like a token: a provider may repeat what it was sent, or show
    what it was about to give.
    """
    text = _ANSI.sub("", text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    text = _RUN.sub(_opaque, Scrubber(secrets).text(text))
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _opaque(run: re.Match[str]) -> str:
    text = run.group()
    # What follows "https:" is no token; neither are words, which have no digits and an end.
    words = not any(char.isdigit() for char in text) and all(
        len(word) <= _LONGEST_WORD for word in _BETWEEN.split(text)
    )
    return text if words or text.startswith("//") else MASK


def media_type(content_type: str | None) -> str:
    """The type and subtype of a Content-Type header, lower case, without parameters (RFC 9110 §8.3.1)."""
    return (content_type or "").partition(";")[0].strip().lower()


def read_object(body: bytes, content_type: str | None) -> dict[str, Any]:
    """The members of an answer: form-encoded where the content type says so, JSON otherwise (RFC 8259).

    Raises:
        ValueError: not UTF-8, a byte order mark, no object, a name given twice at any depth, or anything
            behind it: two readers could read such a body differently.
    """
    text = body.decode()
    if media_type(content_type) == FORM:
        return _once(
            parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MEMBERS)
        )
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("no object")  # noqa: TRY004  # every way to be unreadable is one error
    return value


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is given twice")
    return members
