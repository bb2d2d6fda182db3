"""What goes out of one socket: in order, whole, and never more of it in memory than a slow reader may cost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from starlette.types import Message

WAITING = 64
"""Frames that may wait for a slow reader at once; whoever sends one waits with it."""

PATIENCE = 30.0
"""Seconds that a reader may take for one frame."""

_FAREWELL = 2.0  # seconds for the last frame and the close
_REASON = 120  # bytes that a close frame has for it (RFC 6455 §5.5)

SLOW = 1013
SLOWLY = "This connection reads too slowly."


class Outbox:
    """Sends text and, once, the close.

    Args:
        send: the socket's, as ASGI has it.
        dropped: told, at most once, that the reader is too slow.
    """

    __slots__ = ("_dropped", "_lock", "_patience", "_send", "_waiting", "closed", "muted")

    def __init__(
        self,
        send: Callable[[Message], Awaitable[None]],
        *,
        dropped: Callable[[], None],
        patience: float = PATIENCE,
    ) -> None:
        self._send = send
        self._dropped = dropped
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._patience = patience
        self.closed = False
        self.muted = False  # whether nothing but the close may follow

    async def put(self, text: str) -> None:
        """Send one frame; of a socket that has gone it is dropped."""
        if self.closed or self.muted:
            return
        if self._waiting >= WAITING:
            self._drop()
            return
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience), self._lock:
                if not (self.closed or self.muted):
                    await self._send({"type": "websocket.send", "text": text})
        except TimeoutError:
            self._drop()
        except (OSError, RuntimeError):  # the peer has gone; each server says so in a way of its own
            self.closed = True
        finally:
            self._waiting -= 1

    async def close(self, code: int, reason: str, *, last: str = "") -> None:
        """Send the last frame, where there is one, and the close; no frame follows."""
        if self.closed:
            return
        self.closed = True
        told = reason.encode()[:_REASON].decode("utf-8", "ignore")
        with contextlib.suppress(TimeoutError, OSError, RuntimeError):
            async with asyncio.timeout(_FAREWELL), self._lock:
                if last:
                    await self._send({"type": "websocket.send", "text": last})
                await self._send({"type": "websocket.close", "code": code, "reason": told})

    def _drop(self) -> None:
        if not self.muted:
            self.muted = True
            self._dropped()
