"""A value that is asked for once, however many want it, and kept for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from valetkey.ports.world import Clock, Home

T = TypeVar("T")


class Kept(Generic[T]):
    """What ``ask`` gives on the home loop. From any loop; who comes while it is asked for waits for that answer.

    Args:
        ask: raises what it likes: all who wait are told, and nothing is kept.
        seconds: how long an answer is good.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], *, home: Home, clock: Clock, seconds: float) -> None:
        self._ask = ask
        self._home = home
        self._clock = clock
        self._seconds = seconds
        self._last: tuple[float, T] | None = None
        self._asking: asyncio.Future[T] | None = None

    async def get(self) -> T:
        """The value; asked for anew where the last one is too old."""
        last = self._good()
        return last[1] if last is not None else await self._home.run(self._share)

    def last(self) -> T | None:
        """The last value, however old."""
        return None if self._last is None else self._last[1]

    def _good(self) -> tuple[float, T] | None:
        last = self._last
        return last if last is not None and self._clock.monotonic() - last[0] < self._seconds else None

    async def _share(self) -> T:
        last = self._good()
        if last is not None:
            return last[1]  # it came while we were on our way here
        asking = self._asking
        if asking is None or asking.done():
            asking = self._asking = asyncio.ensure_future(self._renew())
        return await asyncio.shield(asking)

    async def _renew(self) -> T:
        value = await self._ask()
        self._last = (self._clock.monotonic(), value)
        return value
