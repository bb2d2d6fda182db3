"""A TCP stream of the HTTP client, TLS on it where asked: straight on the loop's transports."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol, cast

MOST_HELD = 262_144
"""Bytes that wait to be read, after which the socket is not read any more until they are fewer."""


class NetworkStream(Protocol):
    """What httpcore2 reads from and writes to."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes: ...  # noqa: D102

    async def write(self, buffer: bytes, timeout: float | None = None) -> None: ...  # noqa: D102

    async def aclose(self) -> None: ...  # noqa: D102

    async def start_tls(  # noqa: D102
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream: ...

    def get_extra_info(self, info: str) -> Any: ...  # noqa: D102


class TcpStream(asyncio.Protocol):
    """One connection; one reads and one writes at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._held: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._ended = False
        self._lost = False
        self._full = False
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As the loop tells."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """As the loop tells."""
        self._held.append(data)
        self._size += len(data)
        if self._size > MOST_HELD and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        _wake(self._reading)

    def eof_received(self) -> bool:
        """As the loop tells. In the clear, what is still to be sent may be: an answer may come before its request."""
        self._ended = True
        _wake(self._reading)
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """As the loop tells."""
        self._lost = True
        self._ended = self._ended or exc is None
        _wake(self._reading)
        _wake(self._writing)

    def pause_writing(self) -> None:
        """As the loop tells."""
        self._full = True

    def resume_writing(self) -> None:
        """As the loop tells."""
        self._full = False
        _wake(self._writing)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # the exchange has one deadline
        """What came; empty: no more does.

        Raises:
            OSError: the connection broke off.
        """
        while not self._held:
            if self._ended:
                return b""
            if self._lost:
                raise _broken()
            self._reading = self._loop.create_future()
            try:
                await self._reading
            finally:
                self._reading = None
        data = self._held.popleft()
        if len(data) > max_bytes:
            self._held.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._size -= len(data)
        if self._paused and self._size <= MOST_HELD // 2 and self._transport is not None:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send it, or hold a little of it where the other side takes its time.

        Raises:
            OSError: the connection broke off.
        """
        if not buffer:
            return
        transport = self._transport
        if transport is None or self._lost or transport.is_closing():
            raise _broken()
        transport.write(buffer)
        while self._full:
            self._writing = self._loop.create_future()
            try:
                await self._writing
            finally:
                self._writing = None
            if self._lost:
                raise _broken()

    async def aclose(self) -> None:
        """Close it at once; what waits to be sent is not sent any more."""
        if self._transport is not None and not self._lost:
            self._transport.abort()
            await asyncio.sleep(0)  # the loop closes the socket at its next turn

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> TcpStream:
        """This stream, with TLS on it.

        Raises:
            OSError: the handshake failed; SSLError where the other side cannot be trusted.
        """
        if self._transport is None or self._lost:
            raise _broken()
        under = self._transport
        over = await self._loop.start_tls(under, self, ssl_context, server_hostname=server_hostname)
        if over is None:
            raise _broken()
        self._transport = over
        return self

    def get_extra_info(self, info: str) -> Any:
        """What the connection pool asks for."""
        if info == "is_readable":
            return bool(self._held) or self._ended or self._lost or self._has_more()
        if self._transport is None:
            return None
        names = {"ssl_object": "ssl_object", "socket": "socket", "client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names[info]) if info in names else None

    def _has_more(self) -> bool:
        """Whether the socket holds what the loop has not seen yet."""
        found = None if self._transport is None else self._transport.get_extra_info("socket")
        if found is None or found.fileno() < 0:
            return True
        if not hasattr(select, "poll"):
            return bool(select.select([found.fileno()], [], [], 0)[0])
        poll = select.poll()
        poll.register(found.fileno(), select.POLLIN)
        return bool(poll.poll(0))


async def connect_tcp(address: str, port: int) -> TcpStream:
    """A connection to an address.

    Raises:
        OSError: nobody takes it there.
    """
    _, stream = await asyncio.get_running_loop().create_connection(TcpStream, address, port)
    return stream


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as the system has them.

    Raises:
        OSError: it has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _broken() -> OSError:
    return ConnectionError("the connection broke off")


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
