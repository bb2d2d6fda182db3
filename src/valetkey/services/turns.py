"""Heavy questions, such as lists of all services: one at a time for each who asks, and others go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from valetkey.errors import RateLimited
from valetkey.model.hosts import visitor_of

if TYPE_CHECKING:
    from valetkey.services.sight import Who

MOST_WAITING = 32
"""Heavy questions of one client that wait for their turn."""

AT_ONCE = 20_000
"""Steps of about a tenth of a microsecond that one does before others may go on."""


class Turns:
    """One after the other, for each client. For use on the home loop."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._there: dict[str, int] = {}

    @asynccontextmanager
    async def of(self, who: Who) -> AsyncIterator[None]:
        """The turn of one who asks: a client; else a user, or where nobody known asks, an address.

        Raises:
            RateLimited: too many of theirs wait.
        """
        key = who.peer or "\0".join((*who.caller.principal, visitor_of(who.address)))
        there = self._there.get(key, 0)
        if there > MOST_WAITING:
            raise RateLimited(f"{MOST_WAITING} questions of yours wait for their turn.", retry_after=1)
        self._there[key] = there + 1
        try:
            async with self._locks.setdefault(key, asyncio.Lock()):
                yield
        finally:
            self._there[key] -= 1
            if not self._there[key]:
                del self._there[key], self._locks[key]


class Breath:
    """Lets others go on, by how much was done since they last did."""

    def __init__(self) -> None:
        self._done = 0

    async def after(self, steps: int) -> None:
        """So many were done."""
        self._done += steps
        if self._done >= AT_ONCE:
            self._done = 0
            await asyncio.sleep(0)
