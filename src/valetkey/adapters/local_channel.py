"""A bus within one process: for several systems in it, and for tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Take = Callable[[bytes], None]


class LocalBus:
    """Joins the channels that are opened on it, from any loops and threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[asyncio.AbstractEventLoop, Take]] = {}

    def channel(self, instance: str) -> LocalChannel:
        """The channel of one instance; names are unique."""
        return LocalChannel(self, instance)

    def pass_on(self, instance: str, data: bytes) -> bool:
        """Hand a message over; False where nobody is there."""
        with self._lock:
            there = self._open.get(instance)
            if there is None:
                return False
            loop, take = there
            try:
                loop.call_soon_threadsafe(self._arrive, instance, take, data)
            except RuntimeError:  # its loop has ended
                del self._open[instance]
                return False
        return True

    def others(self, instance: str) -> list[str]:
        """Who is there besides that one."""
        with self._lock:
            return [name for name in self._open if name != instance]

    def enter(self, instance: str, take: Take) -> None:
        """It is there, on the running loop."""
        with self._lock:
            if instance in self._open:
                raise RuntimeError(f"The channel of {instance} is open already.")
            self._open[instance] = asyncio.get_running_loop(), take

    def leave(self, instance: str) -> None:
        """It is not there any more."""
        with self._lock:
            self._open.pop(instance, None)

    def _arrive(self, instance: str, take: Take, data: bytes) -> None:
        with self._lock:
            there = self._open.get(instance)
        if there is not None and there[1] is take:
            take(data)


class LocalChannel:
    """One instance on such a bus; the port ``Channel``."""

    def __init__(self, bus: LocalBus, instance: str) -> None:
        self._bus = bus
        self._instance = instance

    @property
    def instance(self) -> str:
        """The name of this one."""
        return self._instance

    async def send(self, instance: str, data: bytes) -> bool:
        """Send to one instance; False: nobody is there to take it."""
        return self._bus.pass_on(instance, data)

    async def publish(self, data: bytes) -> None:
        """Send to all others that are there."""
        for name in self._bus.others(self._instance):
            self._bus.pass_on(name, data)

    @asynccontextmanager
    async def open(self, take: Take, *, back: Callable[[], None]) -> AsyncIterator[None]:
        """Take what comes, on the running loop, until the block ends."""
        self._bus.enter(self._instance, take)
        try:
            back()
            yield
        finally:
            self._bus.leave(self._instance)
