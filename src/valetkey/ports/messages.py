"""Messages between those who wait and those who answer, and what is told to whoever watches.

Wakeups: a hint, never the truth. Counters: limits. Channel: between instances. Recorder: the metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from valetkey.model.events import Event


class Subscription(Protocol):
    """One listener on one topic, on the loop that subscribed."""

    async def wait(self) -> None:
        """Return at the next hint, at once where one came since the last call; hints may be spurious or lost."""
        ...


class Wakeups(Protocol):
    """Hints that a row changed. Whoever wakes reads the row."""

    def wake(self, topic: str) -> None:
        """Wake all who wait for the topic; from any thread, never blocks."""
        ...

    def listen(self, topic: str) -> AbstractAsyncContextManager[Subscription]:
        """Listen on the running loop."""
        ...


class Counters(Protocol):
    """Counts within a period, for limits; shared by all processes where the bus is."""

    async def add(self, key: str, amount: int = 1, *, period: float) -> int:
        """Count, and give the sum of the present period: the first count of a key begins one of that many seconds.

        An amount of 0 only looks, and begins no period.

        Never raises because of the bus: while it cannot be reached, this process counts by itself.
        """
        ...

    def left(self, key: str) -> float | None:
        """Seconds until the present period of a key ends, as ``add`` saw it last; None: nothing is counted here."""
        ...


class Channel(Protocol):
    """Messages between the instances of one server, each at most once, and in the order of their sending.

    They come from and go to whoever is on the same bus: what they hold is to be sealed.
    """

    @property
    def instance(self) -> str:
        """The name of this one; no other has it."""
        ...

    async def send(self, instance: str, data: bytes) -> bool:
        """Send to one instance; False: nobody is there to take it.

        Raises:
            StoreUnavailable: the bus cannot be reached; it may have been sent.
        """
        ...

    async def publish(self, data: bytes) -> None:
        """Send to all others that are there.

        Raises:
            StoreUnavailable: the bus cannot be reached; it may have been sent.
        """
        ...

    def open(self, take: Callable[[bytes], None], *, back: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Take what comes, on the running loop, until the block ends.

        Args:
            take: called with each message of another instance.
            back: called whenever the bus can be heard, the first time too: what was sent before may be lost.
        """
        ...


class Recorder(Protocol):
    """Takes events; from any thread, never blocks, never raises."""

    def record(self, event: Event) -> None:
        """Take one."""
        ...
