"""A tool's arguments out of a sentence, as far as its words give them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from valetkey.adapters.standin.words import meaning, words

_QUOTED = re.compile(r"""["“]([^"“”]+)["”]|`([^`]+)`|(?<!\w)'([^']+)'(?!\w)""")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
_DEEPEST = 8

_NOTHING = object()


def fill(text: str, tool: Mapping[str, Any]) -> dict[str, Any]:
    """What the sentence gives for the tool's parameters: a word of an enum, a number, a quoted string.

    A required string that nothing else gives is the rest of the sentence; a flag is true when it is named. What is not
    said is left out: the tool has its defaults, or says what it misses.
    """
    schema = tool.get("parameters") or {}
    required = schema.get("required") or ()
    sentence = _Sentence(text, tool)
    filled = {}
    for name, described in (schema.get("properties") or {}).items():
        value = sentence.value(name, described, schema)
        if value is _NOTHING and name in required and _is_text(described, schema):
            value = sentence.rest
        if value is not _NOTHING:
            filled[name] = value
    return filled


class _Sentence:
    """What is left of a sentence; a number and a quoted string are given once."""

    def __init__(self, text: str, tool: Mapping[str, Any]) -> None:
        self._quoted = [next(filter(None, match.groups())) for match in _QUOTED.finditer(text)]
        bare = _QUOTED.sub(" ", text)
        self._numbers = _NUMBER.findall(bare)
        self._words = set(words(text))
        self.rest = _rest(bare, tool) or text.strip()

    def value(self, name: str, described: Mapping[str, Any], root: Mapping[str, Any]) -> object:
        for schema in _alternatives(described, root):
            found = self._one(name, schema, root)
            if found is not _NOTHING:
                return found
        return _NOTHING

    def _one(self, name: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> object:
        allowed = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
        if allowed:
            return self._named(allowed)
        match schema.get("type"):
            case "integer" | "number" as kind:
                return self._number(whole=kind == "integer")
            case "string":
                return self._quoted.pop(0) if self._quoted else _NOTHING
            case "boolean":
                return True if meaning(name) and meaning(name) <= self._words else _NOTHING
            case "array":
                return self._all(name, schema.get("items") or {}, root)
            case _:
                return _NOTHING

    def _named(self, allowed: list[Any]) -> object:
        """The longest of the allowed values whose words are all there."""
        for value in sorted(allowed, key=lambda each: -len(str(each))):
            said = set(words(str(value)))
            if said and said <= self._words:
                return value
        return _NOTHING

    def _number(self, *, whole: bool) -> object:
        for number in self._numbers:
            if not whole or "." not in number:
                self._numbers.remove(number)
                return int(number) if "." not in number else float(number)
        return _NOTHING

    def _all(self, name: str, items: Mapping[str, Any], root: Mapping[str, Any]) -> object:
        found: list[object] = []
        for schema in _alternatives(items, root):
            allowed = schema.get("enum") or []
            found += [value for value in allowed if set(words(str(value))) <= self._words]
            if not allowed:
                while (value := self._one(name, schema, root)) is not _NOTHING and schema.get("type") != "boolean":
                    found.append(value)
        return found or _NOTHING


def _alternatives(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> list[Mapping[str, Any]]:
    """A schema without its references and choices; ``null`` is left out."""
    if depth > _DEEPEST or not isinstance(schema, Mapping):
        return []
    pointer = schema.get("$ref")
    if isinstance(pointer, str) and pointer.startswith("#/"):
        target: Any = root
        for part in pointer[2:].split("/"):
            target = target.get(part, {}) if isinstance(target, Mapping) else {}
        return _alternatives(target, root, depth + 1)
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if choices:
        return [each for choice in choices for each in _alternatives(choice, root, depth + 1)]
    return [] if schema.get("type") == "null" else [schema]


def _is_text(schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    return any(
        each.get("type") == "string" and not each.get("enum") and "const" not in each
        for each in _alternatives(schema, root)
    )


def _rest(text: str, tool: Mapping[str, Any]) -> str:
    """The sentence from its first to its last word that is not about the tool itself."""
    about = meaning(f"{tool['name']} {tool.get('description') or ''}")
    parts = text.split()
    while parts and meaning(parts[0]) <= about:
        parts.pop(0)
    while parts and meaning(parts[-1]) <= about:
        parts.pop()
    return " ".join(parts).strip(" .,;:!?")
