"""Serve an ASGI app on sockets of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import uvicorn

from valetkey.adapters.bounded import bounded
from valetkey.errors import InvalidSetting, PortTaken

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Take = Callable[[socket.AddressFamily, str, int], socket.socket]

_BACKLOG = 128  # connections that the system holds until we take them; uvicorn asks for more once it serves
_HEAD = 32_768  # bytes of a request's line and headers
_ANY_FREE = 16  # tries to find a port that is free in both address families
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a listener bears.

    Attributes:
        connections: at once; more are told 503.
        keep_alive: seconds that a connection may wait for its next request.
        whole: seconds from a request's first byte to its last; pages answer 408 before that.
        grace: seconds for answers under way when we stop.
    """

    connections: int = 128
    keep_alive: int = 5
    whole: float = 15.0
    grace: float = 0.8


SCRIPT = Bounds()
SERVER = Bounds(connections=4096, keep_alive=75, whole=60.0, grace=20.0)
"""A reverse proxy keeps its connections for about a minute: it is to end them, not we."""


class Listener:
    """One app on one port, on the loop that starts it.

    Nothing is logged of a request: its URL may hold a code. The host program's own uvicorn, its loggers and
    its signal handlers stay as they are.

    Args:
        app: an ASGI 3 app; no lifespan events are sent to it.
        host: an address; ``localhost`` listens on 127.0.0.1, and on ::1 where there is IPv6, so that a browser finds
            us whichever it tries first, and nobody else can take the other one.
        port: 0 finds a free one.
        tls: serve https with it.
        setting: the setting that changes the port, for the error.
        bounds: how much it bears.
        websockets: how they are served (`adapters.sockets.served`); None: there are none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        setting: str,
        bounds: Bounds = SCRIPT,
        websockets: Mapping[str, Any] | None = None,
    ) -> None:
        self._app = app
        self._websockets = websockets
        self._bounds = bounds
        self._sockets: list[socket.socket] = []
        self._host = host
        self._port = port
        self._tls = tls
        self._setting = setting
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port listened on; before :meth:`start` the one asked for."""
        return self._port

    async def reserve(self) -> None:
        """Take the port, so that it is known and nobody else gets it; nobody can connect yet.

        Raises:
            PortTaken: somebody else listens there.
            InvalidSetting: the host or the port cannot be listened on.
        """
        if not self._sockets:
            self._sockets = self._bind(await self._addresses(), _take)
            self._port = self._sockets[0].getsockname()[1]

    def release(self) -> None:
        """Give a reserved port back."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            one.close()

    async def start(self) -> None:
        """Listen; connections are accepted when this returns.

        Raises:
            PortTaken: somebody else listens there.
            InvalidSetting: the host or the port cannot be listened on.
        """
        if self._task is not None:
            return
        sockets, self._sockets = self._sockets, []
        try:
            for one in sockets:
                one.listen(_BACKLOG)
        except OSError as error:
            for one in sockets:
                one.close()
            raise self._refusal(error) from error
        sockets = sockets or self._bind(await self._addresses(), _listen)
        self._port = sockets[0].getsockname()[1]
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            http=bounded(self._bounds.whole),
            lifespan="off",
            log_config=None,
            workers=1,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=self._bounds.connections,
            timeout_keep_alive=self._bounds.keep_alive,
            timeout_graceful_shutdown=int(self._bounds.grace) + 2,
            h11_max_incomplete_event_size=_HEAD,
            **(self._websockets or {"ws": "none"}),
        )
        config.load()
        config.ssl = self._tls
        config.loaded_app = self._call  # bare: at the lowest log level uvicorn would log every message, codes included
        self._server = _Server(config)
        self._task = asyncio.create_task(
            self._server.serve(sockets),
            name=f"valetkey-listener-{self._port}",
            context=contextvars.Context(),  # a request has nothing of the call that happened to start us
        )
        ready = asyncio.create_task(self._server.ready.wait())
        try:
            await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            if not self._server.ready.is_set():
                await self._abandon(sockets)

    async def stop(self) -> None:
        """Stop listening; answers under way have their grace to end."""
        server, task, self._server, self._task = self._server, self._task, None, None
        if server is None or task is None:
            return
        server.leave()
        done, _ = await asyncio.wait({task}, timeout=self._bounds.grace)
        if not done:
            server.cut()
        await task

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if self._server is not None:
                raise
            # Cut by stop(); its client is gone, and uvicorn would log a traceback.

    async def _abandon(self, sockets: list[socket.socket]) -> None:
        task, self._server, self._task = self._task, None, None
        for one in sockets:
            one.close()
        if task is not None:
            task.cancel()
            await task

    async def _addresses(self) -> list[tuple[socket.AddressFamily, str]]:
        if self._host == "localhost":
            return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(self._host.strip("[]"))
            return [(socket.AF_INET if address.version == 4 else socket.AF_INET6, str(address))]  # noqa: PLR2004
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise InvalidSetting(
                f"The host {self._host!r} is not known on this machine: name one of its addresses, or localhost."
            ) from error
        return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))

    def _bind(self, addresses: list[tuple[socket.AddressFamily, str]], take: Take) -> list[socket.socket]:
        tries = _ANY_FREE if self._port == 0 else 1
        while True:
            tries -= 1
            try:
                return _take_all(addresses, self._port, take)
            except (OSError, OverflowError) as error:
                if not tries or not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
                    raise self._refusal(error) from error

    def _refusal(self, error: OSError | OverflowError) -> PortTaken | InvalidSetting:
        if isinstance(error, OverflowError):
            return InvalidSetting(f"{self._port} is no port: set {self._setting} to a number from 1 to 65535.")
        if error.errno == errno.EADDRINUSE:
            return PortTaken(
                f"Port {self._port} on {self._host} is in use by another program. "
                f"End that program, or set {self._setting} to a port that is free."
            )
        reason = os.strerror(error.errno) if error.errno else "no reason given"
        return InvalidSetting(
            f"Port {self._port} on {self._host} cannot be listened on ({reason}). Set {self._setting} to another port."
        )


def _take_all(addresses: list[tuple[socket.AddressFamily, str]], port: int, take: Take) -> list[socket.socket]:
    """One socket for each address, all on one port; an IPv6 address that is not there is left out."""
    sockets: list[socket.socket] = []
    with contextlib.ExitStack() as opened:
        for family, address in addresses:
            try:
                one = take(family, address, port)
            except OSError as error:
                if sockets and family == socket.AF_INET6 and error.errno in _NO_IPV6:
                    continue
                raise
            opened.callback(one.close)
            sockets.append(one)
            port = sockets[0].getsockname()[1]
        opened.pop_all()
    return sockets


def _listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    one = _take(family, address, port)
    try:
        one.listen(_BACKLOG)
    except BaseException:
        one.close()
        raise
    return one


def _take(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # Named, or asyncio leaves Nagle's algorithm on, and an answer's body waits 40 ms for its head to be acknowledged.
    one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere the option would let another program take the port from us
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((address, port))
    except BaseException:
        one.close()
        raise
    return one


class _Server(uvicorn.Server):
    """uvicorn's server without signal handlers, which tells when it is ready and leaves when it is told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._leaving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # keeps the Date header
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._leaving.wait()

    def leave(self) -> None:
        """Take no more connections, end the idle ones, wait for the others."""
        self.should_exit = True
        self._leaving.set()

    def cut(self) -> None:
        """End what is left."""
        for connection in list(self.server_state.connections):
            transport: asyncio.Transport | None = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        for server in self.servers:
            getattr(server, "abort_clients", bool)()  # Python 3.13: those in a TLS handshake too


def certificate(chain: str, key: str) -> ssl.SSLContext:
    """TLS with these PEM files; 1.2 at least.

    Raises:
        InvalidSetting: they cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(chain, key, password=str)  # none: else the library asks for one on the terminal
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "they cannot be read"
        raise InvalidSetting(
            f"The files of tls_cert and tls_key cannot be used ({reason}). Name a PEM file with the certificate and"
            " its chain, and one with its key, without a password."
        ) from None
    return context
