"""YAML to plain values, event by event: no tags, no merge keys, and aliases that cannot explode."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

DEEPEST = 200
"""Levels of nesting."""

LARGEST = 2_000_000
"""Values, with those that aliases repeat."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# YAML 1.2, core schema (§10.3.2): `yes` and `on` are words, `12:30` is no number, a date is text.
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,400}")
_HEX = re.compile(r"0(?:x[0-9a-fA-F]{1,64}|o[0-7]{1,64})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TEXT_TAG = "tag:yaml.org,2002:str"


class BadYaml(ValueError):
    """It cannot be read; the text says why, for people."""


def read(text: str) -> Any:
    """The one document in a text.

    Raises:
        BadYaml: it is no YAML, has a tag or a merge key, is nested too deep, or unfolds into too much.
    """
    try:
        return _Reading(yaml.parse(text, Loader=_LOADER)).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise BadYaml(f"{getattr(error, 'problem', None) or 'it is no YAML'}{where}") from None


class _Reading:
    """Builds values from events. What an alias repeats is shared, and counts as often as it is there."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._left = LARGEST

    def document(self) -> Any:
        """The first document's value."""
        found = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                found = self._value(next(self._events), 0)[0]
        return found

    def _value(self, event: Any, depth: int) -> tuple[Any, int]:
        """One value, and how many values it is made of."""
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event)
        if isinstance(event, yaml.ScalarEvent):
            made: tuple[Any, int] = _scalar(event), 1
            self._left -= 1
        else:
            if depth >= DEEPEST:
                raise BadYaml(f"it is nested deeper than {DEEPEST} levels")
            if event.tag is not None:
                raise BadYaml(f"it has a tag, {event.tag[:40]!r},{_line(event)}")
            if event.anchor is not None:
                self._anchors[event.anchor] = None  # it is not whole yet
            kind = self._mapping if isinstance(event, yaml.MappingStartEvent) else self._sequence
            made = kind(depth + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = made
        return made

    def _repeated(self, event: Any) -> tuple[Any, int]:
        found = self._anchors.get(event.anchor)
        if found is None:
            raise BadYaml(f"the alias *{event.anchor[:40]} stands for nothing that came before it")
        self._left -= found[1]
        if self._left < 0:
            raise BadYaml(f"its aliases unfold into more than {LARGEST} values")
        return found

    def _sequence(self, depth: int) -> tuple[list[Any], int]:
        values, size = [], 1
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            value, more = self._value(event, depth)
            values.append(value)
            size += more
        return values, size

    def _mapping(self, depth: int) -> tuple[dict[str, Any], int]:
        values: dict[str, Any] = {}
        size = 1
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise BadYaml(f"a key{_line(event)} is no text")
            key = event.value  # a key of JSON is text: 200, true and null as they are written
            if key == "<<" and event.implicit[0]:
                raise BadYaml(f"it has a merge key{_line(event)}, which YAML 1.2 has not")
            values[key], more = self._value(next(self._events), depth)
            size += more + 1
        return values, size


def _line(event: Any) -> str:
    return f" in line {event.start_mark.line + 1}"


def _scalar(event: Any) -> Any:
    text = event.value
    if event.tag is not None and event.tag not in {"!", _TEXT_TAG}:
        raise BadYaml(f"it has a tag, {event.tag[:40]!r},{_line(event)}")
    if event.tag is not None or not event.implicit[0]:
        return text
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    if _HEX.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text
