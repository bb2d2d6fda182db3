"""uvicorn's connection, with a limit on the time that a request may take to arrive."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

OWN_TIME = "valetkey.own_time"
"""The extension of a scope to be called by who times a request's body itself: it may then take longer than usual."""

_wire = logging.getLogger("valetkey.adapters.serving.wire")
_wire.setLevel(logging.ERROR)  # junk on the port is nothing that a script's terminal should show

_BAD_REQUEST_HEADERS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"connection", b"close"),
]


class _Bounded(H11Protocol):
    """uvicorn's connection without an access log, and with a limit on the time that a request may take to arrive."""

    _timer: asyncio.TimerHandle | None = None
    _whole = 15.0
    _theirs = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.access_log = False
        self.logger = _wire
        self._arm()

    def data_received(self, data: bytes) -> None:
        if self._timer is None and not self._theirs:
            self._arm()
        super().data_received(data)
        if self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:
            self._theirs = False
            self._disarm()

    def handle_events(self) -> None:
        super().handle_events()
        if self.scope is not None:  # its app begins a moment later
            extensions: dict[str, Any] = self.scope.setdefault("extensions", {})
            extensions.setdefault(OWN_TIME, self._leave_time)

    def on_response_complete(self) -> None:
        if self._theirs:  # who timed it is done, and the rest of it may still come
            self._theirs = False
            self._arm()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except h11.LocalProtocolError:  # an app broke its answer off, and nobody told us
            self.transport.close()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._disarm()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """What h11 does not understand: two Host headers, two lengths, an over-long head (RFC 9112 §3.2, §6.3)."""
        for event in (
            h11.Response(status_code=400, headers=_BAD_REQUEST_HEADERS, reason=b"Bad Request"),
            h11.Data(data=msg.encode("ascii")),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _leave_time(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:
            self._theirs = True
            self._disarm()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._whole, self.transport.abort)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded(whole: float) -> type[H11Protocol]:
    """Such a connection.

    Args:
        whole: seconds from a request's first byte to its last.
    """
    return type("_Bounded", (_Bounded,), {"_whole": whole})
