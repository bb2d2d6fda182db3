"""What waits to be sent to one client: in order, bounded, and paced by how it reads."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from valetkey.services import frames
from valetkey.services.chunks import pieces
from valetkey.services.guard import SERVICES
from valetkey.services.live import LATER
from valetkey.services.peers import NOBODY

if TYPE_CHECKING:
    from valetkey.ports.world import Clock, Entropy
    from valetkey.services.frames import Message
    from valetkey.services.peers import Stamp

STANDSTILL = 30.0
"""Seconds that one message may take to be sent."""

COST = 512
"""Bytes that a message counts beside its own."""

FULL = "RateLimited: This client does not read fast enough: too much waits for it. Try again in a moment."
UNREAD = "RateLimited: You do not read fast enough: too much waits for you. The reply was dropped."

_log = logging.getLogger("valetkey.services")


@dataclass(slots=True)
class _Waiting:
    size: int
    parts: Iterator[dict[str, Any]]


class Outbox:
    """The way to one client; a `Peer` of the relay. For use on the home loop.

    While more waits than may, others' calls are refused, and what nobody waits for is dropped: nobody cuts a client
    off by what they send it, and one that does not read holds up no other. Replies to the client have more room; one
    beyond that is dropped, and the client is told so instead. Clients of the same user wait for each other.

    Args:
        owner: (issuer, subject) of the client's user.
        send: to the socket, as ASGI has it; it waits while the client does not read.
        most: bytes that may wait.
        whole: bytes of one message that may wait besides: a long one is not refused for its length.
        ended: called once where it ends by itself, with the code and the reason of the close.
        pressed: called with the address of a sender, of the same user, that is to send no more until there is `room`.
        refused: called with a call that is not delivered, and with what its caller is to be told.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        *,
        clock: Clock,
        entropy: Entropy,
        most: int,
        whole: int,
        ended: Callable[[int, str], None],
        pressed: Callable[[str, Outbox], None],
        owner: tuple[str, str],
        refused: Callable[[Message, str], None],
    ) -> None:
        self._send = send
        self._clock = clock
        self._entropy = entropy
        self._most = most
        self._whole = whole
        self._ended = ended
        self._pressed = pressed
        self._owner = owner
        self._refused = refused
        self._queue: deque[_Waiting] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._since: float | None = None
        self.over = False

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._size

    @property
    def stands(self) -> bool:
        """Whether something is being sent that the client does not take."""
        return self._since is not None

    def deliver(self, message: Message, stamp: Stamp) -> None:
        """See `Peer`."""
        if self.over:
            return
        own = stamp.who is not None and stamp.who.caller.principal == self._owner
        full = self._size > self._most and stamp.workspace != NOBODY.workspace
        if full and not own and not _replies(message):
            self._turn_away(message)
            return
        data = stamp.write(message)
        if full and self._size + len(data) + COST > self._most + self._whole:
            self._turn_away(message)
            return
        if len(data) > frames.PIECE + frames.OVERHEAD:
            key, message = self._entropy.token(12), replace(message, args=b"")  # they are in the data
            parts = ({"type": "websocket.send", "bytes": stamp.write(each)} for each in pieces(data, message, key=key))
            self._put(len(data), parts)
        else:
            self._put(len(data), iter(({"type": "websocket.send", "bytes": data},)))
        if own and self._size > self._most:
            self._pressed(message.sender, self)

    def _turn_away(self, message: Message) -> None:
        """Do not deliver it; whoever waits is told."""
        if message.promised:
            self._refused(message, FULL)
        elif _replies(message):
            session = message.method.rpartition(".")[0]
            call = frames.Message(method="", to=message.sender, sender=message.to, session=session)
            self.deliver(frames.rejection(UNREAD, call=call), NOBODY)
        else:
            _log.info("a message of %s to %s was dropped: it reads too slowly", message.sender, message.to)

    def deliver_event(self, data: bytes) -> None:
        """Send an event, encoded already."""
        self._put(len(data), iter(({"type": "websocket.send", "bytes": data},)))

    def say(self, text: str) -> None:
        """Send a text frame."""
        self._put(len(text), iter(({"type": "websocket.send", "text": text},)))

    def _put(self, size: int, parts: Iterator[dict[str, Any]]) -> None:
        if self.over:
            return
        size += COST
        full = self._size > self._most
        self._size += size
        if full and self._size > self._most + self._whole:
            _log.warning("a client does not read what it is sent: %d bytes wait", self._size)
            self.end()
            self._ended(LATER, "Messages are not read.")
            return
        self._queue.append(_Waiting(size, parts))
        if self._size > self._most:
            self._room.clear()
        self._news.set()

    async def room(self) -> None:
        """Return once not more waits than may; or it is over."""
        await self._room.wait()

    def look(self, now: float) -> None:
        """End it where one message is not taken."""
        if self._since is not None and now - self._since >= STANDSTILL and not self.over:
            self.end()
            self._ended(LATER, "Messages are not read.")

    def end(self) -> None:
        """Send nothing more; what waits is forgotten."""
        self.over = True
        self._queue.clear()
        self._size = 0
        self._room.set()
        self._news.set()

    async def write(self) -> None:
        """Send what comes, until it is over or the socket is gone."""
        while not self.over:
            while self._queue and not self.over:
                await self._write(self._queue[0])
                if self._queue:
                    self._size -= self._queue.popleft().size
                if self._size <= self._most:
                    self._room.set()
            self._news.clear()
            if not self._queue and not self.over:
                await self._news.wait()

    async def _write(self, waiting: _Waiting) -> None:
        for part in waiting.parts:
            self._since = self._clock.monotonic()
            await self._send(part)
            self._since = None
            if self.over:
                return


def _replies(message: Message) -> bool:
    """Whether it is the reply to a call; the relay passes none on that nobody waits for."""
    return not message.method.startswith(SERVICES) and message.method.rpartition(".")[2] in ("resolve", "reject")
