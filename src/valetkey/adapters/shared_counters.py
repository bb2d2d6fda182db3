"""Counts that processes share, and what each goes by while it cannot reach what they share."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod

from valetkey.adapters.local_messages import LocalCounters
from valetkey.errors import StoreUnavailable
from valetkey.ports.world import Clock

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0

_log = logging.getLogger("valetkey")


def pause(failures: int) -> float:
    """Seconds until the next try, after so many failures."""
    return float(min(FIRST_PAUSE * 2 ** min(failures, 16), LONGEST_PAUSE))


class SharedCounters(ABC):
    """Counts shared by all processes; the port ``Counters``.

    Each process counts by itself, too: that is what it goes by while the others cannot be reached, and the least that
    it says afterwards, so that nobody gets his limits back by emptying what is shared.

    Args:
        clock: tells periods, and when it is tried again.
        deadline: seconds that a caller waits.
    """

    def __init__(self, *, clock: Clock, deadline: float) -> None:
        self._clock = clock
        self._deadline = deadline
        self._local = LocalCounters(ticks=clock.monotonic)
        self._failures = 0
        self._again_at = 0.0

    async def add(self, key: str, amount: int = 1, *, period: float) -> int:
        """Count, and give the sum of the present period; never raises. An amount of 0 only looks."""
        own = self._local.count(key, amount, period=period)
        now = self._clock.monotonic()
        if self._failures:
            if now < self._again_at:
                return own
            self._again_at = now + pause(self._failures)  # only who comes first tries it
        try:
            async with asyncio.timeout(self._deadline * 1.5):  # the home loop itself may be busy
                everybody, left = await self.shared(key, amount, period)
        except (StoreUnavailable, TimeoutError, RuntimeError) as error:
            self._failed(error)
            return own
        self._failures = 0
        if everybody >= own and left > 0:
            self._local.end_in(key, left)
        return max(everybody, own)

    def left(self, key: str) -> float | None:
        """Seconds until the key's present period ends, as far as this process knows."""
        return self._local.left(key)

    @abstractmethod
    async def shared(self, key: str, amount: int, period: float) -> tuple[int, float]:
        """Count for everybody: the sum, and the seconds that are left of its period; both 0 where there is none.

        Raises:
            StoreUnavailable: it cannot be reached.
        """

    @abstractmethod
    def late(self) -> StoreUnavailable:
        """What is told where no answer came in time."""

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._again_at = self._clock.monotonic() + pause(self._failures)
        if self._failures == 1:
            why = error if isinstance(error, StoreUnavailable) else self.late()
            _log.warning("%s Until then, each process counts limits by itself.", why)
