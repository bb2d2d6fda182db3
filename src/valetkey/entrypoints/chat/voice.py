"""What a turn tells its client: scrubbed, dated, and nothing more once the turn is given up."""

from __future__ import annotations

import asyncio
from typing import Any

from valetkey.entrypoints.chat import frames
from valetkey.entrypoints.chat.history import rescrub, scrubber_of
from valetkey.entrypoints.chat.rooms import Chat
from valetkey.entrypoints.chat.session import ChatSession, Frame, Send
from valetkey.scrub import Scrubber


class Voice:
    """The frames of one turn; made in the turn's own task.

    Attributes:
        scrubber: stars out what was known when it was made; ``renew`` makes one that knows what was lent since.
    """

    def __init__(self, chat: Chat, session: ChatSession, send: Send) -> None:
        self._chat = chat
        self._session = session
        self._send = send
        self._turn = asyncio.current_task()
        self._knows = False
        self.scrubber = Scrubber(())

    @property
    def given_up(self) -> bool:
        """Whether somebody cancelled the turn, from the very moment on."""
        return self._turn is not None and self._turn.cancelling() > 0

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self._chat.system.clock.now()

    async def renew(self) -> Scrubber:
        """A scrubber for everything that this conversation was lent, and its session's credential.

        What the turn knew before is looked for still: a credential may be forgotten while its last call returns.
        """
        scrubber = await scrubber_of(self._chat, self._session)
        known = {needle.value for needle in self.scrubber.needles}
        new = [needle for needle in scrubber.needles if needle.value not in known]
        if new:
            both = Scrubber(())
            both.needles = [*self.scrubber.needles, *new]
            self.scrubber = both
            # What is stored knows all that was known before this turn: see ``rescrub``.
            if self._knows:
                scrubber.needles = new
                await rescrub(self._session, scrubber)
        self._knows = True
        return self.scrubber

    async def say(self, kind: str, message: str, /, **fields: Any) -> None:
        """Send one frame of ours; whoever calls has scrubbed what others wrote."""
        await self.send(frames.frame(kind, self.now, message, **fields))

    async def send(self, frame: Frame) -> None:
        """Send a frame as it is, unless the turn was given up."""
        if not self.given_up:
            await self._send(frame)
