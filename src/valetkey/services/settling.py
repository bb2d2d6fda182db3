"""Wait until what others know is known here: one round for all who ask at about the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from valetkey.vault.wire import End

PATIENCE = 1.0
"""Seconds that one waits for the others' answers."""


class Settling:
    """Rounds of questions to all other instances.

    Args:
        ask: puts the question of that number to all who are to be waited for, and says who they are. An answer comes
            behind all that was said before it.
    """

    def __init__(self, ask: Callable[[int], Iterable[End]]) -> None:
        self._ask = ask
        self._count = 0
        self._rounds: dict[int, tuple[set[End], asyncio.Event]] = {}
        self._now: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def settle(self) -> None:
        """Return once all have answered a question that was put after this call, or soon where one is silent."""
        if self._now is None:
            self._now = asyncio.create_task(self._round())
            await asyncio.shield(self._now)
            return
        if self._next is None:  # the one under way may have been put too early
            self._next = asyncio.create_task(self._after(self._now))
        await asyncio.shield(self._next)

    def answered(self, number: int, end: End) -> None:
        """It has."""
        waiting, done = self._rounds.get(number, (set(), None))
        waiting.discard(end)
        if not waiting and done is not None:
            done.set()

    def gone(self, end: End) -> None:
        """It will not."""
        for number in list(self._rounds):
            self.answered(number, end)

    async def _after(self, before: asyncio.Task[None]) -> None:
        await asyncio.wait([before])
        self._now, self._next = self._next, None
        await self._round()

    async def _round(self) -> None:
        self._count += 1
        number, done = self._count, asyncio.Event()
        waiting = set(self._ask(number))
        self._rounds[number] = waiting, done
        try:
            if waiting:
                async with asyncio.timeout(PATIENCE):
                    await done.wait()
        except TimeoutError:
            pass  # who is silent is dropped before long
        finally:
            del self._rounds[number]
            if self._now is asyncio.current_task():
                self._now = None
