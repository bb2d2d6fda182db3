"""What is stopped everywhere within five seconds: known here from memory, asked of the database each second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from valetkey.errors import CouldNotTell, StoreUnavailable
from valetkey.model.caller import Caller
from valetkey.model.stops import Stop, StopKind
from valetkey.ports.messages import Wakeups
from valetkey.ports.stores import StopStore
from valetkey.ports.world import Clock, Home

LOOK_EVERY = 1.0
"""Seconds after which whoever asks has the database asked for changes."""

BOUND = 5.0
"""Seconds within which a change must be known; with a database that cannot be asked for as long, nobody is let on."""

AGAIN = LOOK_EVERY / 4
"""Seconds between two looks, while one is under way or the last one failed."""

TOPIC = "stops"

T = TypeVar("T")

_log = logging.getLogger("valetkey")


class Stops:
    """What is stopped, as far as this process knows.

    ``fresh`` first, then ``why``: between the two nothing is awaited.

    Args:
        home: where the database is asked, whichever loop wants to know; None: all use is on one loop.
    """

    def __init__(self, *, store: StopStore, clock: Clock, wakeups: Wakeups, home: Home | None = None) -> None:
        self._store = store
        self._clock = clock
        self._wakeups = wakeups
        self._home = home
        self._known: dict[tuple[StopKind, str], Stop] = {}
        self._revision = -1
        self._synced_at = float("-inf")
        self._look_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._syncing = asyncio.Lock()
        self.generation = 0
        """One more with every change seen: what was decided before it is to be decided anew."""

    async def fresh(self) -> None:
        """See to it that what is known is not older than the bound; nearly always at once.

        Raises:
            CouldNotTell: it is, and the database cannot be asked.
        """
        now = self._clock.monotonic()
        age = now - self._synced_at
        if now < self._look_at:
            if age > BOUND:
                raise _unknown()  # the last look failed a moment ago
            return
        if age < BOUND - LOOK_EVERY:
            self._look_at = now + AGAIN  # young enough: one begins to look, and nobody waits for it
            await self._begin()
            return
        try:
            await self._at_home(self._looked)
        except RuntimeError as error:  # the home loop has ended
            raise _unknown() from error
        if self._clock.monotonic() - self._synced_at > BOUND:
            raise _unknown()

    def why(self, kind: StopKind, target: str) -> Stop | None:
        """The stop of that; None: it is not stopped."""
        stop = self._known.get((kind, target))
        if stop is None or (stop.ends_at is not None and stop.ends_at <= self._clock.now()):
            return None
        return stop

    def against(self, caller: Caller) -> Stop | None:
        """The stop of a caller's user, of the user behind a program, or of their workspace."""
        if not self._known:
            return None
        user = caller.user
        names = {caller.owner.subject} if user is None else {user.id, user.get_effective_user_id()}
        stopped = [self.why(StopKind.USER, name) for name in names]
        stopped.append(self.why(StopKind.WORKSPACE, caller.owner.workspace))
        return next((stop for stop in stopped if stop is not None), None)

    async def active(self) -> Sequence[Stop]:
        """Users, tools and workspaces that are stopped, as the database has them.

        Raises:
            StoreUnavailable: it cannot be asked.
        """
        return await self._store.active(now=self._clock.now())

    async def put(self, stop: Stop) -> None:
        """Stop it, everywhere; here at once.

        Raises:
            StoreUnavailable: it could not be stopped.
        """
        await self._store.put(stop)
        await self.changed()

    async def lift(self, kind: StopKind, target: str) -> bool:
        """Stop it no more; False: it was not stopped.

        Raises:
            StoreUnavailable: it still is.
        """
        done = await self._store.lift(kind, target, now=self._clock.now())
        await self.changed()
        return done

    async def changed(self) -> None:
        """Something was just stopped in the database: see it here at once, and hint to the others."""
        self._wakeups.wake(TOPIC)
        try:
            await self._at_home(self._sync)
        except Exception as error:  # noqa: BLE001 - it is stopped; whoever asks next has to look first
            self._forget_when()
            _log.warning("what was just stopped could not be read again: %s", type(error).__name__)

    async def watch(self) -> None:
        """Look as soon as another instance hints; for the background, on the home loop. Ends by being cancelled."""
        async with self._wakeups.listen(TOPIC) as hints:
            while True:
                await hints.wait()
                await self._looked()

    async def _begin(self) -> None:
        if self._home is None:
            self._look_now()
            return
        try:
            self._home.spawn(self._looked)
        except RuntimeError:  # it has ended: what is known grows old, and then nobody is let on
            _log.warning("what is stopped could not be asked for: the home loop has ended")

    async def _at_home(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await (work() if self._home is None else self._home.run(work))

    async def _looked(self) -> None:
        """Have looked; all who wait share one look, and none waits longer than the bound."""
        await asyncio.wait([self._look_now()], timeout=BOUND)

    def _look_now(self) -> asyncio.Task[None]:
        looking = self._looking
        if looking is None:
            looking = self._looking = asyncio.create_task(self._look())
        return looking

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(BOUND):
                await self._sync()
        except Exception as error:  # noqa: BLE001 - whatever it is, what is known grows old, and then nobody is let on
            self._look_at = self._clock.monotonic() + AGAIN
            why = error.message if isinstance(error, StoreUnavailable) else type(error).__name__
            _log.warning("what is stopped could not be asked for: %s", why)
        finally:
            self._looking = None

    async def _sync(self) -> None:
        # One at a time: an answer that is older than another must not be applied after it.
        async with self._syncing:
            began = self._clock.monotonic()
            revision = await self._store.revision()
            if revision != self._revision:
                # A smaller one is another database than before, such as a copy that was put back: all is read anew.
                again = revision < self._revision
                changes = await self._store.since(0 if again else max(self._revision, 0))
                self._take(changes, again=again)
                self._revision = max([revision, *(stop.revision for stop in changes)])
                self.generation += 1
            self._synced_at = max(self._synced_at, began)
            self._look_at = began + LOOK_EVERY

    def _take(self, changes: Sequence[Stop], *, again: bool) -> None:
        known = {} if again else self._known
        for stop in changes:
            if stop.lifted:
                known.pop((stop.kind, stop.target), None)
            else:
                known[stop.kind, stop.target] = stop
        now = self._clock.now()
        self._known = {key: stop for key, stop in known.items() if stop.ends_at is None or stop.ends_at > now}

    def _forget_when(self) -> None:
        self._synced_at = self._look_at = float("-inf")


def _unknown() -> CouldNotTell:
    return CouldNotTell("Whether this is still allowed cannot be told now: the database does not answer. Try again.")
