"""A recorder that keeps the events, for a test to look at."""

from __future__ import annotations

import threading
from typing import TypeVar

from valetkey.model.events import Event

E = TypeVar("E")


class KeepingRecorder:
    """Fits wherever Valetkey takes a recorder of metrics; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[Event] = []

    def record(self, event: Event) -> None:
        """Keep one."""
        with self._lock:
            self._events.append(event)

    @property
    def events(self) -> tuple[Event, ...]:
        """All events so far, in their order."""
        with self._lock:
            return tuple(self._events)

    def of(self, kind: type[E]) -> tuple[E, ...]:
        """Those of one kind."""
        return tuple(event for event in self.events if isinstance(event, kind))

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._events.clear()
