"""Which other paths of a document the values of one path could spell: ``/items/{id}`` and ``/items/all``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from valetkey.tools.openapi.paths import Template

_ANY = "{}"


class Nearby:
    """All paths of a document, by method and segments."""

    def __init__(self) -> None:
        self._roots: dict[tuple[str, int], dict[str, Any]] = {}

    def add(self, method: str, template: Template) -> None:
        """Take one path."""
        segments = _segments(template)
        node = self._roots.setdefault((method, len(segments)), {})
        for segment in segments:
            node = node.setdefault(segment, {})
        node.setdefault("", []).append(template)

    def special(self, method: str, template: Template) -> tuple[Template, ...]:
        """Those that have words where this one has parameters, and could be this one elsewhere."""
        segments = _segments(template)
        if _ANY not in segments:
            return ()
        return tuple(_walked(self._roots.get((method, len(segments)), {}), segments, is_special=False))


def _segments(template: Template) -> list[str]:
    parts = template.path.rstrip("/").split("/")[1:]
    return [_ANY if "{" in part else part.casefold() for part in parts]


def _walked(node: dict[str, Any], segments: list[str], *, is_special: bool) -> Iterator[Template]:
    if not segments:
        if is_special:
            yield from node.get("", ())
        return
    own, rest = segments[0], segments[1:]
    for segment, below in node.items() if own == _ANY else ((key, node[key]) for key in (own, _ANY) if key in node):
        yield from _walked(below, rest, is_special=is_special or (own == _ANY and segment != _ANY))
