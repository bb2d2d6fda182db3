"""What is asked of the proxy: the address and the body, as they came over the wire."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.requests import Request
from starlette.types import Scope

from valetkey.errors import InvalidArguments, NotFound

RESENDABLE = 1_048_576
"""Bytes of a body that are held, so that it can be sent again after a refresh."""

MOST = 268_435_456
"""Bytes of a body at all."""

# The provider, perhaps which of its addresses, and the rest as it is sent.
_TARGET = re.compile(r"/via/(?P<provider>[a-z][a-z0-9_-]{0,63})(?:/@(?P<host>[^/]{1,270}))?(?P<path>/.*)?")


class TooLarge(Exception):
    """The body has more bytes than any may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The address, taken apart.

    Attributes:
        host: what stood after ``@``; empty: nothing.
        path: still percent-encoded.
    """

    provider: str
    host: str
    path: str
    query: str = field(repr=False)


def asked_of(scope: Scope) -> Asked:
    """Take the address apart as it came: decoded, a slash in a segment would be one between segments.

    Raises:
        NotFound: it names no provider.
        InvalidArguments: it is not written as an address is.
    """
    raw = scope.get("raw_path") or quote(scope["path"], safe="/%:@!$&'()*+,;=~").encode()
    try:
        text = bytes(raw).partition(b"?")[0].decode("ascii")
        query = bytes(scope.get("query_string", b"")).decode("ascii")
    except UnicodeDecodeError:
        raise InvalidArguments("The address holds characters that are not percent-encoded. Encode them.") from None
    found = _TARGET.fullmatch(text.removeprefix(quote(scope.get("root_path", ""))))
    if found is None:
        raise NotFound("There is no such provider. Write /via/<provider>/<path>, the provider in lower case.")
    return Asked(provider=found["provider"], host=found["host"] or "", path=found["path"] or "/", query=query)


async def body_of(request: Request) -> tuple[bytes | AsyncIterator[bytes], int | None]:
    """The body, whole where it is short, else as it comes; and its length, where that was said.

    Raises:
        TooLarge: it says that it is, or has been so far.
        ClientDisconnect: whoever sends it has gone.
    """
    said = request.headers.get("content-length", "")
    length = int(said) if said.isdecimal() and len(said) < 20 else None  # noqa: PLR2004 - digits of 2**64
    if length is not None and length > MOST:
        raise TooLarge
    if length is None and "transfer-encoding" not in request.headers:
        return b"", 0
    stream = request.stream()
    begun = b""
    async for piece in stream:
        begun += piece
        if len(begun) > RESENDABLE:
            return _rest(begun, stream), length
    return begun, len(begun)


async def _rest(begun: bytes, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    size = len(begun)
    yield begun
    async for piece in stream:
        size += len(piece)
        if size > MOST:
            raise TooLarge
        if piece:
            yield piece
