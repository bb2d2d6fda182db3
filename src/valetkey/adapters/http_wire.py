"""One HTTP/1.1 request as it is written down, and what of an answer's head is taken."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from valetkey.adapters.addresses import Target
from valetkey.errors import ExchangeFailed, InvalidArguments

MOST_HEADERS = 200
LARGEST_HEADERS = 65_536

_METHOD = re.compile(r"(?!CONNECT$|TRACE$)[A-Z][A-Z-]{0,31}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")  # RFC 9110 §5.1
# RFC 9110 §5.5
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_HOP_BY_HOP = {"connection", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
_SET_HERE = _HOP_BY_HOP | {"accept-encoding", "content-length", "host"}
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def check(method: str, url: str, *periods: float, cap: int) -> None:
    """Refuse what is no one request, before anything is done for it.

    Raises:
        InvalidArguments: it is none.
    """
    if not _METHOD.fullmatch(method):
        raise InvalidArguments("The HTTP method is none that may be sent. Use GET, POST or another, in capitals.")
    if _CONTROL.search(url):
        raise InvalidArguments("The URL holds a space or a control character. Percent-encode it.")
    if not all(math.isfinite(period) and period > 0 for period in periods) or cap < 0:
        raise InvalidArguments("A request needs a deadline above 0 s and a cap of 0 bytes or more.")


def headers_of(
    given: Mapping[str, str], target: Target, *, method: str, length: int | None
) -> list[tuple[bytes, bytes]]:
    """All headers of a request, our own among them.

    Args:
        given: the caller's.
        target: where it goes.
        method: in capitals.
        length: bytes of the body; None: nobody knows yet, and it is sent in chunks (RFC 9112 §7.1).

    Raises:
        InvalidArguments: one of those given cannot be sent, or is not the caller's to set.
    """
    taken: dict[str, tuple[bytes, bytes]] = {}
    for name, value in given.items():
        key = name.lower()
        if not _NAME.fullmatch(name):
            raise InvalidArguments("A header's name is no HTTP token. Use letters, digits and hyphens.")
        if key in _SET_HERE or key.startswith("proxy-"):
            raise InvalidArguments(f"The header {name} is set by the HTTP client itself. Leave it out.")
        if key in taken:
            raise InvalidArguments(f"The header {name} is given twice. Give it once.")
        if not _VALUE.fullmatch(value):
            raise InvalidArguments(
                f"The value of the header {name} holds a line break, another control character, a character "
                f"outside Latin-1, or a space at an end. Remove or encode it."
            )
        taken[key] = (name.encode("ascii"), value.encode("latin-1"))
    taken.setdefault("user-agent", (b"User-Agent", _user_agent()))
    taken.setdefault("accept", (b"Accept", b"*/*"))
    headers = [(b"Host", target.authority.encode("ascii")), (b"Accept-Encoding", b"gzip"), *taken.values()]
    if length is None:
        headers.append((b"Transfer-Encoding", b"chunked"))
    elif length or method in _WITH_BODY:
        headers.append((b"Content-Length", b"%d" % length))
    return headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of an answer.

    Attributes:
        headers: as they came, names in lower case.
        gzip: whether the body is coded so.
    """

    headers: tuple[tuple[str, str], ...]
    gzip: bool

    @property
    def decoded(self) -> tuple[tuple[str, str], ...]:
        """The headers of the body once it is decoded."""
        return tuple(pair for pair in self.headers if pair[0] not in {"content-encoding", "content-length"})


def head_of(headers: Sequence[tuple[bytes, bytes]], target: Target) -> Head:
    """Read it.

    Raises:
        ExchangeFailed: it is too large, or the body is in a coding that was not asked for.
    """
    if len(headers) > MOST_HEADERS or sum(len(name) + len(value) for name, value in headers) > LARGEST_HEADERS:
        raise failed(target, "answered with too many or too large headers", sent=True)
    read = tuple((name.decode("ascii").lower(), value.decode("latin-1")) for name, value in headers)
    codings = [value.strip().lower() for name, value in read if name == "content-encoding"]
    coded = codings not in ([], ["identity"])
    if coded and codings not in (["gzip"], ["x-gzip"]):
        raise failed(target, "answered in a content coding that was not asked for", sent=True)
    return Head(headers=read, gzip=coded)


def failed(target: Target, what: str, *, sent: bool, late: bool = False) -> ExchangeFailed:
    """The error for an exchange that did not complete."""
    do = "look there before you repeat the request" if sent else "try again later"
    return ExchangeFailed(f"{target.authority} {what}; {do}.", sent=sent, late=late)


@cache
def _user_agent() -> bytes:
    return f"valetkey/{version('valetkey')}".encode("ascii")
