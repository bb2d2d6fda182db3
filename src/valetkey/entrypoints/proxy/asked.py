"""What is asked of the proxy: the address and the body, as they came over the wire."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from valetkey.errors import InvalidArguments, NotFound

RESENDABLE = 1_048_576
"""Bytes of a body that are held, so that it can be sent again after a refresh."""

MOST = 268_435_456
"""Bytes of a body at all."""

IDLE = 60.0
"""Seconds in which the next piece of a body has to come."""

LONGEST = 900.0
"""Seconds that a whole body may take."""

OWN_TIME = "valetkey.own_time"
"""The extension of a scope by which a listener leaves the time of a body to us."""

# The provider, perhaps which of its addresses, and the rest as it is sent.
_TARGET = re.compile(r"/via/(?P<provider>[a-z][a-z0-9_-]{0,63})(?:/@(?P<host>[^/]{1,270}))?(?P<path>/.*)?")


class TooLarge(Exception):
    """The body has more bytes than any may have."""


class TooSlow(Exception):
    """A body does not come on, or takes too long."""


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


class Body:
    """What is sent on, timed piece by piece.

    Args:
        request: whose body it is; it is read here, and nowhere else.

    Attributes:
        broken: why its pieces ended too early.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._taken = asyncio.Event()
        self.broken: Exception | None = None

    async def take(self) -> tuple[bytes | AsyncIterator[bytes], int | None]:
        """The body, whole where it is short, else as it comes; and its length, where that was said.

        Raises:
            TooLarge: it says that it is, or has been so far.
            TooSlow: it does not come on.
            ClientDisconnect: whoever sends it has gone.
        """
        request = self._request
        said = request.headers.get("content-length", "")
        length = int(said) if said.isdecimal() and len(said) < 20 else None  # noqa: PLR2004 - digits of 2**64
        if length is not None and length > MOST:
            raise TooLarge
        if length is None and "transfer-encoding" not in request.headers:
            self._taken.set()
            return b"", 0
        leave = request.scope.get("extensions", {}).get(OWN_TIME)
        if leave is not None:
            leave()
        stream = self._timed()
        begun = bytearray()
        async for piece in stream:
            begun += piece
            if len(begun) > RESENDABLE:
                return self._rest(bytes(begun), stream), length
        return bytes(begun), len(begun)

    async def left(self) -> None:
        """Wait until whoever asked goes, after their whole body has come.

        Raises:
            ClientDisconnect: they have gone.
        """
        await self._taken.wait()
        last = 0
        while last < 2:  # noqa: PLR2004 - the end of an empty body may come first; a server that repeats it tells nothing
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            last += not message.get("more_body")
        await asyncio.get_running_loop().create_future()

    async def _timed(self) -> AsyncIterator[bytes]:
        stream = self._request.stream()
        loop = asyncio.get_running_loop()
        until = loop.time() + LONGEST
        while True:
            try:
                async with asyncio.timeout_at(min(loop.time() + IDLE, until)):
                    piece = await anext(stream, None)
            except TimeoutError:
                raise TooSlow from None
            if piece is None:
                self._taken.set()
                return
            yield piece

    async def _rest(self, begun: bytes, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        size = len(begun)
        yield begun
        try:
            async for piece in stream:
                size += len(piece)
                _check(size)
                if piece:
                    yield piece
        except (TooLarge, TooSlow, ClientDisconnect) as error:
            self.broken = error
            raise


def _check(size: int) -> None:
    if size > MOST:
        raise TooLarge
