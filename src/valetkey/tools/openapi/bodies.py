"""Arguments to a request's body: JSON, a form, multipart, text, octets."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus

from valetkey.errors import InvalidArguments
from valetkey.tools.openapi.parameters import Body, kind_of

_DATA_URL = re.compile(r"data:([a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+)?((?:;[a-z-]+=[^;,\s]+)*);base64,", re.IGNORECASE)
_MEDIA = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", re.IGNORECASE)
_QUOTED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # as browsers write names (HTML, "Multipart form data")
_DELIMITERS = {"form": ",", "spaceDelimited": " ", "pipeDelimited": "|"}


def body_of(body: Body, arguments: Mapping[str, Any]) -> tuple[str, bytes]:
    """The media type and the octets; both empty where there is no body.

    Args:
        body: how it is written.
        arguments: those that are not parameters.

    Raises:
        InvalidArguments: something of it is missing, or no file; names the argument.
    """
    kind = kind_of(body.media)
    if body.whole:
        if body.whole not in arguments:
            return "", b""
        return _whole(body, kind, arguments[body.whole])
    if not arguments and not body.always:
        return "", b""
    values: dict[str, Any] = {}
    names = {wire: argument for argument, wire in body.fields.items()}
    for argument, value in arguments.items():
        wire = body.fields.get(argument, argument)
        if argument not in body.fields and (wire.lower() in body.closed or wire in names):
            raise InvalidArguments(f"{argument} is not a parameter: a credential, or another argument, fills it.")
        values[wire] = value
    for wire in body.required:
        if wire not in values:
            raise InvalidArguments(f"{names[wire]} is missing: a body needs it.")
    if kind == "json":
        return _media(body.media), _json(values)
    if kind == "form":
        return "application/x-www-form-urlencoded", _form(body, values)
    return _multipart(body, values, names)


def _whole(body: Body, kind: str, value: Any) -> tuple[str, bytes]:
    if isinstance(value, Mapping):
        for name in value:
            if name.lower() in body.closed:
                raise InvalidArguments(f"{body.whole}.{name[:80]} is not a parameter: a credential fills it.")
    if kind == "json":
        return _media(body.media), _json(value)
    if kind in {"form", "multipart"}:
        if not isinstance(value, Mapping):
            raise InvalidArguments(f"{body.whole} must be an object: it is sent as a form.")
        if kind == "form":
            return "application/x-www-form-urlencoded", _form(body, value)
        return _multipart(body, value, {})
    if kind == "text":
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return f"{_media(body.media).partition(';')[0]}; charset=utf-8", text.encode()
    media, content = _file(body.whole, value)
    given = _media(body.media)
    return (media or given) if "*" in given else given, content


def _media(media: str) -> str:
    bare = media.strip()
    return "application/json" if bare in {"*/*", "application/*"} else bare


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _form(body: Body, values: Mapping[str, Any]) -> bytes:
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        if value is not None:
            pairs += _fields(name, value, body.encodings.get(name, {}))
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs).encode()


def _fields(name: str, value: Any, encoding: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A field of a form; one that is nested goes as JSON unless its encoding has a style (OpenAPI 3.1, "Encoding")."""
    style = encoding.get("style")
    explode = encoding.get("explode", style in {None, "form"})
    if isinstance(value, list):
        if explode or not isinstance(style, str):
            return [(name, _text(each)) for each in value]
        return [(name, _DELIMITERS.get(style, ",").join(_text(each) for each in value))]
    if isinstance(value, Mapping) and style == "deepObject":
        return [(f"{name}[{key}]", _text(each)) for key, each in value.items()]
    if isinstance(value, Mapping) and style == "form":
        return [(str(key), _text(each)) for key, each in value.items()]
    return [(name, _text(value))]


def _multipart(body: Body, values: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, bytes]:
    """One part for each value, and for each item of an array (RFC 7578)."""
    parts: list[tuple[str, bytes]] = []
    for name, value in values.items():
        if value is None:
            continue
        encoding = body.encodings.get(name, {})
        many = value if isinstance(value, list) else [value]
        is_file, argument = name in body.files, names.get(name, name)
        parts += [_part(name, each, encoding, file=is_file, argument=argument) for each in many]
    # What a digest of all parts is, none of them holds.
    digest = sha256(b"".join(head.encode() + content for head, content in parts)).hexdigest()
    boundary = f"valetkey-{digest[:40]}"
    lines = b"".join(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts)
    media = body.media.partition(";")[0].strip()
    return f"{media}; boundary={boundary}", lines + f"--{boundary}--\r\n".encode()


def _part(name: str, value: Any, encoding: Mapping[str, Any], *, file: bool, argument: str) -> tuple[str, bytes]:
    quoted = name.translate(_QUOTED)
    disposition = f'Content-Disposition: form-data; name="{quoted}"'
    named = encoding.get("contentType")
    declared = named.strip() if isinstance(named, str) and _MEDIA.fullmatch(named.strip()) else ""
    if file:
        media, content = _file(argument, value)
        media = declared or media or "application/octet-stream"
        return f'{disposition}; filename="{quoted}"\r\nContent-Type: {media}', content
    if isinstance(value, Mapping | list):
        return f"{disposition}\r\nContent-Type: {declared or 'application/json'}", _json(value)
    return disposition + (f"\r\nContent-Type: {declared}" if declared else ""), _text(value).encode()


def _file(argument: str, value: Any) -> tuple[str, bytes]:
    """A file's media type, where it tells one, and its octets."""
    if not isinstance(value, str):
        raise InvalidArguments(f"{argument} is a file: give its content as text, or as data:<media type>;base64,<data>")
    found = _DATA_URL.match(value)
    if found is None:
        return "", value.encode()
    try:
        return (found[1] or "").lower(), base64.b64decode(value[found.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArguments(f"{argument} is a data: URL, and what follows base64, is no base64.") from None
