"""Events to the recorders of metrics, of which none harms another or the caller; and what is counted when asked for."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from valetkey.adapters.kept import Kept
from valetkey.model.audit import Action
from valetkey.model.connections import Health
from valetkey.model.events import BreakerMoved, Event
from valetkey.ports.messages import Recorder
from valetkey.ports.world import Clock, Home

T = TypeVar("T")

OTHER = "other"
"""The label of what is in no list of ours: names from elsewhere must not make new series."""

PARTS = frozenset({"connection", "interaction", "revocation", "client", "journal"})
"""What can be unreadable."""

ACTIONS = frozenset(action.value for action in Action)
"""What the audit log records."""

OUTCOMES = frozenset({"ok", "denied", "asked", "refused", "failed", "could_not_tell", "rate_limited"})
"""How it ended, for the metrics; the audit log has more words."""

SUSPECTS = frozenset({"subject", "address"})
"""Of whom there can be too many failures."""

WAITING = 1000
"""Events that wait for one recorder; further ones are dropped, and counted."""

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Of the durations, in seconds: the last one is the lease of a refresh."""

_BREAKERS = 1000
_log = logging.getLogger("valetkey")


class Labels:
    """Label values, of which there are only so many.

    Args:
        providers: the catalogue's; every other one is ``other``.
    """

    def __init__(self, providers: frozenset[str]) -> None:
        self._providers = providers

    def provider(self, name: str) -> str:
        """The label of a provider."""
        return name if name in self._providers else OTHER

    def part(self, name: str) -> str:
        """The label of what could not be read."""
        return name if name in PARTS else OTHER

    def action(self, name: str) -> str:
        """The label of what was done."""
        return name if name in ACTIONS else OTHER

    def outcome(self, name: str) -> str:
        """The label of how it ended."""
        return name if name in OUTCOMES else OTHER

    def suspect(self, name: str) -> str:
        """The label of whom there were too many failures of."""
        return name if name in SUSPECTS else OTHER


class Paused:
    """Where refreshes are paused, for one recorder."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._names: dict[str, set[str]] = {}

    def move(self, event: BreakerMoved) -> tuple[str, int]:
        """The provider's label, and how many providers of that label are paused by now."""
        label = self._labels.provider(event.provider)
        names = self._names.setdefault(label, set())
        if not event.open:
            names.discard(event.provider)
        elif len(names) < _BREAKERS:
            names.add(event.provider)
        return label, len(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was counted; None: it could not be.

    Attributes:
        connections: how many, by the provider's label and health.
        journal: entries that wait for the database.
    """

    connections: Mapping[tuple[str, str], int] | None = None
    journal: int | None = None


class Observer:
    """Counts connections and journal entries when somebody looks, and not more often than every 15 seconds.

    Args:
        census: as ``ConnectionStore.census``.
        waiting: how many entries the journal has; None: there is no journal.
        deadline: seconds that each may take.
    """

    def __init__(
        self,
        *,
        census: Callable[[], Awaitable[Mapping[tuple[str, Health], int]]],
        waiting: Callable[[], Awaitable[int]] | None,
        labels: Labels,
        home: Home,
        clock: Clock,
        seconds: float = 15.0,
        deadline: float = 1.0,
    ) -> None:
        self._census = census
        self._waiting = waiting
        self._labels = labels
        self._deadline = deadline
        self._closed = False
        self._kept: Kept[Seen] = Kept(self._count, home=home, clock=clock, seconds=seconds)

    async def look(self) -> Seen:
        """Count; from any loop."""
        return Seen() if self._closed else await self._kept.get()

    def glance(self) -> Seen:
        """Count, from a thread that has no loop; one that has gets the last count, since it must not wait."""
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            return self._kept.last() or Seen()
        try:
            return asyncio.run(self._glance())
        except Exception:  # noqa: BLE001 - the home is busy or closed; whoever collects metrics is told by a gap
            return Seen()

    async def _glance(self) -> Seen:
        async with asyncio.timeout(3 * self._deadline):
            return await self.look()

    def close(self) -> None:
        """Count no more: what is closed is not opened again by somebody who looks."""
        self._closed = True

    async def _count(self) -> Seen:
        counted, journal = await asyncio.gather(
            self._within(self._census), self._within(self._waiting) if self._waiting else _nothing()
        )
        if counted is None:
            return Seen(journal=journal)
        connections: dict[tuple[str, str], int] = {}
        for (provider, health), count in counted.items():
            label = self._labels.provider(provider), Health(health).value
            connections[label] = connections.get(label, 0) + count
        return Seen(connections=connections, journal=journal)

    async def _within(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        try:
            async with asyncio.timeout(self._deadline):
                return await ask()
        except Exception as error:  # noqa: BLE001 - a part that is down leaves a gap in the metrics, and no more
            _log.debug("a part could not be counted: %s", type(error).__name__)
            return None


async def _nothing() -> None:
    return None


class Recorders:
    """Hands each event to every recorder, each in a thread of its own behind a bounded queue.

    One that raises or blocks harms neither the others nor the caller; it is logged once. Without a recorder it
    does nothing.

    Attributes:
        exposition: what a scrape by Prometheus gets; None where nobody writes it.
    """

    def __init__(self, *, limit: int = WAITING) -> None:
        self._limit = limit
        self._lanes: dict[str, _Lane] = {}
        self._closers: list[Callable[[], None]] = []
        self.exposition: Callable[[], Awaitable[bytes]] | None = None

    def add(self, name: str, recorder: Recorder, *, close: Callable[[], None] | None = None) -> None:
        """Hand events to this one, too."""
        self._lanes[name] = _Lane(name, recorder, self._limit)
        if close is not None:
            self._closers.append(close)

    def record(self, event: Event) -> None:
        """Take one; from any thread, never blocks, never raises."""
        for lane in self._lanes.values():
            lane.put(event)

    def dropped(self) -> Mapping[str, int]:
        """How many events each recorder did not get, by its name."""
        return {name: lane.dropped for name, lane in self._lanes.items()}

    def close(self, *, wait: float = 2.0) -> None:
        """Hand over what waits, for at most so many seconds for each recorder, and take no more."""
        lanes = tuple(self._lanes.values())
        for lane in lanes:
            lane.end()
        for lane in lanes:
            lane.join(wait)
        for close in self._closers:
            close()


class _Lane:
    """One recorder, its queue, and the thread that begins with the first event."""

    def __init__(self, name: str, recorder: Recorder, limit: int) -> None:
        self.dropped = 0
        self._name = name
        self._recorder = recorder
        self._events: queue.Queue[Event | None] = queue.Queue(limit)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._told: set[str] = set()

    def put(self, event: Event) -> None:
        try:
            if self._ended:
                return
            self._events.put_nowait(event)
            if self._thread is None:
                self._start()
        except queue.Full:
            with self._lock:
                self.dropped += 1
            self._tell("is slow", "does not keep up: events are dropped")
        except RuntimeError:  # no more threads: the events wait, and the next one tries again
            self._tell("has no thread", "waits: the system gives no more threads")

    def end(self) -> None:
        self._ended = True
        with suppress(queue.Full):
            self._events.put_nowait(None)

    def join(self, wait: float) -> None:
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(wait)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"valetkey-metrics-{self._name}", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._recorder.record(event)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the next event is not to blame
                self._tell("fails", f"failed with {type(error).__name__}")
            if self._ended and self._events.empty():
                return  # the queue was too full to be told of the end

    def _tell(self, kind: str, text: str) -> None:
        with self._lock:
            known = kind in self._told
            self._told.add(kind)
        if not known:
            _log.warning("The recorder of metrics %s %s. This is said once.", self._name, text)
