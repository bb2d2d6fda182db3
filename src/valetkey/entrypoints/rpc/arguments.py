"""The arguments of a call over HTTP: a JSON object in the body, or the query."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from valetkey.errors import InvalidArguments

MOST_PARAMETERS = 200

DEEPEST = 64
"""Arrays and objects within each other."""

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}(?:[eE][+-]?[0-9]{1,2})?")
_JSON = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_LONE = re.compile("[\ud800-\udfff]")
_DROPPED = frozenset({"_mode"})  # which of several clients to ask: there is one


class UnsupportedType(InvalidArguments):
    """The body is of a type that we do not read (RFC 9110 §15.5.16)."""


def from_body(body: bytes, content_type: str) -> dict[str, Any]:
    """The arguments by name, from the body of a POST; none from an empty one.

    Raises:
        UnsupportedType: it is not said to be JSON.
        InvalidArguments: it is no JSON (RFC 8259), or no object.
    """
    if not body:
        return {}
    kind, _, parameters = content_type.partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", parameters, re.IGNORECASE)
    if not _JSON.fullmatch(kind.strip().lower()) or (charset and charset[1].lower() not in {"utf-8", "utf8"}):
        raise UnsupportedType("Send the arguments as JSON in UTF-8, with Content-Type: application/json")
    value = _read(body)
    if not isinstance(value, dict):
        raise InvalidArguments("Send a JSON object: the arguments by name.")
    return value


def from_query(query: bytes) -> dict[str, Any]:
    """The arguments by name, from the query of a GET: numbers become numbers, ``{...}`` and ``[...]`` are read as JSON.

    Raises:
        InvalidArguments: it cannot be read, or names one twice.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS
        )
    except ValueError:  # its text may quote the query
        raise InvalidArguments("The query cannot be read. Send name=value, percent-encoded, UTF-8.") from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise InvalidArguments("The query names an argument twice. Send each once.")
    return {name: _value(text) for name, text in pairs if name not in _DROPPED}


def _value(text: str) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    if (text[:1], text[-1:]) in {("{", "}"), ("[", "]")}:
        return _read(text.encode())
    return text


def _read(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InvalidArguments("The arguments are no valid JSON.") from None
    if text.count("[") + text.count("{") > DEEPEST or _HALF.search(text):
        _check(value)
    return value


def _check(value: Any) -> None:
    """Refuse what few programs take: half a character (RFC 8259 §8.2), or what is too deep (§9)."""
    level: list[Any] = [[value]]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for each in level:
            for member in (*each, *each.values()) if isinstance(each, dict) else each:
                if isinstance(member, dict | list):
                    below.append(member)
                elif isinstance(member, str) and _LONE.search(member):
                    raise InvalidArguments("The arguments hold half a character: a lone surrogate. Send whole ones.")
        level = below
    if level:
        raise InvalidArguments(f"The arguments are nested too deep. Send at most {DEEPEST} levels.")


def _refuse(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")
