"""Parameters and body of an operation as one flat schema, and where each argument goes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from valetkey.model.headers import belongs_to_the_request
from valetkey.tools.openapi.names import argument_name, one_line
from valetkey.tools.openapi.schemas import Definitions, Schemas
from valetkey.tools.openapi.spec import Unusable, resolve

Place = Literal["path", "query", "header", "cookie"]

PLACES: tuple[Place, ...] = ("path", "query", "header", "cookie")
_STYLES: Mapping[str, tuple[str, ...]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")  # RFC 9110 §5.6.2

KEY_HEADERS = frozenset(
    {"authorization", "x-api-key", "api-key", "apikey", "x-auth-token", "x-access-token", "x-amz-security-token"}
)
"""Headers that hold credentials by their name alone."""

# Besides what belongs to the request itself: what the answer is to be read as.
_FORBIDDEN_HEADERS = frozenset({"accept", "accept-charset"})
_FORBIDDEN_COOKIES = ("__host-", "__secure-", "valetkey")

WHOLE = "body"
"""The argument of a body that is no object of known properties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter.

    Attributes:
        wire: its name in the request.
        json: whether its value goes as JSON (``content: application/json``).
    """

    argument: str
    place: Place
    wire: str
    style: str
    explode: bool
    required: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What the request carries.

    Attributes:
        media: its media type.
        fields: argument to name in the body; empty where the argument ``body`` is all of it.
        required: those of the fields that a body needs, where there is one; by name in the body.
        always: whether there has to be one.
        free: whether arguments that are no parameters go into it.
        closed: names, in lower case, that none of those may have, nor ``whole``: credentials fill them.
        files: names in the body of what is a file.
        encodings: how each is written, as the document says it, by name in the body.
    """

    media: str
    whole: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    always: bool = False
    free: bool = False
    closed: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    encodings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How an operation is called.

    Attributes:
        schema: of all arguments; an object.
        closed: (place, name in lower case) of what credentials fill: no argument may, by whatever name.
    """

    parameters: tuple[Parameter, ...]
    body: Body | None
    schema: Mapping[str, Any]
    closed: frozenset[tuple[str, str]] = frozenset()


def sendable(place: str, name: str) -> bool:
    """Whether a model may fill a parameter of that place and name at all."""
    if place == "header":
        lower = name.lower()
        return (
            _TOKEN.fullmatch(name) is not None
            and lower not in _FORBIDDEN_HEADERS | KEY_HEADERS
            and not belongs_to_the_request(name)
        )
    if place == "cookie":
        return _TOKEN.fullmatch(name) is not None and not name.lower().startswith(_FORBIDDEN_COOKIES)
    return bool(name)


def shape_of(
    definitions: Definitions,
    shared: Sequence[Any],
    operation: Mapping[str, Any],
    *,
    template: Collection[str],
    reserved: Collection[tuple[str, str]],
) -> Shape:
    """Read an operation.

    Args:
        definitions: of its document.
        shared: the parameters of its path item.
        operation: the Operation Object.
        template: the names in the path's braces.
        reserved: (place, name in lower case) of what credentials fill.

    Raises:
        Unusable: it cannot be called; the text says why.
    """
    document = definitions.document
    building = _Building(Schemas(definitions))
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    own = operation.get("parameters")
    for each in [*shared, *(own if isinstance(own, list) else ())]:
        parameter = resolve(document, each)
        name, place = parameter.get("name"), parameter.get("in")
        if isinstance(name, str) and place in PLACES:
            # The operation's own goes before its path's; a header is the same in any case.
            found[place, name.lower() if place == "header" else name] = parameter
    for name in template:
        found.setdefault(("path", name), {"schema": {"type": "string"}})
    for place in PLACES:
        for (its, name), parameter in found.items():
            if its != place or (place == "path" and name not in template):
                continue
            if place == "path" or (sendable(place, name) and (place, name.lower()) not in reserved):
                building.add(place, str(parameter.get("name", name)), parameter)
    if operation.get("requestBody") is not None:
        building.add_body(resolve(document, operation["requestBody"]), closed={name for _, name in reserved})
    return building.shape(definitions, closed=frozenset(reserved))


class _Building:
    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._parameters: list[Parameter] = []
        self._body: Body | None = None
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []

    def shape(self, definitions: Definitions, *, closed: frozenset[tuple[str, str]]) -> Shape:
        schema: dict[str, Any] = {"type": "object", "properties": self._properties}
        if self._required:
            schema["required"] = self._required
        schema["additionalProperties"] = self._more
        if self._schemas.named:
            schema["$defs"] = definitions.gathered(self._schemas.named)
        return Shape(parameters=tuple(self._parameters), body=self._body, schema=schema, closed=closed)

    _more: Any = False

    def add(self, place: Place, name: str, parameter: Mapping[str, Any]) -> None:
        """A parameter that a model fills."""
        content = parameter.get("content")
        as_json = isinstance(content, Mapping) and bool(content) and "schema" not in parameter
        media = next(iter(content.values()), {}) if as_json and isinstance(content, Mapping) else parameter
        schema = media.get("schema", {}) if isinstance(media, Mapping) else {}
        styles = _STYLES[place]
        style = parameter.get("style", styles[0])
        if style not in styles:
            raise Unusable(f"the {place} parameter {one_line(name, 40)!r} has a style that is none of {place}'s")
        explode = parameter.get("explode")
        required = place == "path" or parameter.get("required") is True
        argument = self._take(name, place, schema, parameter.get("description"), required=required)
        self._parameters.append(
            Parameter(
                argument=argument,
                place=place,
                wire=name,
                style=style,
                explode=explode if isinstance(explode, bool) else style == "form",
                required=required,
                json=as_json,
            )
        )

    def _take(self, name: str, place: str, schema: Any, description: Any = None, *, required: bool) -> str:
        argument = argument_name(name, place, self._properties)
        translated = self._schemas.translated(schema)
        if isinstance(translated, bool):
            translated = {} if translated else {"not": {}}
        said = one_line(description, 1000)
        if said:
            translated = {**translated, "description": said}
        self._properties[argument] = translated
        if required:
            self._required.append(argument)
        return argument

    def add_body(self, body: Mapping[str, Any], *, closed: Collection[str]) -> None:
        """The request body: its properties one by one, or all of it as one argument."""
        content = body.get("content")
        if not isinstance(content, Mapping) or not content:
            return
        media = _preferred([str(each) for each in content])
        about = content[media] if isinstance(content[media], Mapping) else {}
        schema = about.get("schema", {})
        required = body.get("required") is True
        kind = kind_of(media)
        members = None if kind in {"text", "binary"} else self._schemas.members(schema)
        if members is None or (not members[0] and not _more(members[2])):
            self._add_whole(media, schema, body.get("description"), required=required, closed=closed)
            return
        properties, needed, more = members
        if kind in {"form", "multipart"}:
            properties = {name: each for name, each in properties.items() if name.lower() not in closed}
        files = frozenset(name for name, each in properties.items() if kind == "multipart" and self._is_file(each))
        encodings = about.get("encoding")
        fields: dict[str, str] = {}
        for name, each in properties.items():
            argument = self._take(name, "body", each, required=required and name in needed)
            if name in files:
                self._properties[argument] = _file_schema(self._properties[argument])
            fields[argument] = name
        if _more(more):
            self._more = self._schemas.translated(more)
        self._body = Body(
            media=media,
            fields=fields,
            required=tuple(name for name in needed if name in properties),
            always=required,
            free=_more(more),
            closed=frozenset(closed),
            files=files,
            encodings=encodings if isinstance(encodings, Mapping) else {},
        )

    def _add_whole(self, media: str, schema: Any, description: Any, *, required: bool, closed: Collection[str]) -> None:
        if kind_of(media) == "binary":
            schema = _file_schema({"type": "string"})
        elif kind_of(media) == "text":
            schema = schema or {"type": "string"}
        argument = self._take(WHOLE, "request", schema, description, required=required)
        # A JSON body may have such names of its own, where its schema knows any.
        known = kind_of(media) == "json" and self._knows_names(schema)
        self._body = Body(media=media, whole=argument, always=required, closed=frozenset(() if known else closed))

    def _knows_names(self, schema: Any) -> bool:
        seen = self._schemas.seen_through(schema)
        return isinstance(seen, Mapping) and any(key in seen for key in ("properties", "allOf", "anyOf", "oneOf"))

    def _is_file(self, schema: Any, depth: int = 0) -> bool:
        seen = self._schemas.seen_through(schema)
        if not isinstance(seen, Mapping) or depth > 2:  # noqa: PLR2004  # a file, or none, or several: no deeper
            return False
        inner = [seen.get("items"), *(seen.get("anyOf") or ())]
        if any(self._is_file(each, depth + 1) for each in inner if isinstance(each, Mapping)):
            return True
        return seen.get("format") in {"binary", "byte"} or any(
            key in seen for key in ("contentEncoding", "contentMediaType")
        )


def kind_of(media: str) -> Literal["json", "form", "multipart", "text", "binary"]:
    """How a body of that media type is written."""
    bare = media.partition(";")[0].strip().lower()
    if bare == "application/json" or bare.endswith("+json") or bare in {"*/*", "application/*"}:
        return "json"
    if bare == "application/x-www-form-urlencoded":
        return "form"
    if bare.startswith("multipart/"):
        return "multipart"
    return "text" if bare.startswith("text/") or bare.endswith("xml") else "binary"


def _preferred(medias: Sequence[str]) -> str:
    order = ("json", "form", "multipart", "text", "binary")
    found = min(medias, key=lambda media: (order.index(kind_of(media)), medias.index(media)))
    if any(not " " <= char <= "~" for char in found):
        raise Unusable("its body has a media type that is none")
    return found


def _more(additional: Any) -> bool:
    return additional is True or isinstance(additional, Mapping)


_FILE = "A file: its content as text, or as data:<media type>;base64,<data>."


def _file_schema(schema: Any) -> dict[str, Any]:
    """A file's schema for a model, which has no octets to give."""
    if not isinstance(schema, dict):
        return {"type": "string", "description": _FILE}
    said = schema.get("description")
    text = f"{said.rstrip('. ')}. {_FILE}" if isinstance(said, str) and said else _FILE
    return {**schema, "description": text}
