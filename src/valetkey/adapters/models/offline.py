"""The offline stand-in as a chat's model: no network, no library."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from valetkey.adapters.llm import Offline
from valetkey.ports.agents import Message, ToolCall


class OfflineModel:
    """A ChatModel that decides by plain rules; it gives its words one by one, and the loop a turn between them."""

    model_id = Offline.model_id

    def __init__(self) -> None:
        self._decides = Offline()
        self._numbers = itertools.count(1)

    async def answer(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, system: str, stream: bool
    ) -> AsyncIterator[str | ToolCall]:
        """The answer of the stand-in. What the system prompt says is for models that read."""
        if stream:
            for piece in self._decides.stream(messages, tools):
                yield self._own(piece)
                await asyncio.sleep(0)
            return
        reply = self._decides.reply(messages, tools)
        if reply.text:
            yield reply.text
        for call in reply.calls:
            yield self._own(call)

    def _own(self, piece: str | ToolCall) -> str | ToolCall:
        # The window that the stand-in sees may have lost earlier calls: their ids are not given a second time.
        return piece if isinstance(piece, str) else replace(piece, id=f"call-{next(self._numbers)}")

    async def close(self) -> None:
        """Nothing is open."""
