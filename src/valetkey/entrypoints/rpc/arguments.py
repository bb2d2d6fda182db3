"""The arguments of a call over HTTP: a JSON object or a msgpack map in the body, or the query."""

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
_MSGPACK = frozenset({"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"})
_MODE = "_mode"


class UnsupportedType(InvalidArguments):
    """The body is of a type that we do not read (RFC 9110 §15.5.16)."""


def from_body(body: bytes, content_type: str) -> dict[str, Any]:
    """The arguments by name, from the body of a POST; none from an empty one.

    Raises:
        UnsupportedType: it is not said to be JSON or msgpack.
        InvalidArguments: it is no JSON (RFC 8259) or msgpack, or no object.
    """
    if not body:
        return {}
    if content_type == "application/json":
        return _named(_read(body))
    if is_msgpack(content_type):
        return _named(_unpacked(body))
    kind, _, parameters = content_type.partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", parameters, re.IGNORECASE)
    if not _JSON.fullmatch(kind.strip().lower()) or (charset and charset[1].lower() not in {"utf-8", "utf8"}):
        raise UnsupportedType("Send the arguments as JSON in UTF-8, with Content-Type: application/json")
    return _named(_read(body))


def _named(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InvalidArguments("Send a JSON object: the arguments by name.")
    return value


def is_msgpack(content_type: str) -> bool:
    """Whether a body of that type is msgpack."""
    return content_type.partition(";")[0].strip().lower() in _MSGPACK


def _unpacked(body: bytes) -> Any:
    try:
        import msgpack
    except ImportError:
        raise UnsupportedType("This server reads no msgpack. Send JSON.") from None
    try:
        value = msgpack.unpackb(body, strict_map_key=False)
    except Exception:  # noqa: BLE001 - of whatever kind
        raise InvalidArguments("The arguments are no valid msgpack.") from None
    _check(value)
    return value


def check_keys(value: Any) -> None:
    """Let the keys of all maps be texts, as clients' libraries read them.

    Raises:
        InvalidArguments: there are others.
    """
    level: list[Any] = [value]
    while level:
        each = level.pop()
        if isinstance(each, dict):
            if not all(isinstance(key, str) for key in each):
                raise InvalidArguments("The keys of maps have to be texts: programs with services read no others.")
            level += each.values()
        elif isinstance(each, list):
            level += each


def mode_of(query: bytes) -> str | None:
    """Which of several services of one name is asked: ``_mode`` of the query; None: it does not say."""
    if b"_mode=" not in query:
        return None
    return next((text for name, text in _pairs(query) if name == _MODE), None)


def from_query(query: bytes) -> dict[str, Any]:
    """The arguments by name, from the query of a GET: numbers become numbers, ``{...}`` and ``[...]`` are read as JSON.

    Raises:
        InvalidArguments: it cannot be read, or names one twice.
    """
    pairs = _pairs(query)
    if len({name for name, _ in pairs}) != len(pairs):
        raise InvalidArguments("The query names an argument twice. Send each once.")
    return {name: _value(text) for name, text in pairs if name != _MODE}


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError:  # its text may quote the query
        raise InvalidArguments("The query cannot be read. Send name=value, percent-encoded, UTF-8.") from None


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
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
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


def _finite(text: str) -> float:
    value = float(text)
    return value if value - value == 0 else _refuse(text)  # 1e999 is read as infinity


def _refuse(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")
