"""An ASGI app on a loopback port, on a thread and loop of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from valetkey.errors import InvalidSetting, PortTaken

_STARTUP = 10.0
_SHUTDOWN = 10.0
_GRACE = 1  # whole seconds that answers under way may take once the server is told to stop


class Loopback:
    """Serve ``app`` over plain HTTP on a loopback address until told to stop.

    A context manager, sync and async. A request's ``scope["state"]["transport"]`` is its connection, for apps
    that cut it. Nothing is logged about requests: their URLs may hold codes.

    Args:
        app: the ASGI app; its lifespan is not run.
        host: a loopback address or ``localhost``.
        port: TCP port; 0 takes a free one. A second start takes the same one again.

    Raises:
        InvalidSetting: the host is not a loopback address.
    """

    def __init__(self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> None:
        if host != "localhost" and not _is_loopback(host):
            raise InvalidSetting(
                f"A server for tests listens on loopback only, and {host!r} is elsewhere. "
                "Use 127.0.0.1, ::1 or localhost."
            )
        self.host = host
        self.port = port
        self._app = app
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the server answers now."""
        return self._server is not None

    @property
    def url(self) -> str:
        """The origin, without a slash at its end; while no port is known a name that leads nowhere."""
        if not self.port:
            return "http://loopback.test"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Listen, and return as soon as requests are answered. Does nothing when running already.

        Raises:
            PortTaken: the port is in use.
        """
        if self._server is not None:
            return
        listener = self._listen()
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            http=_Connection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            date_header=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
        server = _Server(config)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])),
            name="valetkey-loopback",
            daemon=True,
        )
        thread.start()
        if not server.ready.wait(_STARTUP):
            raise RuntimeError(f"The server for tests did not start within {_STARTUP:.0f} s; see its thread's error.")
        self._server, self._thread = server, thread

    def stop(self) -> None:
        """Finish the answers under way, close every connection, end the thread; nothing when not running."""
        if self._server is None or self._thread is None:
            return
        self._server.stop()
        self._thread.join(_SHUTDOWN)
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self.stop)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
        except OSError as error:
            listener.close()
            raise PortTaken(
                f"Port {self.port} on {self.host} cannot be listened on: {error.strerror}. "
                "Give another port, or 0 for a free one."
            ) from error
        return listener


class _Server(uvicorn.Server):
    """Says when it listens, and stops at once instead of at its next tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    async def main_loop(self) -> None:
        await self._stopping.wait()

    def stop(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)


class _Connection(H11Protocol):
    """Hands each request its transport, and writes no access log, whatever the host program configured."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
