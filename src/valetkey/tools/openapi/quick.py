"""Arguments that surely fit, judged by what was made of the schema once; all others are judged in full, and told."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Fits = Callable[[Any], bool]

_MOST, _LONGEST = 32, 16_384  # arguments, and characters of each: together far less than what is too large
_WIDEST = 2**63
_DEEPEST = 8
_TOLD = frozenset({"title", "description", "default", "example", "examples", "format", "deprecated"})
_JUDGED = frozenset({"type", "anyOf", "enum", "$ref", "minLength", "maxLength"})
_BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}
_TYPES: Mapping[str, Fits] = {
    "string": lambda value: type(value) is str and len(value) <= _LONGEST and value.isascii(),
    "integer": lambda value: type(value) is int and -_WIDEST < value < _WIDEST,
    "number": lambda value: (
        (type(value) is int and -_WIDEST < value < _WIDEST) or (type(value) is float and math.isfinite(value))
    ),
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
}


class Quick:
    """Made of the schema of an operation's arguments.

    Args:
        schema: of an object; references lead to its own ``$defs``.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        plain = schema.keys() <= _TOLD | {"type", "properties", "required", "additionalProperties", "$defs"}
        properties = schema.get("properties", {}) if plain and schema.get("type") == "object" else {}
        made = ((name, _fits(each, schema.get("$defs", {}), 0)) for name, each in properties.items())
        self._fits = {name: fits for name, fits in made if fits is not None}
        self._required = tuple(schema.get("required", ()))
        self._known = plain and schema.get("type") == "object"

    def sure(self, arguments: Mapping[str, object]) -> bool:
        """Whether arguments fit beyond doubt: all that are required, only known ones, texts and numbers of its kind."""
        if not self._known or type(arguments) is not dict or len(arguments) > _MOST:
            return False
        for name in self._required:
            if name not in arguments:
                return False
        known = self._fits
        for name, value in arguments.items():
            fits = known.get(name)
            if fits is None or not fits(value):
                return False
        return True


def _fits(schema: Any, definitions: Mapping[str, Any], depth: int) -> Fits | None:
    """What is true of values that fit; None where only the whole judge can tell."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST or not schema.keys() <= _TOLD | _JUDGED | _BOUNDS.keys():
        return None
    conditions = list(_conditions(schema, definitions, depth))
    found = [each for each in conditions if each is not None]
    if len(found) < len(conditions) or not found:
        return None
    if len(found) == 1:
        return found[0]
    return lambda value: all(fits(value) for fits in found)


def _conditions(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> Iterator[Fits | None]:
    if "$ref" in schema:
        yield _fits(definitions.get(schema["$ref"][8:]), definitions, depth + 1)
    if "type" in schema:
        kinds = schema["type"]
        yield _any([_TYPES.get(kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)])
    if "anyOf" in schema:
        yield _any([_fits(part, definitions, depth + 1) for part in schema["anyOf"]])
    if "enum" in schema:
        texts = frozenset(each for each in schema["enum"] if isinstance(each, str))
        yield lambda value: type(value) is str and value in texts
    for key, holds in _BOUNDS.items():
        if key in schema:
            yield _bound(schema[key], holds)
    least, most = schema.get("minLength", 0), schema.get("maxLength", _LONGEST)
    if least or most < _LONGEST:
        yield lambda value: type(value) is not str or least <= len(value) <= most


def _any(choices: list[Fits | None]) -> Fits | None:
    """One of them; those that only the whole judge can tell are none."""
    found = [each for each in choices if each is not None]
    if len(found) < 2:  # noqa: PLR2004  # no choice
        return found[0] if found else None
    return lambda value: any(fits(value) for fits in found)


def _bound(limit: Any, holds: Callable[[Any, Any], bool]) -> Fits:
    return lambda value: type(value) not in {int, float} or holds(value, limit)
