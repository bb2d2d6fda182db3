"""A text too long for one message: cut, or in parts that overlap, and marked either way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from valetkey.settings.bedrock import ChatConfig

OF_FRAME = 262_144
"""Octets that the results in one frame have together: clients take frames of 1 MiB, some of them no larger ones."""

LEAST = 1024
"""What each text may have in any case, however many share the room."""

MOST_PARTS = 4
"""Parts of one text that a model is given: more of them are longer than what models take."""

_ENDS = {
    "simple": (),
    "preserve_context": ("\n\n", "\n", ". ", " "),
    "semantic": ("\n\n", "\n# ", "\n"),
}
"""Where a part may end, by strategy, the best first; none: anywhere."""


def sized(text: str, config: ChatConfig) -> str:
    """The text as a message may hold it: at most ``max_message_size`` characters, else cut or in parts."""
    if len(text) <= config.max_message_size:
        return text
    if not config.enable_message_chunking:
        return _cut(text, config.max_message_size)
    size = min(config.chunk_size, config.max_message_size)
    parts = _parts(text, size, min(config.chunk_overlap, size // 2), _ENDS.get(config.chunking_strategy, ()))
    if len(parts) == 1:
        return text
    shown = [f"[Part {number} of {len(parts)}]\n{part}" for number, part in enumerate(parts[:MOST_PARTS], 1)]
    if len(parts) > MOST_PARTS:
        shown.append(f"[Cut: parts {MOST_PARTS + 1} to {len(parts)} are left out. Ask for less at once.]")
    return "\n".join(shown)


def octets(value: object) -> int:
    """How long a value is in a frame."""
    return len(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace"))


def fitted(values: Sequence[Any], most: int = OF_FRAME) -> list[Any]:
    """The values, as many octets of a frame together as they may have: the longest ones are cut texts."""
    sizes = [octets(value) for value in values]
    share = _share(sizes, most)
    return [
        value if size <= share else _begun(value if isinstance(value, str) else _written(value), share, octets)
        for value, size in zip(values, sizes, strict=True)
    ]


def rationed(texts: Sequence[str], most: int) -> list[str]:
    """The texts, as many characters together as they may have: the longest ones are cut."""
    share = _share([len(text) for text in texts], most)
    return [text if len(text) <= share else _begun(text, share, len) for text in texts]


def _share(sizes: Sequence[int], most: int) -> int:
    """The most that each may have, so that all of them fit; where all are small, more than any has."""
    left = most
    for number, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - number)
        if size > share:
            return max(share, LEAST)
        left -= size
    return max(*sizes, LEAST) if sizes else LEAST


def _begun(text: str, most: int, length: Callable[[str], int]) -> str:
    """The beginning of a text, and how much of it is left out."""
    begun = text[: most * len(text) // max(length(text), 1)]
    while length(begun) > most:
        begun = begun[: len(begun) * 9 // 10]
    return f"{begun}\n[Cut: {len(text) - len(begun)} of {len(text)} characters are left out. Ask for less at once.]"


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _cut(text: str, size: int) -> str:
    return f"{text[:size]}\n[Cut: these are the first {size} of {len(text)} characters. Ask for less at once.]"


def _parts(text: str, size: int, overlap: int, ends: tuple[str, ...]) -> list[str]:
    parts, at = [], 0
    while at + size < len(text):
        end = _end(text, at, size, ends)
        parts.append(text[at:end])
        at = end - overlap
    return [*parts, text[at:]]


def _end(text: str, at: int, size: int, ends: tuple[str, ...]) -> int:
    """Where a part ends that begins there: in its last quarter, so that each one moves on."""
    for mark in ends:
        found = text.rfind(mark, at + size - size // 4, at + size)
        if found >= 0:
            return found + len(mark)
    return at + size
