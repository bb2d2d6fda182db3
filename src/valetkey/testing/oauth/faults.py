"""What goes wrong on demand: answers that are late, wrong, endless or cut, and answers that are held back."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

_CHUNK = b" " * 65_536
_CHUNKS = 1_024
_HTML = "<!doctype html><title>Sign in to the network</title><h1>Please sign in to use this network</h1>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One wrong answer. See ``OAuthServer.fail_next``."""

    status: int = 500
    body: str | bytes = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    html: bool = False
    huge: bool = False
    drop: bool = False
    processed: bool = False

    def response(self, stopped: Gate) -> Response:
        """The answer to send; one that hangs does so until the server stops."""
        if self.hang or self.drop:
            return _Silence(drop=self.drop, stopped=stopped)
        if self.huge:
            return StreamingResponse(_flood(), self.status, dict(self.headers), media_type="application/json")
        if self.html:
            return HTMLResponse(self.body or _HTML, self.status, dict(self.headers))
        return Response(self.body, self.status, {"content-type": "application/json", **self.headers})


class Faults:
    """The faults that wait for a request, by endpoint. May be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Fault]] = {}

    def add(self, endpoint: str, fault: Fault, times: int) -> None:
        """Let the next ``times`` requests of an endpoint meet the fault, after those that wait already."""
        with self._lock:
            self._waiting.setdefault(endpoint, deque()).extend([fault] * times)

    def take(self, endpoint: str) -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            waiting = self._waiting.get(endpoint)
            return waiting.popleft() if waiting else None

    def clear(self) -> None:
        """Forget those that nothing has met."""
        with self._lock:
            self._waiting.clear()


class Gate:
    """Holds whoever comes while it is closed, on any loop; opened, closed and watched from any thread."""

    def __init__(self, *, closed: bool = False) -> None:
        self._changed = threading.Condition()
        self._closed = closed
        self._held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def close(self) -> None:
        """Hold those who come from now on."""
        with self._changed:
            self._closed = True

    def open(self) -> None:
        """Let all go, and those who come from now on."""
        with self._changed:
            self._closed = False
            held, self._held = self._held, []
        for loop, event in held:
            loop.call_soon_threadsafe(event.set)

    async def passed(self) -> None:
        """Wait here while the gate is closed."""
        event = asyncio.Event()
        mine = (asyncio.get_running_loop(), event)
        with self._changed:
            if not self._closed:
                return
            self._held.append(mine)
            self._changed.notify_all()
        try:
            await event.wait()
        finally:
            with self._changed:
                if mine in self._held:
                    self._held.remove(mine)

    def wait_held(self, count: int, timeout: float) -> bool:
        """Block until ``count`` are held; False when they did not come within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._held) >= count, timeout)


class _Silence(Response):
    """No answer at all: the connection is cut, or stays open until the client or the server goes away."""

    def __init__(self, *, drop: bool, stopped: Gate) -> None:
        super().__init__()
        self._drop = drop
        self._stopped = stopped

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = scope.get("state", {}).get("transport")
        if self._drop and transport is None:
            raise ConnectionResetError("The connection is cut, as the test asked.")
        if not self._drop:
            await self._silent(receive)
        if transport is not None:
            transport.abort()
            await _gone(receive)

    async def _silent(self, receive: Receive) -> None:
        leaving = asyncio.ensure_future(_gone(receive))
        stopping = asyncio.ensure_future(self._stopped.passed())
        try:
            await asyncio.wait({leaving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            stopping.cancel()


async def _gone(receive: Receive) -> None:
    message: Message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()


async def _flood() -> AsyncIterator[bytes]:
    yield b'{"access_token":"'
    for _ in range(_CHUNKS):
        # A turn of the loop, so that a client that has gone is noticed.
        await asyncio.sleep(0)
        yield _CHUNK
