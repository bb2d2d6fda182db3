"""Arguments to the parts of one HTTP request: path, query, headers, cookies; each value where it belongs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from urllib.parse import quote

from valetkey.errors import InvalidArguments
from valetkey.tools.openapi.bodies import body_of
from valetkey.tools.openapi.parameters import Parameter, Shape, sendable
from valetkey.tools.openapi.paths import Template, encoded

LONGEST_TARGET = 12_000
"""Characters of path and query; servers refuse longer ones."""

LONGEST_HEADERS = 32_768

_UNRESERVED = "-._~"
_PLAIN = re.compile(r"[A-Za-z0-9._~-]*")
# RFC 9110 §5.5: what is left of a header's value without control characters; Latin-1 is all that goes as it is.
_HEADER = re.compile(r"(?:[\x21-\x7e\xa0-\xff](?:[\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?)?")
_DELIMITERS = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}
_SCALARS = frozenset({str, int, float, bool})
_SHORT = frozenset({int, float, bool, type(None)})
_as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One request without its credential.

    Attributes:
        path: percent-encoded.
        query: names and values, percent-encoded.
        cookies: names and values, as they go out.
        content: the body.
    """

    path: str
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    content: bytes = field(default=b"", repr=False)

    @property
    def target(self) -> str:
        """Path and query."""
        query = "&".join(f"{name}={value}" for name, value in self.query)
        return f"{self.path}?{query}" if query else self.path

    @property
    def sent_headers(self) -> dict[str, str]:
        """The headers, with the cookies among them."""
        if not self.cookies:
            return dict(self.headers)
        return {**self.headers, "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies)}


def parts_of(  # one branch for each place
    tool: str, template: Template, shape: Shape, arguments: Mapping[str, Any]
) -> Parts:
    """Put arguments that fit the schema where they belong.

    Raises:
        InvalidArguments: a value cannot go where it has to; names the argument, never the value.
    """
    path: dict[str, str] = {}
    query: list[tuple[str, str]] = []
    headers: dict[str, str] = {}
    cookies: list[tuple[str, str]] = []
    for parameter in shape.parameters:
        if parameter.argument not in arguments:
            continue
        value = arguments[parameter.argument]
        _check_length(tool, parameter, value)
        if parameter.place == "path":
            path[parameter.wire] = _in_path(parameter, value)
        elif value is None and not parameter.json:
            continue  # nothing is given: no style has a way to write null
        elif parameter.place == "query":
            query += _in_query(parameter, value)
        elif parameter.place == "header":
            headers[parameter.wire] = _in_header(parameter, value)
        else:
            cookies += _in_cookie(parameter, value)
    content = b""
    if shape.body is not None:
        taken = {parameter.argument for parameter in shape.parameters}
        media, content = body_of(shape.body, {name: each for name, each in arguments.items() if name not in taken})
        headers.update({"Content-Type": media} if media else {})
    parts = Parts(
        path=template.filled(path), query=tuple(query), headers=headers, cookies=tuple(cookies), content=content
    )
    if len(parts.target) > LONGEST_TARGET:
        raise InvalidArguments(f"{tool}: path and query would be longer than {LONGEST_TARGET} characters.")
    if (headers or cookies) and sum(map(len, chain.from_iterable(parts.sent_headers.items()))) > LONGEST_HEADERS:
        raise InvalidArguments(f"{tool}: the headers would be longer than {LONGEST_HEADERS} characters.")
    return parts


def _check_length(tool: str, parameter: Parameter, value: Any) -> None:
    """Refuse what is surely too long before any work is done on it."""
    if type(value) in _SHORT:
        return
    in_target = parameter.place in {"path", "query"}
    what, longest = ("path and query", LONGEST_TARGET) if in_target else ("the headers", LONGEST_HEADERS)
    # Of what is nested, JSON's quotes and commas are not all sent.
    if len(value) > longest if isinstance(value, str) else len(_as_json(value)) > 4 * longest:
        raise InvalidArguments(
            f"{tool}: with {parameter.argument}, {what} would be longer than {longest} characters. Shorten it."
        )


def written(value: Any) -> str:
    """One value as text: JSON's spelling for true, false, null and numbers; what is nested as JSON."""
    if isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return _as_json(value)


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, safe=_UNRESERVED)


def _in_path(parameter: Parameter, value: Any) -> str:
    """Styles ``simple``, ``label`` and ``matrix`` (OpenAPI 3.1, "Style Values"; RFC 6570 §3.2)."""
    if value is None:
        raise InvalidArguments(f"{parameter.argument} goes into the path, and may not be null.")
    if parameter.json or (parameter.style == "simple" and type(value) in _SCALARS):
        return encoded(written(value), parameter.argument)

    def one(each: Any) -> str:
        return encoded(written(each), parameter.argument)

    name, style, explode = _quoted(parameter.wire), parameter.style, parameter.explode
    if isinstance(value, Mapping):
        pairs = [(one(key), one(each)) for key, each in value.items()]
        items = [f"{key}={each}" for key, each in pairs] if explode else [text for pair in pairs for text in pair]
    elif isinstance(value, list):
        items = [one(each) for each in value]
    else:
        items = [one(value)]
    if style == "label":
        return "." + ("." if explode else ",").join(items)
    if style == "matrix":
        if explode and not isinstance(value, Mapping):
            return "".join(f";{name}={item}" for item in items)
        return ";" + ";".join(items) if explode else f";{name}={','.join(items)}"
    return ",".join(items)


def _in_query(parameter: Parameter, value: Any) -> list[tuple[str, str]]:
    """Styles ``form``, ``spaceDelimited``, ``pipeDelimited`` and ``deepObject``."""
    if parameter.json or type(value) in _SCALARS:
        return [(_quoted(parameter.wire), _quoted(written(value)))]
    return styled(parameter.wire, value, style=parameter.style, explode=parameter.explode)


def styled(name: str, value: Any, *, style: str, explode: bool) -> list[tuple[str, str]]:
    """Pairs of a query, percent-encoded."""

    def one(each: Any) -> str:
        return _quoted(written(each))

    key = _quoted(name)
    if isinstance(value, Mapping):
        if style == "deepObject":
            return _deep(key, value)
        if explode and style == "form":
            return [(one(inner), one(each)) for inner, each in value.items()]
        flat = [one(text) for pair in value.items() for text in pair]
        return [(key, _DELIMITERS.get(style, ",").join(flat))]
    if isinstance(value, list):
        if style == "deepObject" or (explode and style == "form"):
            return [(key, one(each)) for each in value]
        return [(key, _DELIMITERS[style].join(one(each) for each in value))] if value else []
    return [(key, one(value))]


def _deep(key: str, value: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for inner, each in value.items():
        name = f"{key}%5B{_quoted(str(inner))}%5D"
        if isinstance(each, Mapping):
            pairs += _deep(name, each)
        else:
            many: Sequence[Any] = each if isinstance(each, list) else [each]
            pairs += [(name, _quoted(written(one))) for one in many]
    return pairs


def _in_header(parameter: Parameter, value: Any) -> str:
    """Style ``simple``; a header's value is not percent-encoded."""
    text = _simple(parameter, value)
    if not _HEADER.fullmatch(text):
        raise InvalidArguments(
            f"{parameter.argument} goes into a header, and may hold no line break, other control character, space at "
            f"an end, or character outside Latin-1."
        )
    return text


def _simple(parameter: Parameter, value: Any) -> str:
    if parameter.json:
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    if isinstance(value, Mapping):
        joined = "=" if parameter.explode else ","
        return ",".join(f"{name}{joined}{written(each)}" for name, each in value.items())
    return ",".join(written(each) for each in value) if isinstance(value, list) else written(value)


def _in_cookie(parameter: Parameter, value: Any) -> list[tuple[str, str]]:
    """Style ``form``; what a cookie may not hold is percent-encoded (RFC 6265 §4.1.1)."""
    if parameter.explode and not parameter.json and isinstance(value, Mapping):
        if not all(sendable("cookie", name) for name in value):
            raise InvalidArguments(f"{parameter.argument} holds a name that no cookie of yours may have.")
        pairs = [(str(name), written(each)) for name, each in value.items()]
    elif isinstance(value, Mapping) and not parameter.json:
        pairs = [(parameter.wire, ",".join(f"{name},{written(each)}" for name, each in value.items()))]
    elif isinstance(value, list) and not parameter.json:
        pairs = [(parameter.wire, ",".join(written(each) for each in value))]
    else:
        pairs = [(parameter.wire, written(value))]
    safe = "!#$&'()*+-./:<=>?@[]^_`{|}~"
    return [(quote(name, safe="!#$&'*+-.^_`|~"), quote(each, safe=safe)) for name, each in pairs]
