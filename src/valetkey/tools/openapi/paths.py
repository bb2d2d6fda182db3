"""A path from its template and a model's values: what is sent stays below the template (RFC 3986 §3.3)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cached_property
from urllib.parse import quote, unquote_to_bytes

from valetkey.errors import InvalidArguments

_UNRESERVED = "-._~"  # RFC 3986 §2.3, beside letters and digits
_SAFE_IN_TEMPLATES = "-._~!$&'()*+,;=:@/"
_PARAMETER = re.compile(r"\{([^{}]+)\}")
_PLAIN = re.compile(r"[A-Za-z0-9_~-]+")  # no coding, and nothing to encode
_UNCODED = re.compile(r"[^%\\&\x80-\U0010ffff]*")
_ROUNDS = 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNICODE_ESCAPE = re.compile(r"(?:%u|\\u|\\x|&#x)([0-9a-fA-F]{2,6});?", re.IGNORECASE)
# What Unicode's compatibility forms do not fold into a dot, a slash or a backslash, and file systems and servers might.
_ALIKE = str.maketrans({"\u2044": "/", "\u2215": "/", "\u29f8": "/", "\u29f5": "\\", "\u2216": "\\", "\u3002": "."})


class Template:
    """A path of a document with its parameters in braces.

    Raises:
        ValueError: no request can be made of it: it does not begin with ``/``, holds a dot segment, a query, a
            fragment, a space or a control character.
    """

    def __init__(self, path: str) -> None:
        pieces = _PARAMETER.split(path)
        fixed = "".join(pieces[::2])
        if not path.startswith("/") or path.startswith("//") or re.search(r"[{}?#\\\s\x00-\x1f\x7f]", fixed):
            raise ValueError(path)
        self.path = path
        self.names = tuple(dict.fromkeys(pieces[1::2]))
        if any(is_dots(segment) for segment in _PARAMETER.sub("x", path).split("/")):
            raise ValueError(path)
        self._pieces = [
            piece if index % 2 else quote(piece, safe=_SAFE_IN_TEMPLATES + "%") for index, piece in enumerate(pieces)
        ]

    @cached_property
    def _fitting(self) -> re.Pattern[str]:
        pieces = _PARAMETER.split(self.path)
        fits = ("[^/]+" if index % 2 else re.escape(piece.casefold()) for index, piece in enumerate(pieces))
        return re.compile("".join(fits) + "/?")

    def fits(self, path: str) -> bool:
        """Whether a path, not encoded and in lower case, could be meant by it."""
        return self._fitting.fullmatch(path) is not None

    def filled(self, values: Mapping[str, str]) -> str:
        """The path with values that are encoded already.

        Raises:
            InvalidArguments: a value makes a segment of it empty, or a dot segment.
        """
        made = "".join(values[piece] if index % 2 else piece for index, piece in enumerate(self._pieces))
        for segment, written in zip(made.split("/"), self.path.split("/"), strict=True):
            if (
                written
                and not _PLAIN.fullmatch(segment)
                and (not segment or any(is_dots(form) for form in readings(segment)))
            ):
                raise InvalidArguments(f"The path {self.path} would lead elsewhere with that. Give the plain value.")
        return made


def encoded(value: str, argument: str) -> str:
    """One value for a path, percent-encoded.

    Raises:
        InvalidArguments: it is empty, holds a slash, a backslash or a control character, or is a dot segment, in
            whatever coding somebody on the way might undo. Names the argument.
    """
    if _PLAIN.fullmatch(value):
        return value
    if not value:
        raise InvalidArguments(f"{argument} is empty, and goes into the path. Give a value.")
    for form in readings(value):
        if "/" in form or "\\" in form:
            raise InvalidArguments(f"{argument} goes into the path, and may hold neither / nor \\. Give one segment.")
        if _CONTROL.search(form):
            raise InvalidArguments(f"{argument} goes into the path, and may hold no control character.")
        if is_dots(form):
            raise InvalidArguments(f"{argument} goes into the path, and may not be a dot segment, nor hold one.")
    return quote(value, safe=_UNRESERVED)


def readings(value: str) -> set[str]:
    """What others may read it as: percent-decoded again and again, folded to plain characters.

    Raises:
        InvalidArguments: it is coded deeper than anybody means it, or in overlong UTF-8.
    """
    if _UNCODED.fullmatch(value):
        return {value}
    forms, latest = {value}, value
    for _ in range(_ROUNDS):
        octets = unquote_to_bytes(latest)
        try:
            decoded = octets.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidArguments("A value of the path holds percent escapes that are no UTF-8.") from None
        decoded = _UNICODE_ESCAPE.sub(_character, decoded)
        decoded = unicodedata.normalize("NFKC", decoded).translate(_ALIKE)
        if decoded == latest:
            return forms
        forms.add(decoded)
        latest = decoded
    raise InvalidArguments("A value of the path is percent-encoded many times over. Give it plain.")


def _character(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    is_character = number < 0x110000 and not 0xD800 <= number < 0xE000  # noqa: PLR2004  # Unicode's own bounds
    return chr(number) if is_character else ""


def is_dots(segment: str) -> bool:
    """Whether a segment leads up or nowhere (RFC 3986 §3.3), as lenient servers read it: `..;a`, `.. `, `..%00`."""
    return any(part.strip(" \t\r\n\0") in {".", ".."} for part in segment.split(";"))
