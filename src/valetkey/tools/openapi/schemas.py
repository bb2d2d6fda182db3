"""Schemas of a document as JSON Schema 2020-12 that stands alone: 3.0 is translated, references are gathered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from valetkey.tools.openapi.names import one_line
from valetkey.tools.openapi.spec import HOPS, Document, Unusable, target

Schema = dict[str, Any]

_LONGEST_TEXT = 1000
_MOST_LOOKS = 2000
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "contains", "not", "if", "then", "else", "propertyNames", "additionalProperties")
_MAPS = ("properties", "patternProperties", "dependentSchemas")
_TYPES = frozenset({"null", "boolean", "object", "array", "number", "string", "integer"})
_SIZES = (
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains"),
)
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_WORDS = ("format", "pattern", "contentEncoding", "contentMediaType")
_NAME = re.compile(r"[^A-Za-z0-9_.-]")


class Definitions:
    """What the operations of one document refer to, translated once and shared."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._names: dict[str, str] = {}
        self._references: dict[str, str] = {}
        self._made: dict[str, tuple[Any, frozenset[str]]] = {}
        self.members: dict[int, tuple[dict[str, Any], list[str], Any]] = {}  # by identity: the document keeps them

    def name_of(self, reference: str) -> str:
        """The key of a reference among ``$defs``."""
        name = self._names.get(reference)
        if name is None:
            base = _NAME.sub("_", reference.rpartition("/")[2])[:64] or "schema"
            name, number = base, 2
            while name in self._references:
                name, number = f"{base}_{number}", number + 1
            self._names[reference] = name
            self._references[name] = reference
        return name

    def gathered(self, named: Iterable[str]) -> dict[str, Any]:
        """The definitions of these keys, and of all that they refer to in turn.

        Raises:
            Unusable: one leads nowhere, or is no schema.
        """
        found: dict[str, Any] = {}
        waiting = sorted(named)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            if name not in self._made:
                reading = Schemas(self)
                schema = reading.translated(target(self.document, self._references[name]))
                self._made[name] = schema, frozenset(reading.named)
            found[name], more = self._made[name]
            waiting += sorted(more - found.keys())
        return found


class Schemas:
    """Translates the schemas of one operation; notes what they refer to.

    Args:
        definitions: of the document.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._document = definitions.document
        self._old = str(self._document.get("openapi", "")).startswith("3.0")
        self._left = _MOST_LOOKS
        self.named: set[str] = set()

    def translated(self, schema: Any) -> Any:
        """One schema, self-contained but for ``#/$defs/…`` of what is :attr:`named`.

        Raises:
            Unusable: it is no schema, or refers to nothing.
        """
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise Unusable("a schema is no object")
        reference = schema.get("$ref")
        if isinstance(reference, str):
            name = self._definitions.name_of(reference)
            self.named.add(name)
            named = {"$ref": f"#/$defs/{name}"}
            rest = {} if self._old else {key: value for key, value in schema.items() if key != "$ref"}
            return {**self._plain(rest), **named} if rest else named
        return self._plain(schema)

    def seen_through(self, schema: Any) -> Any:
        """The schema behind a reference, and behind an ``allOf`` or ``anyOf`` of one; untranslated.

        Raises:
            Unusable: it refers to nothing, or in a circle.
        """
        for _ in range(HOPS):
            if not isinstance(schema, Mapping):
                return schema
            if isinstance(schema.get("$ref"), str):
                schema = target(self._document, schema["$ref"])
                continue
            alone = schema.get("allOf")
            if isinstance(alone, list) and len(alone) == 1 and "properties" not in schema:
                schema = alone[0]
                continue
            return schema
        raise Unusable("references lead in a circle")

    def members(self, schema: Any, depth: int = 0) -> tuple[dict[str, Any], list[str], Any] | None:
        """The properties of an object, untranslated, those that are required, and what else it takes.

        None where it is no object whose properties are known: a union, an array, a number.

        Raises:
            Unusable: it refers to nothing, or in a circle.
        """
        known = self._definitions.members.get(id(schema))
        if known is not None:
            return known
        self._left -= 1
        if self._left < 0:
            raise Unusable("its schemas refer to each other too often")
        found = self.seen_through(schema)
        if not isinstance(found, Mapping) or depth > HOPS or any(found.get(key) for key in ("anyOf", "oneOf", "not")):
            return None
        kind = found.get("type")
        parts = found.get("allOf")
        is_object = kind == "object" or (kind is None and ("properties" in found or isinstance(parts, list)))
        if not is_object or any(key in found for key in ("if", "patternProperties", "propertyNames", "minProperties")):
            return None
        properties: dict[str, Any] = {}
        required: list[str] = []
        more: Any = found.get("additionalProperties")
        for part in parts if isinstance(parts, list) else ():
            inner = self.members(part, depth + 1)
            if inner is None:
                return None
            properties.update(inner[0])
            required += inner[1]
            more = inner[2] if more is None else more
        own = found.get("properties")
        properties.update(own if isinstance(own, Mapping) else {})
        required += _texts(found.get("required"))
        left_out = {name for name, each in properties.items() if self.hidden(each)}
        shown = {name: each for name, each in properties.items() if name not in left_out}
        made = shown, [name for name in dict.fromkeys(required) if name not in left_out], more
        self._definitions.members[id(schema)] = made
        return made

    def hidden(self, schema: Any) -> bool:
        """Whether a property is none that a client sends (``readOnly``)."""
        try:
            seen = self.seen_through(schema)
        except Unusable:
            return False
        return any(isinstance(each, Mapping) and each.get("readOnly") is True for each in (schema, seen))

    def _plain(self, schema: Mapping[str, Any]) -> Any:
        made = _assertions(schema)
        for key in _LISTS:
            if isinstance(schema.get(key), list) and schema[key]:
                made[key] = [self.translated(each) for each in schema[key]]
        for key in _SINGLE:
            if isinstance(schema.get(key), Mapping | bool):
                made[key] = self.translated(schema[key])
        for key in _MAPS:
            if isinstance(schema.get(key), Mapping):
                made[key] = {str(name): self.translated(each) for name, each in self._shown(schema[key]).items()}
        if required := _texts(schema.get("required")):
            left_out = {name for name, each in dict(schema.get("properties") or {}).items() if self.hidden(each)}
            made["required"] = [name for name in required if name not in left_out]
        return self._translated_from_3_0(made, schema) if self._old else made

    def _shown(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        return {name: each for name, each in properties.items() if not self.hidden(each)}

    def _translated_from_3_0(self, made: Schema, schema: Mapping[str, Any]) -> Schema:
        """``nullable`` and boolean ``exclusiveMinimum``, which JSON Schema has not (OpenAPI 3.0.3, "Schema Object")."""
        for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if schema.get(bound) is True and limit in made:
                made[bound] = made.pop(limit)
        if schema.get("nullable") is not True:
            return made
        if "enum" in made and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
        if "type" in made:
            kinds = _kinds(made["type"])
            made["type"] = kinds if "null" in kinds else [*kinds, "null"]
        elif any(key in made for key in ("allOf", "oneOf", "anyOf")):
            about: Schema = {key: made.pop(key) for key in ("description", "default", "deprecated") if key in made}
            return {**about, "anyOf": [made, {"type": "null"}]}
        return made


def _assertions(schema: Mapping[str, Any]) -> Schema:
    """What a schema says without other schemas."""
    made: Schema = {}
    kinds = _kinds(schema.get("type"))
    if kinds:
        made["type"] = kinds[0] if len(kinds) == 1 else kinds
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        made["enum"] = list(schema["enum"])
    for key in ("const", "default"):
        if key in schema:
            made[key] = schema[key]
    if description := one_line(schema.get("description"), _LONGEST_TEXT):
        made["description"] = description
    made.update({key: schema[key] for key in _WORDS if isinstance(schema.get(key), str)})
    made.update({key: schema[key] for key in _SIZES if _is_size(schema.get(key))})
    made.update({key: schema[key] for key in _NUMBERS if _is_number(schema.get(key))})
    made.update({key: True for key in ("uniqueItems", "deprecated") if schema.get(key) is True})
    return made


def _kinds(given: Any) -> list[str]:
    kinds = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    if "file" in kinds:
        kinds = ["string"]
    return [kind for kind in dict.fromkeys(kinds) if kind in _TYPES]


def _texts(given: Any) -> list[str]:
    return [each for each in given if isinstance(each, str)] if isinstance(given, list) else []


def _is_size(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= 0


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)
