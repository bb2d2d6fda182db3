"""WebSockets of a listener: uvicorn's own, quiet, bounded, and cut off where nobody reads."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.server import ServerProtocol

MOST_FRAGMENTS = 4096
"""Frames of one message: bytes alone would not bound empty ones (RFC 6455 §5.4)."""

SHORT = 65_536
"""Bytes of a message that may wait while the next one is read."""

PING_EVERY = 20.0
"""Seconds between two pings, and for the answer."""

LAST_WORDS = 5.0
"""Seconds that a peer has to read what was sent before its end."""

_TOO_MANY = 1009
_wire = logging.getLogger(f"{__name__}.wire")
_wire.setLevel(logging.ERROR)  # uvicorn logs each socket's path, and at the lowest level what is said on it


def served(*, message: int) -> dict[str, Any]:
    """For a `Listener`: WebSockets whose messages have at most that many bytes."""
    return {
        "ws": SocketProtocol,
        "ws_max_size": message,
        "ws_per_message_deflate": False,  # a bomb, and lengths that tell what is inside
        "ws_ping_interval": PING_EVERY,
        "ws_ping_timeout": PING_EVERY,
    }


class SocketProtocol(WebSocketsSansIOProtocol):
    """One socket. Nothing of it is logged; a peer that does not read cannot keep it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _wire
        self.conn = ServerProtocol(max_size=config.ws_max_size, logger=_wire)
        self._heard = 0.0
        self._cutting: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._cutting is not None:
            self._cutting.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heard = self.loop.time()
        super().data_received(data)
        if self.transport.is_closing():
            self._cut_soon()

    def handle_connect(self, event: Request) -> None:
        """Take the handshake, or say that there are too many."""
        most = self.config.limit_concurrency
        if most is not None and len(self.connections) > most:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        super().handle_connect(event)

    def handle_cont(self, event: Frame) -> None:
        """Take a further part of a message."""
        if len(self.frames) >= MOST_FRAGMENTS:
            self.conn.fail(_TOO_MANY, "too many fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Have the app take a message. Behind a short one that waits alone, the socket is read on.

        To stop and begin again costs more than most messages do.
        """
        spare = not self.read_paused and self.queue.empty() and sum(map(len, self.frames)) <= SHORT
        if spare:
            self.read_paused = True  # so that it is not stopped
        super().send_receive_event_to_app()
        if spare:
            self.read_paused = False

    def keepalive_timeout(self) -> None:
        """No answer to a ping came; one that sends, or whose words we do not take just now, is there all the same."""
        if self.read_paused or self._heard > self.ping_sent_at:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self._cut_soon()

    def shutdown(self) -> None:
        """The server stops: 1012 (Service Restart), so that clients come back."""
        super().shutdown()
        self._cut_soon()

    async def run_asgi(self) -> None:
        """Let the app have it; when that has ended, nobody keeps it."""
        await super().run_asgi()
        self._cut_soon()

    def abort(self) -> None:
        """End it at once."""
        self.transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        self.conn.send_response(self.conn.reject(status, status.phrase))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.handshake_complete = self.close_sent = True
        self.transport.close()

    def _cut_soon(self) -> None:
        if self._cutting is None and not self.disconnected:
            self._cutting = self.loop.call_later(LAST_WORDS, self.transport.abort)
