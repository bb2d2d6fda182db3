"""The WebSocket of a chat: the handshake, the frames, the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.types import Message
from starlette.websockets import WebSocket

from valetkey.entrypoints.chat import frames
from valetkey.entrypoints.chat.denial import denial
from valetkey.entrypoints.chat.handling import Conversation
from valetkey.entrypoints.chat.handshake import Browser, Refused, Threshold, is_here
from valetkey.entrypoints.chat.outbox import SLOW, SLOWLY, Outbox
from valetkey.entrypoints.chat.registry import Sessions
from valetkey.entrypoints.chat.seats import FULL, Full, Seat, holds
from valetkey.entrypoints.chat.visitors import NOT_NOW
from valetkey.entrypoints.render import http_status
from valetkey.errors import Unauthenticated, ValetkeyError
from valetkey.identity.verifiers.vouched import HOST
from valetkey.model.calls import Presented
from valetkey.ports.world import Clock, Visit

if TYPE_CHECKING:
    from valetkey.entrypoints.chat.rooms import Chat
    from valetkey.entrypoints.chat.visitors import Reception, Visitor

PER_SECOND, BURST = 50.0, 200
"""Frames that a client may send: a person types, a page asks now and then."""

SHARE = 0.25
"""The part of the time in which one client's frames may be handled, in the long run."""

TOO_BIG, FLOOD = 1009, 1008
ONLY_RESUMED = "The earlier session goes on. Credentials are not kept: give them again where they are needed."
NOT_RESUMED = "The earlier session cannot be gone back to: it has ended, or was somebody else's. This is a new one."

_log = logging.getLogger("valetkey")


class ChatSocket:
    """Answers at the WebSocket's endpoint.

    Args:
        state: what the app's lifespan left for its requests; nothing that was made of a handshake.
    """

    def __init__(
        self,
        chat: Chat,
        sessions: Sessions,
        reception: Reception,
        *,
        state: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._chat = chat
        self._sessions = sessions
        self._reception = reception
        self._state = state
        self._threshold = Threshold(chat)

    async def serve(self, websocket: WebSocket) -> None:
        """One socket, from its handshake to its end."""
        try:
            browser = self._threshold.look(websocket)
            self._chat.mounted.learn(websocket.scope)
            visitor = await self._reception.visitor(browser.connection)
            await self._admit(visitor, browser.address)
        except Refused as refusal:
            await _deny(websocket, refusal)
            return
        await websocket.accept(headers=list(browser.given))
        seat: Seat | None = None

        def dropped() -> None:
            if seat is not None:
                seat.end(SLOW, SLOWLY)

        outbox = Outbox(websocket.send, dropped=dropped)
        try:
            seat, resumed = await self._seat(websocket, browser, visitor, outbox)
        except Full as full:
            await outbox.close(FULL, str(full))
            return
        await self._seated(websocket, seat, resumed=resumed)

    async def _admit(self, visitor: Visitor, address: str) -> None:
        """Whoever is blocked is not let in, and so costs no answer.

        Raises:
            Refused: 403; 503 where it cannot be told now.
        """
        if visitor.who is None:
            return
        who = Presented(scheme=HOST, value=visitor.who, address=address)
        try:
            await self._chat.system.home.run(lambda: holds(self._chat, who, visitor.caller))
        except Unauthenticated as error:
            raise Refused(403, error.message) from None
        except ValetkeyError as error:
            raise Refused(http_status(error), NOT_NOW) from None

    async def _seat(
        self, websocket: WebSocket, browser: Browser, visitor: Visitor, outbox: Outbox
    ) -> tuple[Seat, bool]:
        secure = websocket.url.scheme == "wss"
        client = websocket.scope.get("client")
        visit = Visit(
            host=websocket.headers["host"],
            scheme="https" if secure else "http",
            client=(str(client[0]), int(client[1])) if client else None,
            state=self._state(),
        )
        return await self._sessions.enter(
            outbox,
            visitor,
            visit=visit,
            address=browser.address,
            local=is_here(websocket),
            opener=browser.opener,
            browser=browser.mark,
            brought=browser.brought,
            resume=websocket.query_params.get("session_id", ""),
        )

    async def _seated(self, websocket: WebSocket, seat: Seat, *, resumed: bool) -> None:
        conversation = Conversation(self._chat, self._sessions, seat, websocket)
        asked = bool(websocket.query_params.get("session_id"))
        notes = [ONLY_RESUMED if resumed else NOT_RESUMED] if asked else []
        seat.reader = asyncio.current_task()
        try:
            now = self._chat.system.clock.now()
            about = {"notes": notes} if notes else {}
            await conversation.send(frames.connected(seat.session.id, now, resumed=resumed, notes=about))
            await self._read(websocket, seat, conversation)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if seat.ended is None or task is None or task.uncancel() > 0:
                raise
        finally:
            seat.reader = None
            await self._gone(seat, conversation)

    async def _read(self, websocket: WebSocket, seat: Seat, conversation: Conversation) -> None:
        most = self._chat.config.max_frame_size
        bucket = _Bucket(self._chat.system.clock)
        while seat.ended is None:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = _data_of(message)
            if len(data) > most or (isinstance(data, str) and len(data.encode("utf-8", "replace")) > most):
                seat.ended = TOO_BIG, f"A frame may have {most} bytes.", None
            elif not bucket.take():
                seat.ended = FLOOD, "Too many frames.", None
            else:
                began = bucket.now
                await conversation.handle(data)
                bucket.charge(bucket.now - began)

    async def _gone(self, seat: Seat, conversation: Conversation) -> None:
        """Whoever ended it: the credentials go first, then the turn, then the socket."""
        self._sessions.strip(seat.session)
        if seat.session.turn is not None:
            seat.session.turn.cancel()
        try:
            if seat.ended is not None:
                code, reason, last = seat.ended
                await seat.outbox.close(code, reason, last="" if last is None else frames.write(last))
            await conversation.end()
        finally:
            await self._sessions.leave(seat)


class _Bucket:
    """How often one client may send."""

    __slots__ = ("_at", "_clock", "_left")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left, self._at = float(BURST), clock.monotonic()

    @property
    def now(self) -> float:
        """Seconds, on the monotonic clock."""
        return self._clock.monotonic()

    def charge(self, seconds: float) -> None:
        """Take for a frame that took so long: of all the time a socket may have a part, not the whole.

        One frame costs half a bucket at most: one that took longer waited for others.
        """
        self._left -= min(PER_SECOND / SHARE * seconds, BURST / 2)

    def take(self) -> bool:
        """Whether it holds one more."""
        now = self._clock.monotonic()
        self._left = min(BURST, self._left + (now - self._at) * PER_SECOND) - 1
        self._at = now
        return self._left >= 0


def _data_of(message: Message) -> str | bytes:
    text = message.get("text")
    return text if text is not None else message.get("bytes") or b""


async def _deny(websocket: WebSocket, refusal: Refused) -> None:
    """The handshake's answer; where the server cannot send one, it is a bare 403."""
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(denial(refusal))
        await asyncio.sleep(0)  # uvicorn's answer has to be out before we end, or it logs an error of ours
    else:
        await websocket.close()
