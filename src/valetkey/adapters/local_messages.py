"""Wake-ups, counters and channel within one process: wake-ups and counters so far."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

_SWEEP = 1024
"""How many keys are counted before those whose period is over are looked for; then twice what was left."""


class LocalSubscription:
    """One listener on one topic; a hint between two waits is kept, several count as one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._hinted = asyncio.Event()
        self._lock = threading.Lock()
        self._on_its_way = False

    async def wait(self) -> None:
        """Return at the next hint, at once where one came since the last call."""
        await self._hinted.wait()
        self._hinted.clear()

    def hint(self) -> bool:
        """Wake it, from any thread; False where its loop has ended."""
        with self._lock:
            # One hint at a time: a loop that is busy or stands still does not gather a queue of them.
            if not self._on_its_way:
                try:
                    self._loop.call_soon_threadsafe(self._arrive)
                except RuntimeError:
                    return False
                self._on_its_way = True
            return not self._loop.is_closed()

    def _arrive(self) -> None:
        with self._lock:
            self._on_its_way = False
        self._hinted.set()


class LocalWakeups:
    """Hints within this process, between any loops and threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, set[LocalSubscription]] = {}

    def wake(self, topic: str) -> None:
        """Wake all who listen to the topic; from any thread, never blocks. An ended loop's are dropped."""
        with self._lock:
            listeners = tuple(self._listeners.get(topic, ()))
        for listener in listeners:
            if not listener.hint():
                self._drop(topic, listener)

    def wake_all(self) -> None:
        """Wake all who listen to anything: hints may have been lost."""
        with self._lock:
            topics = tuple(self._listeners)
        for topic in topics:
            self.wake(topic)

    @asynccontextmanager
    async def listen(self, topic: str) -> AsyncIterator[LocalSubscription]:
        """Listen on the running loop until the block ends."""
        listener = LocalSubscription(asyncio.get_running_loop())
        with self._lock:
            self._listeners.setdefault(topic, set()).add(listener)
        try:
            yield listener
        finally:
            self._drop(topic, listener)

    def _drop(self, topic: str, listener: LocalSubscription) -> None:
        with self._lock:
            listeners = self._listeners.get(topic)
            if listeners is not None:
                listeners.discard(listener)
                if not listeners:
                    del self._listeners[topic]


class LocalCounters:
    """Counts of this process; the port ``Counters``. For any loop and any thread.

    Args:
        ticks: seconds that never go back; periods are told by them.
    """

    def __init__(self, *, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[int, float]] = {}  # the sum, and when its period ends
        self._sweep_at = _SWEEP

    async def add(self, key: str, amount: int = 1, *, period: float) -> int:
        """Count, and give the sum of the present period. An amount of 0 only looks."""
        return self.count(key, amount, period=period)

    def count(self, key: str, amount: int, *, period: float) -> int:
        """The same, at once."""
        with self._lock:
            now = self._ticks()
            before, end = self._counts.get(key, (0, 0.0))
            if end <= now:
                before, end = 0, now + period
            if not amount:
                return before
            self._put(key, before + amount, end)
        return before + amount

    def left(self, key: str) -> float | None:
        """Seconds until the key's present period ends; None: it has none."""
        with self._lock:
            _, end = self._counts.get(key, (0, 0.0))
            left = end - self._ticks()
        return left if left > 0 else None

    async def sweep(self, *, before: float) -> int:
        """Nothing: those whose period is over go when others come."""
        del before
        return 0

    def end_in(self, key: str, seconds: float) -> None:
        """Let the key's present period end then: as everybody's does."""
        with self._lock:
            now = self._ticks()
            count, end = self._counts.get(key, (0, 0.0))
            self._put(key, count if end > now else 0, now + seconds)

    def _put(self, key: str, count: int, end: float) -> None:
        self._counts[key] = count, end
        if len(self._counts) >= self._sweep_at:
            now = self._ticks()
            self._counts = {name: held for name, held in self._counts.items() if held[1] > now}
            self._sweep_at = max(_SWEEP, 2 * len(self._counts))
