"""What a chat that has ended had asked: nobody answers it any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from valetkey.identity.verifiers.vouched import CHAT
from valetkey.interactions.states import WAITING, Event
from valetkey.model.interactions import InteractionKind

if TYPE_CHECKING:
    from valetkey.entrypoints.chat.rooms import Chat
    from valetkey.entrypoints.chat.session import ChatSession

GONE = "The chat in which this was asked has ended, or its turn was cancelled. Ask again there."


async def withdraw(chat: Chat, session: ChatSession) -> None:
    """A session has ended for good: nobody connects an account for it any more, where it was the owner itself."""
    if session.owner.workspace != CHAT:
        return
    interactions = chat.system.interactions
    for row in await interactions.of_owner(session.owner, InteractionKind.CONNECT):
        if row.phase in WAITING:
            await interactions.move(row, Event.EXPIRE, reason=GONE)
