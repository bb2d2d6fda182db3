"""What is stopped everywhere within five seconds: known here from memory, asked of the database each second."""

from __future__ import annotations

import asyncio
import logging

from valetkey.errors import CouldNotTell, StoreUnavailable
from valetkey.model.stops import Stop, StopKind
from valetkey.ports.messages import Wakeups
from valetkey.ports.stores import StopStore
from valetkey.ports.world import Clock

LOOK_EVERY = 1.0
"""Seconds after which whoever asks has the database asked for changes."""

BOUND = 5.0
"""Seconds within which a change must be known; with a database that cannot be asked for as long, nobody is let on."""

TOPIC = "stops"

_log = logging.getLogger("valetkey")


class Stops:
    """What is stopped, as far as this process knows; for use on the home loop.

    ``fresh`` first, then ``why``: between the two nothing is awaited.
    """

    def __init__(self, *, store: StopStore, clock: Clock, wakeups: Wakeups) -> None:
        self._store = store
        self._clock = clock
        self._wakeups = wakeups
        self._known: dict[tuple[StopKind, str], Stop] = {}
        self._revision = -1
        self._synced_at = float("-inf")
        self._look_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self.generation = 0
        """One more with every change seen: what was decided before it is to be decided anew."""

    async def fresh(self) -> None:
        """See to it that what is known is not older than the bound; nearly always at once.

        Raises:
            CouldNotTell: it is, and the database cannot be asked.
        """
        if self._clock.monotonic() < self._look_at:
            return
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        looking = self._looking
        if self._clock.monotonic() - self._synced_at < BOUND - LOOK_EVERY:
            return  # young enough: nobody waits for the look that is under way
        await asyncio.shield(looking)
        if self._clock.monotonic() - self._synced_at > BOUND:
            raise CouldNotTell("Whether this is still allowed cannot be told now: the database does not answer.")

    def why(self, kind: StopKind, target: str) -> Stop | None:
        """The stop of that; None: it is not stopped."""
        stop = self._known.get((kind, target))
        if stop is None or (stop.ends_at is not None and stop.ends_at <= self._clock.now()):
            return None
        return stop

    async def put(self, stop: Stop) -> None:
        """Stop it, everywhere; here at once."""
        await self._store.put(stop)
        await self.changed()

    async def lift(self, kind: StopKind, target: str) -> bool:
        """Stop it no more; False: it was not stopped."""
        done = await self._store.lift(kind, target, now=self._clock.now())
        await self.changed()
        return done

    async def changed(self) -> None:
        """Something was just stopped in the database: see it here at once, and hint to the others."""
        self._wakeups.wake(TOPIC)
        await self._sync()

    async def _look(self) -> None:
        try:
            await self._sync()
        except StoreUnavailable as error:
            self._look_at = self._clock.monotonic() + LOOK_EVERY / 4
            _log.warning("what is stopped could not be asked for: %s", error)
        finally:
            self._looking = None

    async def _sync(self) -> None:
        began = self._clock.monotonic()
        revision = await self._store.revision()
        if revision != self._revision:
            changes = await self._store.since(max(self._revision, 0))
            for stop in changes:
                if stop.lifted:
                    self._known.pop((stop.kind, stop.target), None)
                else:
                    self._known[stop.kind, stop.target] = stop
            self._forget_ended()
            self._revision = max([revision, self._revision, *(stop.revision for stop in changes)])
            self.generation += 1
        self._synced_at = max(self._synced_at, began)
        self._look_at = began + LOOK_EVERY

    def _forget_ended(self) -> None:
        now = self._clock.now()
        for key in [key for key, stop in self._known.items() if stop.ends_at is not None and stop.ends_at <= now]:
            del self._known[key]
