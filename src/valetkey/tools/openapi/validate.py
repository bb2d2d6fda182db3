"""Arguments against a JSON Schema (2020-12): strict, and what is told never repeats a value."""

from __future__ import annotations

import difflib
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, core_schema

from valetkey.errors import InvalidArguments

_LARGEST = 1_048_576  # characters of all arguments, about as JSON
_DEEPEST = 64  # levels of nesting
_DEEPEST_SCHEMA = 200  # schemas within schemas, for those that refer to themselves without end
_STEPS = 100_000  # looks at a value, a name or a pattern: some tenths of a second, while the loop stands still
_MOST = 8  # problems told at once
_MOST_SHOWN = 12
_LARGEST_INTEGER = 1024  # bits

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    # 1.0 is an integer (JSON Schema 2020-12 §4.2.3)
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    ),
}


def check(tool: str, arguments: Mapping[str, object], schema: Mapping[str, Any]) -> None:
    """Judge a model's arguments.

    Args:
        tool: its name, for the error.
        arguments: what the model wrote.
        schema: of an object; references lead to its own ``$defs``.

    Raises:
        InvalidArguments: some do not fit, are missing, unknown, too large, nested too deep, or take too long to judge;
            names each with what was expected, and no value.
    """
    if not isinstance(arguments, Mapping):
        raise InvalidArguments(f"{tool}: the arguments must be an object, not {_kind(arguments)}.")
    _check_plain(tool, arguments)
    try:
        problems = dict.fromkeys(itertools.islice(_Judge(schema).problems(arguments, schema, "", 0), _MOST))
    except (_TooMuchError, RecursionError):
        raise InvalidArguments(f"{tool}: the arguments take too long to judge. Give fewer, less nested.") from None
    if problems:
        known = [*schema.get("properties", {}), *(["names of your own"] if schema.get("additionalProperties") else [])]
        raise InvalidArguments(f"{tool}: {' '.join(problems)} It takes {', '.join(known) or 'nothing'}.")


def _check_plain(tool: str, arguments: Mapping[str, object]) -> None:
    """What JSON can be made of, and nothing else; neither too much of it nor too deep."""
    left = _LARGEST
    level: list[Any] = [arguments]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                if not all(isinstance(name, str) for name in value):
                    raise InvalidArguments(f"{tool}: the names in an object are texts.")
                below += value
                below += value.values()
                left -= len(value)
            elif isinstance(value, list):
                below += value
                left -= len(value)
            else:
                if wrong := _is_no_json(value):
                    raise InvalidArguments(f"{tool}: {wrong}")
                left -= len(value) if isinstance(value, str) else 1
            if left < 0:
                raise InvalidArguments(f"{tool}: the arguments are larger than {_LARGEST} characters.")
        if not below:
            return
        level = below
    raise InvalidArguments(f"{tool}: the arguments are nested deeper than {_DEEPEST} levels.")


def _is_no_json(value: object) -> str:
    """Why a value is none of JSON's; empty where it is one."""
    if isinstance(value, str):
        is_whole = value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)
        return "" if is_whole else "a text holds half a character (a lone surrogate). Leave it out."
    if isinstance(value, int):
        return "" if value.bit_length() <= _LARGEST_INTEGER else f"a number has more than {_LARGEST_INTEGER} bits."
    if isinstance(value, float):
        return "" if math.isfinite(value) else "NaN and Infinity are no numbers of JSON."
    return "" if value is None else f"a {type(value).__name__} is no value of JSON."


class _TooMuchError(Exception):
    """The steps are used up."""


class _Judge:
    """Judges each value by each schema once, however often they meet, and tells only of what does not fit."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._definitions = root.get("$defs", {})
        self._left = _STEPS
        self._known: dict[tuple[int, int], bool] = {}  # by identity: values and schemas outlive the judge
        self._enums: dict[int, frozenset[Any]] = {}
        self._silent = False  # whether only it matters that something is wrong
        self._ends = 0  # how often a schema that refers to itself without end was left

    def problems(self, value: Any, schema: Any, place: str, depth: int) -> Iterator[str]:
        """One sentence for each thing that does not fit."""
        if self._fits(value, schema, depth):
            return iter(())
        return iter(("",)) if self._silent else self._told(value, schema, place, depth)

    def _fits(self, value: Any, schema: Any, depth: int) -> bool:
        if schema is True or not schema:
            return schema is not False
        pair = id(value), id(schema)
        known = self._known.get(pair)
        if known is None:
            before, ends, self._silent = self._silent, self._ends, True
            try:
                known = next(self._told(value, schema, "", depth), None) is None
            finally:
                self._silent = before
            if ends == self._ends:
                self._known[pair] = known
        return known

    def _spend(self, steps: int = 1) -> None:
        self._left -= steps
        if self._left < 0:
            raise _TooMuchError

    def _told(self, value: Any, schema: Any, place: str, depth: int) -> Iterator[str]:  # noqa: C901  # one per keyword
        self._spend()
        if schema is False:
            yield f"{_named(place)} may not be given."
            return
        if depth > _DEEPEST_SCHEMA:
            self._ends += 1
            yield f"{_named(place)} cannot be judged: its schema refers to itself without end."
            return
        reference = schema.get("$ref")
        if reference is not None:
            yield from self.problems(value, self._definitions.get(reference[8:], True), place, depth + 1)
        kinds = schema.get("type")
        if kinds is not None:
            listed = [kinds] if isinstance(kinds, str) else kinds
            if not any(_TYPES[kind](value) for kind in listed):
                yield f"{_named(place)} must be {_or(listed)}, not {_kind(value)}."
                return
        if len(schema) == 1 and kinds is not None:
            return  # most say their type, and no more
        yield from self._choices(value, schema, place)
        if isinstance(value, str):
            yield from _text(value, schema, place)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield from _number(value, schema, place)
        elif isinstance(value, list):
            yield from self._array(value, schema, place, depth)
        elif isinstance(value, Mapping):
            yield from self._object(value, schema, place, depth)
        yield from self._combined(value, schema, place, depth)

    def _choices(self, value: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
        if "enum" in schema:
            listed = schema["enum"]
            if id(listed) not in self._enums:
                self._enums[id(listed)] = frozenset(_key(each) for each in listed)
            if self._key(value) not in self._enums[id(listed)]:
                shown = ", ".join(_short(each) for each in listed[:_MOST_SHOWN])
                yield f"{_named(place)} must be one of {shown}{', …' if len(listed) > _MOST_SHOWN else ''}."
        if "const" in schema and self._key(value) != _key(schema["const"]):
            yield f"{_named(place)} must be {_short(schema['const'])}."

    def _key(self, value: Any) -> Any:
        return _key(value, self._spend)

    def _combined(self, value: Any, schema: Mapping[str, Any], place: str, depth: int) -> Iterator[str]:
        for part in schema.get("allOf", ()):
            yield from self.problems(value, part, place, depth + 1)
        for key in ("anyOf", "oneOf"):
            parts = schema.get(key)
            if not parts:
                continue
            fitting = sum(self._fits(value, part, depth + 1) for part in parts)
            if fitting == 0:
                yield "" if self._silent else self._no_choice(value, parts, place, depth)
            elif fitting > 1 and key == "oneOf":
                yield f"{_named(place)} fits {fitting} of the choices, and must fit one only."
        if "not" in schema and self._fits(value, schema["not"], depth + 1):
            yield f"{_named(place)} is what it may not be."
        if "if" in schema:
            then = "then" if self._fits(value, schema["if"], depth + 1) else "else"
            yield from self.problems(value, schema.get(then, True), place, depth + 1)

    def _no_choice(self, value: Any, parts: Sequence[Any], place: str, depth: int) -> str:
        """What is wrong with the choice that is meant, where its type tells which that is."""
        seen = [self._definitions.get(part["$ref"][8:], part) if _refers(part) else part for part in parts]
        kinds = [_kinds(part) for part in seen]
        meant = [part for part, listed in zip(seen, kinds, strict=True) if any(_TYPES[kind](value) for kind in listed)]
        told = [part for part in meant if self._is_meant(value, part)] if len(meant) > 1 else meant
        if len(told) == 1:
            return next(self.problems(value, told[0], place, depth + 1), f"{_named(place)} fits none of its choices.")
        if not meant and all(kinds):
            return f"{_named(place)} must be {_or(dict.fromkeys(itertools.chain(*kinds)))}, not {_kind(value)}."
        return f"{_named(place)} fits none of its {len(parts)} choices."

    def _is_meant(self, value: Any, schema: Mapping[str, Any]) -> bool:
        """Whether an object says by a constant that it is one of these (OpenAPI 3.1, "Discriminator Object")."""
        properties = schema.get("properties", {})
        constants = {name: each for name, each in properties.items() if isinstance(each, Mapping) and "const" in each}
        return bool(constants) and all(
            self._key(value.get(name)) == _key(each["const"]) for name, each in constants.items()
        )

    def _array(self, value: list[Any], schema: Mapping[str, Any], place: str, depth: int) -> Iterator[str]:
        yield from _size(len(value), schema, place, "Items", "items")
        first = schema.get("prefixItems", ())
        for index, (each, one) in enumerate(zip(value, first, strict=False)):
            yield from self.problems(each, one, f"{place}[{index}]", depth + 1)
        if "items" in schema:
            for index, each in enumerate(value[len(first) :], len(first)):
                yield from self.problems(each, schema["items"], f"{place}[{index}]", depth + 1)
        if schema.get("uniqueItems") and len({self._key(each) for each in value}) != len(value):
            yield f"{_named(place)} holds the same item twice."
        if "contains" in schema:
            found = sum(self._fits(each, schema["contains"], depth + 1) for each in value)
            if not schema.get("minContains", 1) <= found <= schema.get("maxContains", found):
                yield f"{_named(place)} holds {found} of the items that it must hold."

    def _object(self, value: Mapping[str, Any], schema: Mapping[str, Any], place: str, depth: int) -> Iterator[str]:
        properties = schema.get("properties", {})
        yield from _size(len(value), schema, place, "Properties", "properties")
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{_named(_joined(place, name))} is missing."
        patterns = schema.get("patternProperties", {})
        for name, each in value.items():
            inner = _joined(place, name)
            if "propertyNames" in schema and not self._fits(name, schema["propertyNames"], depth + 1):
                yield f"{_named(inner)} is no name that is taken there."
            self._spend(1 + len(patterns))
            matching = [one for pattern, one in patterns.items() if _matches(pattern, name)]
            if name in properties:
                matching.append(properties[name])
            more = schema.get("additionalProperties", True)
            if not matching and more is False:
                yield "" if self._silent else _unknown(name, inner, properties)
                continue
            for one in matching or [more]:
                yield from self.problems(each, one, inner, depth + 1)
        for name, needed in schema.get("dependentSchemas", {}).items():
            if name in value:
                yield from self.problems(value, needed, place, depth + 1)


def _unknown(name: str, place: str, properties: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:80], list(properties))
    guess = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"{_named(place)} is not a parameter.{guess}"


def _text(value: str, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    yield from _size(len(value), schema, place, "Length", "characters")
    pattern = schema.get("pattern")
    if pattern is not None and not _matches(pattern, value):
        yield f"{_named(place)} must match the pattern {pattern[:80]}."


_BOUNDS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "minimum": (operator.ge, "at least"),
    "maximum": (operator.le, "at most"),
    "exclusiveMinimum": (operator.gt, "more than"),
    "exclusiveMaximum": (operator.lt, "less than"),
}


def _number(value: float, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    for key, (fits, said) in _BOUNDS.items():
        if key in schema and not fits(value, schema[key]):
            yield f"{_named(place)} must be {said} {schema[key]}."
    step = schema.get("multipleOf")
    if step is not None and step > 0 and not _is_multiple(value, step):
        yield f"{_named(place)} must be a multiple of {step}."


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    try:
        parts = value / step
    except OverflowError:
        return True
    return math.isclose(parts, round(parts), rel_tol=1e-9, abs_tol=1e-9) if math.isfinite(parts) else False


def _size(size: int, schema: Mapping[str, Any], place: str, key: str, what: str) -> Iterator[str]:
    least, most = schema.get(f"min{key}"), schema.get(f"max{key}")
    if least is not None and size < least:
        yield f"{_named(place)} must have at least {least} {what}."
    if most is not None and size > most:
        yield f"{_named(place)} must have at most {most} {what}."


def _matches(pattern: str, text: str) -> bool:
    """Whether it does, as far as the pattern can be read here; the API judges again."""
    compiled = _compiled(pattern)
    return compiled is None or bool(compiled.isinstance_python(text))


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> SchemaValidator | None:
    """By an engine whose time is linear in the text: the text is a model's, and the pattern a stranger's."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return None


def _key(value: Any, spend: Callable[[], None] | None = None) -> Any:
    """Equal where two values are equal as JSON: true is not 1, 1.0 is."""
    if spend is not None:
        spend()
    if isinstance(value, bool) or value is None:
        return (type(value).__name__, value)
    if isinstance(value, Mapping):
        return ("object", frozenset((name, _key(each, spend)) for name, each in value.items()))
    if isinstance(value, list):
        return ("array", tuple(_key(each, spend) for each in value))
    if isinstance(value, int | float):
        # As text: the hash of a number is known to whoever chooses it, and many that share one take for ever.
        whole = isinstance(value, int) or value.is_integer()
        return ("number", str(int(value)) if whole else repr(value))
    return value


def _kind(value: object) -> str:
    return next((kind for kind in ("integer", *_TYPES) if _TYPES[kind](value)), type(value).__name__)


def _or(kinds: Iterable[str]) -> str:
    return " or ".join(kinds)


def _refers(schema: Any) -> bool:
    return isinstance(schema, Mapping) and "$ref" in schema


def _kinds(schema: Any) -> list[str]:
    kinds = schema.get("type", []) if isinstance(schema, Mapping) else []
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _named(place: str) -> str:
    return (place if len(place) <= 80 else place[:79] + "…") or "The value"  # noqa: PLR2004  # a line that is read


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"  # noqa: PLR2004  # as above
