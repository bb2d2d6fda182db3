"""Messages between those who wait and those who answer. Wakeups: a hint, never the truth."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol


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
