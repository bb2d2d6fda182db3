"""A text too long for one message: cut, or in parts that overlap, and marked either way."""

from __future__ import annotations

from valetkey.settings.bedrock import ChatConfig

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
