"""The sessions of one chat: how many, how long, whose; and those that may be gone back to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from valetkey.entrypoints.chat import frames
from valetkey.entrypoints.chat.handshake import Opener
from valetkey.entrypoints.chat.kept import Kept
from valetkey.entrypoints.chat.outbox import Outbox
from valetkey.entrypoints.chat.seats import (
    AWAY,
    IDLE,
    SIGNED_OUT,
    TAKEN_OVER,
    Full,
    Seat,
    cancelled,
    disowned,
    holds,
)
from valetkey.entrypoints.chat.session import ChatSession
from valetkey.errors import CouldNotTell, Unauthenticated, ValetkeyError
from valetkey.identity.verifiers.vouched import CHAT, Named, in_chat
from valetkey.model.caller import Owner
from valetkey.model.hosts import visitor_of

if TYPE_CHECKING:
    from valetkey.entrypoints.chat.rooms import Chat
    from valetkey.entrypoints.chat.visitors import Visitor
    from valetkey.ports.world import Visit

TICK = 1.0
"""Seconds between two looks at who is idle; a signed-in user is looked at with every second one."""

TOO_MANY = "This chat has as many sessions as it takes. Try again later."
TOO_MANY_HERE = "There are too many sessions from this address. Close some, or try again later."
ELSEWHERE = "This session goes on in another connection."
ENDED = "This program ends."
OVER = "Your sign-in has ended. Sign in again."

_END_OF_SEAT = 10.0  # seconds that one which is taken over may take to end

_log = logging.getLogger("valetkey")


class Sessions:
    """All of one chat.

    What ends gives back everything: the place, the credentials, what was lent, the history. Only a session whose
    person can be known again, by their sign-in or by the cookie that their browser brought, is kept a while, without
    its credentials, as far as there is room (``kept.py``).
    """

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._open: dict[str, Seat] = {}
        self._kept = Kept(chat.config.max_sessions)
        self._closed = False
        self._from: Counter[str] = Counter()
        self._tickers: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    @property
    def kept(self) -> int:
        """How many may be gone back to."""
        return len(self._kept)

    def seats(self) -> list[Seat]:
        """Those that are open."""
        return list(self._open.values())

    def get(self, session_id: str) -> ChatSession | None:
        """The open session of that id."""
        seat = self._open.get(session_id)
        return None if seat is None else seat.session

    def of(self, owner: Owner) -> list[ChatSession]:
        """All of one owner's, open and kept."""
        every: Iterable[ChatSession] = (*(seat.session for seat in self.seats()), *self._kept.all())
        return [session for session in every if session.owner == owner]

    async def enter(
        self,
        outbox: Outbox,
        visitor: Visitor,
        *,
        visit: Visit,
        address: str,
        local: bool,
        opener: Opener,
        browser: str,
        brought: bool,
        resume: str = "",
    ) -> tuple[Seat, bool]:
        """Take a place.

        Args:
            outbox: what goes out of the socket.
            visitor: who is there.
            visit: the connection, as the app saw it.
            address: from where; empty where nothing tells.
            browser: the mark of its browser's cookie.
            brought: whether it brought that cookie.
            local: whether it comes from this machine; others are counted by their address.
            opener: whose page it is.
            resume: the id of an earlier session.

        Returns:
            The seat, and whether an earlier session goes on.

        Raises:
            Full: there is none.
        """
        earlier = await self._earlier(resume, visitor, browser if brought else "")
        config, clock = self._chat.config, self._chat.system.clock
        counted = "" if local else visitor_of(address)
        if self._closed:
            raise Full(ENDED)
        if len(self._open) >= config.max_sessions:
            raise Full(TOO_MANY)
        if counted and self._from[counted] >= config.max_sessions_per_address:
            raise Full(TOO_MANY_HERE)
        if earlier is not None:
            self._kept.drop(earlier)
        session = earlier or self._made(visitor, visit)
        session.visit, session.caller, session.address = visit, visitor.caller, address
        session.browser, session.brought, session.local = browser, brought, local
        session.opener = opener
        session.seen_at = clock.monotonic()
        seat = Seat(session=session, outbox=outbox, loop=asyncio.get_running_loop(), counted=counted)
        self._open[session.id] = seat
        if counted:
            self._from[counted] += 1
        self.tick()
        return seat, earlier is not None

    async def leave(self, seat: Seat) -> None:
        """The socket has gone: the turn ends, and the credentials are forgotten at once."""
        session = seat.session
        seat.outbox.closed = True
        if self._open.get(session.id) is seat:
            del self._open[session.id]
            if seat.counted:
                self._from[seat.counted] -= 1
                if self._from[seat.counted] <= 0:
                    del self._from[seat.counted]
        try:
            await cancelled(session)
        finally:
            self.strip(session)  # of what a turn that was just ending has put there, too
            if session.turns or session.said:
                self._keep(session)
            else:
                self._forget(session)
            seat.left.set()

    def strip(self, session: ChatSession) -> None:
        """Forget its credentials, at once."""
        self._chat.system.sessions.forget(session.id)
        session.credential = session.display_name = ""

    async def log_out(self, session: ChatSession) -> None:
        """Forget all that the person said and gave; whoever goes on at that socket may be another one."""
        self.strip(session)
        await cancelled(session)
        self.strip(session)
        session.forget()
        self._chat.road.lender.forget(session.id)
        if session.owner.workspace == CHAT:
            self._disown(session)
            session.who = in_chat(self._new_id(), workspace=CHAT)

    def open(self) -> None:
        """Take sessions again, where the app starts again."""
        self._closed = False

    def close(self, code: int = AWAY, reason: str = ENDED) -> list[Seat]:
        """End all. From now on nothing is kept, of those that are still leaving neither, and nobody comes in."""
        self._closed = True
        seats = self.seats()
        for seat in seats:
            seat.end(code, reason)
        for session in self._kept.all():
            self._kept.drop(session)
            self._forget(session)
        return seats

    def tick(self) -> None:
        """Look after the sockets of the running loop from now on, as long as there are any."""
        loop = asyncio.get_running_loop()
        ticker = self._tickers.get(loop)
        if ticker is None or ticker.done():
            for gone in [each for each in self._tickers if each.is_closed()]:
                del self._tickers[gone]
            self._tickers[loop] = loop.create_task(self._ticking(loop), name="valetkey-chat-sessions")

    async def stop(self) -> None:
        """Look no more."""
        ticker = self._tickers.pop(asyncio.get_running_loop(), None)
        if ticker is not None:
            ticker.cancel()
            await asyncio.wait({ticker})

    async def _ticking(self, loop: asyncio.AbstractEventLoop) -> None:
        turn = 0
        while self._kept or any(seat.loop is loop for seat in self.seats()):
            await self._chat.system.clock.sleep(TICK)
            turn += 1
            try:
                self._look_at_idle(loop)
                if turn % 2 == 0:
                    await self._look_at_signed_in(loop)
            except Exception as error:  # noqa: BLE001 - the next look may do
                _log.error("the sessions of a chat could not be looked at: %s", type(error).__name__)
        del self._tickers[loop]

    def _look_at_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        clock = self._chat.system.clock
        before = clock.monotonic() - self._chat.config.session_timeout
        for seat in self.seats():
            session = seat.session
            if seat.loop is loop and session.seen_at <= before and (session.turn is None or session.turn.done()):
                seat.end(IDLE, frames.EXPIRED, frames.frame("session_expired", clock.now(), frames.EXPIRED))
        for session in [each for each in self._kept.all() if each.seen_at <= before]:
            self._kept.drop(session)
            self._forget(session)

    async def _look_at_signed_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """A user still has to be let in: the token holds that they showed, and nobody blocked them (W-05)."""
        seats = [seat for seat in self.seats() if seat.loop is loop and seat.session.owner.workspace != CHAT]
        if not seats:
            return

        async def look() -> list[Seat]:
            over = []
            for seat in seats:
                try:
                    await holds(self._chat, seat.session.presented, seat.session.caller)
                except CouldNotTell:
                    continue
                except Unauthenticated:
                    over.append(seat)
                except ValetkeyError:
                    continue
            return over

        for seat in await self._chat.system.home.run(look):
            seat.end(SIGNED_OUT, OVER)

    async def _earlier(self, session_id: str, visitor: Visitor, browser: str) -> ChatSession | None:
        """The session of that id, where it is this person's; one that is open elsewhere is taken over."""
        seat = self._open.get(session_id)
        if seat is not None and _is_of(seat.session, visitor.who, browser):
            seat.end(TAKEN_OVER, ELSEWHERE)
            if seat.loop is asyncio.get_running_loop():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_END_OF_SEAT):
                        await seat.left.wait()
        session = self._kept.get(session_id)
        return session if session is not None and _is_of(session, visitor.who, browser) else None

    def _made(self, visitor: Visitor, visit: Visit) -> ChatSession:
        system = self._chat.system
        session_id = self._new_id()
        who = visitor.who or in_chat(session_id, workspace=CHAT)
        return ChatSession(id=session_id, who=who, visit=visit, created_at=system.clock.now())

    def _keep(self, session: ChatSession) -> None:
        if self._closed or (session.owner.workspace == CHAT and not session.brought):
            self._forget(session)  # the program ends; or nobody could show that it is theirs
            return
        session.caller = None
        session.approvals.clear()
        for gone in self._kept.add(session):
            self._forget(gone)

    def _forget(self, session: ChatSession) -> None:
        system = self._chat.system
        session.forget()
        session.approvals.clear()
        self._chat.road.lender.forget(session.id)
        system.sessions.forget(session.id)
        self._disown(session)

    def _disown(self, session: ChatSession) -> None:
        """Accounts that were connected for the session itself belong to nobody from now on."""
        if session.linked and session.owner.workspace == CHAT:
            past = ChatSession(id=session.id, who=session.who, visit=session.visit)
            session.linked = False
            with contextlib.suppress(RuntimeError):  # the home loop has ended
                self._chat.system.home.spawn(lambda: disowned(self._chat, past))

    def _new_id(self) -> str:
        return str(uuid.UUID(bytes=self._chat.system.entropy.bytes(16), version=4))


def _is_of(session: ChatSession, who: Named | None, browser: str) -> bool:
    """Whether a session is that user's; without a user, that browser's."""
    if session.owner.workspace != CHAT:
        return who is not None and who.owner == session.owner
    return who is None and bool(browser) and session.brought and session.browser == browser
