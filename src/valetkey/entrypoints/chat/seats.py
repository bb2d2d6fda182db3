"""An open socket and its session; what ends with it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from valetkey.entrypoints.chat.outbox import Outbox
from valetkey.entrypoints.chat.session import ChatSession, Frame
from valetkey.entrypoints.chat.withdrawn import withdraw
from valetkey.errors import ValetkeyError
from valetkey.model.caller import Caller
from valetkey.model.calls import Presented

if TYPE_CHECKING:
    from valetkey.entrypoints.chat.rooms import Chat

IDLE, SIGNED_OUT, TAKEN_OVER, FULL, AWAY = 4408, 4401, 4409, 1013, 1001
"""The codes with which we close."""

_END_OF_TURN = 5.0  # seconds that a cancelled turn may take to end


class Full(Exception):
    """There is no place for another session; the text says why."""


@dataclass(eq=False, slots=True, kw_only=True)
class Seat:
    """An open socket and its session.

    Attributes:
        reader: the task that reads the socket; it ends the seat when it is cancelled.
        ended: code, reason and last frame with which we close it; None: we do not.
    """

    session: ChatSession
    outbox: Outbox
    loop: asyncio.AbstractEventLoop
    reader: asyncio.Task[None] | None = None
    ended: tuple[int, str, Frame | None] | None = None
    counted: str = ""
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, code: int, reason: str, last: Frame | None = None) -> None:
        """Close it from our side; from any thread."""
        if self.ended is None:
            self.ended = code, reason, last
            self.outbox.muted = True
            with contextlib.suppress(RuntimeError):  # its loop has ended, and it with that
                self.loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self.reader is not None:
            self.reader.cancel()


async def cancelled(session: ChatSession) -> bool:
    """End the turn; whether one ran."""
    turn, session.turn = session.turn, None
    if turn is None or turn.done():
        return False
    turn.cancel()
    await asyncio.wait({turn}, timeout=_END_OF_TURN)
    session.approvals.clear()  # the turn withdrew them
    return True


async def holds(chat: Chat, presented: Presented, caller: Caller | None) -> None:
    """That somebody is let in still: the user whom the chat knows, and the credential that they came with.

    Raises:
        Unauthenticated: blocked, revoked, or at its end.
        CouldNotTell: it cannot be told now.
    """
    chain = chat.mounted.identity.chain
    await chain.still(await chat.road.chain.identify(presented))
    if caller is not None:
        await chain.still(caller)


async def disowned(chat: Chat, session: ChatSession) -> None:
    """What was connected for a session, or is still to be, belongs to nobody once it has ended."""
    system = chat.system
    await withdraw(chat, session)
    for connection in await system.stores.connections.of_owner(session.owner):
        with contextlib.suppress(ValetkeyError):
            await system.disconnector.disconnect(session.owner, connection.provider, connection.profile)
