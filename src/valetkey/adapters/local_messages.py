"""Wake-ups, counters and channel within one process: the wake-ups so far."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


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
