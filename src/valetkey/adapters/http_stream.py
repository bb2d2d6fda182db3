"""The answer to a streamed exchange: piece by piece, with an end to waiting and to its size."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from valetkey.adapters.addresses import Target
from valetkey.adapters.http_wire import Head, failed
from valetkey.errors import ExchangeFailed, InvalidArguments
from valetkey.ports.world import StreamRequest

PIECE = 65_536
"""Bytes that one piece of what was decoded has at most."""


class StreamedAnswer:
    """The port ``Streamed``. Closed before its end, it takes its connection along.

    Args:
        pieces: the body, as it comes off the wire.
        close: lets go of the exchange.
        ended: is told that the body came to its end.
    """

    def __init__(
        self,
        *,
        status: int,
        head: Head,
        pieces: AsyncGenerator[bytes, None],
        request: StreamRequest,
        target: Target,
        close: Callable[[], Awaitable[None]],
        ended: Callable[[], Awaitable[None]],
        broken: tuple[type[Exception], ...],
    ) -> None:
        self.status = status
        self.headers = head.decoded if head.gzip else head.headers
        self._target = target
        self._idle = request.idle
        self._room = request.cap
        self._cap = request.cap
        self._until = asyncio.get_running_loop().time() + request.longest
        self._close = close
        self._ended = ended
        self._broken = broken
        self._closed = False
        self._wire = pieces
        self._body = self._unfolded() if head.gzip else self._plain()

    def __aiter__(self) -> StreamedAnswer:
        """Itself."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece.

        Raises:
            ExchangeFailed: none came in time, there are too many, or the connection broke off. It is closed.
        """
        try:
            piece = await anext(self._body)
        except BaseException:  # its end, too
            await self.aclose()
            raise
        self._room -= len(piece)
        if self._room < 0:
            await self.aclose()
            raise failed(self._target, f"answered with more than {self._cap} bytes", sent=True)
        return piece

    async def aclose(self) -> None:
        """Give it up, or be done with it. Again: nothing."""
        if self._closed:
            return
        self._closed = True
        await self._body.aclose()
        await self._wire.aclose()
        await self._close()

    async def _plain(self) -> AsyncGenerator[bytes, None]:
        while True:
            piece = await self._next()
            if piece is None:
                await self._ended()
                return
            if piece:
                yield piece

    async def _unfolded(self) -> AsyncGenerator[bytes, None]:
        gzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        begun = False
        while True:
            piece = await self._next()
            if piece is None:
                break
            begun = begun or bool(piece)
            unfolded = b"x"
            while unfolded and not gzip.eof:  # what was folded tightly may wait inside for its turn
                try:
                    unfolded = gzip.decompress(piece, PIECE)
                except zlib.error:
                    raise self._damaged() from None
                piece = gzip.unconsumed_tail
                if unfolded:
                    yield unfolded
            if gzip.eof and (piece or gzip.unused_data):
                raise self._damaged()
        if begun and not gzip.eof:
            raise self._damaged()
        await self._ended()

    def _damaged(self) -> ExchangeFailed:
        return failed(self._target, "answered with gzip that cannot be read", sent=True)

    async def _next(self) -> bytes | None:
        """The next piece off the wire; None: that was the last."""
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout_at(min(loop.time() + self._idle, self._until))
        try:
            async with limit:
                return await anext(self._wire, None)
        except TimeoutError:
            what = "took too long" if loop.time() >= self._until else f"was silent for {self._idle:g} s"
            raise failed(self._target, what, sent=True, late=True) from None
        except self._broken:
            raise failed(self._target, "broke off in the middle of its answer", sent=True) from None


async def timed(
    request: StreamRequest, limit: asyncio.Timeout, body: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    """The same pieces of a body that is sent; each puts the deadline off.

    Raises:
        InvalidArguments: they are together longer or shorter than was said.
    """
    loop, size = asyncio.get_running_loop(), 0
    async for piece in body:
        size += len(piece)
        if request.length is not None and size > request.length:
            break
        if not limit.expired():
            limit.reschedule(loop.time() + request.deadline)
        yield piece
    if request.length not in (None, size):
        raise InvalidArguments("The body is longer or shorter than was said. Nothing of it counts.")
