"""A clock wound by hand."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import threading


class ManualClock:
    """A clock that stands still until a test advances it.

    It fits wherever Valetkey takes a clock. May be read, slept on and advanced from any loop and thread::

        clock = ManualClock()
        waiting = asyncio.create_task(clock.sleep(60))
        await clock.sleepers(1)  # until it sleeps
        clock.advance(60)
        await waiting

    Args:
        start: the wall time at which it begins, in seconds since the epoch.
    """

    def __init__(self, start: float = 1_750_000_000.0) -> None:
        self._lock = threading.Lock()
        self._wall = start
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []
        self._counting: set[tuple[int, asyncio.Future[None]]] = set()

    def now(self) -> float:
        """Wall time in seconds since the epoch."""
        with self._lock:
            return self._wall

    def monotonic(self) -> float:
        """Seconds since the clock was made; `jump` does not move it."""
        with self._lock:
            return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced that far; nothing or less only lets others run."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        with self._lock:
            heapq.heappush(self._sleeping, (self._elapsed + seconds, next(self._order), woken))
            self._tell_counting()
        await woken

    def advance(self, seconds: float) -> None:
        """Move wall time and monotonic time on, and wake who slept until then, the earliest first.

        All who wake read the new time: one who sleeps again counts from there.

        Raises:
            ValueError: the seconds are negative; for a wall clock set back, use `jump`.
        """
        if seconds < 0:
            raise ValueError("a clock is advanced by zero or more seconds. To set the wall clock back, use jump().")
        with self._lock:
            self._wall += seconds
            self._elapsed += seconds
            while self._sleeping and self._sleeping[0][0] <= self._elapsed:
                _wake(heapq.heappop(self._sleeping)[2])

    def jump(self, seconds: float) -> None:
        """Set the wall clock on or back, as a correction from outside does; nobody wakes."""
        with self._lock:
            self._wall += seconds

    async def sleepers(self, count: int = 1) -> None:
        """Return as soon as at least ``count`` sleep on this clock."""
        enough = asyncio.get_running_loop().create_future()
        entry = (count, enough)
        with self._lock:
            self._counting.add(entry)
            self._tell_counting()
        try:
            await enough
        finally:
            with self._lock:
                self._counting.discard(entry)

    def _tell_counting(self) -> None:
        asleep = sum(not woken.done() for _, _, woken in self._sleeping)
        for count, enough in self._counting:
            if asleep >= count:
                _wake(enough)


def _wake(waiter: asyncio.Future[None]) -> None:
    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    with contextlib.suppress(RuntimeError):  # its loop has ended, and it with that
        waiter.get_loop().call_soon_threadsafe(wake)
