"""What runs by itself, one leader each: refresh ahead, revoke upstream, re-seal, sweep; and bring the journal home."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from valetkey.connections.finder import Finder, known
from valetkey.connections.pace import fraction
from valetkey.connections.refresh import Refresher
from valetkey.connections.revoke import Revoker
from valetkey.connections.rotations import Rotations
from valetkey.errors import InvalidSetting, KeyUnavailable, ProviderUnavailable, StoreUnavailable, ValetkeyError
from valetkey.interactions.states import WAITING
from valetkey.model.connections import Connection
from valetkey.model.events import Swept
from valetkey.model.interactions import Interaction, InteractionKind
from valetkey.ports.messages import Recorder
from valetkey.ports.stores import InteractionStore
from valetkey.ports.world import Clock, Entropy
from valetkey.wiring.stores import Stores

TTL = 60.0
"""Seconds that a leader leads without being heard of; longer than any single piece of its work."""

BATCH = 100
"""Connections that are refreshed ahead in one go."""

WINDOW = 1000
"""Connections that are read in one go; those of a provider that does not answer stay due, and are read again."""

LEFT_OUT = 10_000
"""Connections, as they are now, that are remembered as another program's to refresh."""

FORGOTTEN = 3600.0
"""Seconds after which they are looked at again: settings may have changed."""

KEPT = 86_400.0
"""Seconds that an ended question, token or stop stays, for whoever asks how it ended."""

UNSETTLED = 7 * 86_400.0
"""Seconds after which an answer that nobody came back for is removed."""

_PASSING = (ProviderUnavailable, StoreUnavailable, InvalidSetting, KeyUnavailable)
"""What the row says itself, with the time of the next try, or what is over in a moment."""

_log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of upkeep.

    Attributes:
        name: by which it is led.
        every: seconds between two rounds, jitter apart.
        work: one round; how much it did.
        led: whether only one process does it.
    """

    name: str
    every: float
    work: Callable[[], Awaitable[int]]
    led: bool = True


class Upkeep:
    """Runs on the home loop as long as the system lives. What fails is logged, and tried again at its next round."""

    def __init__(
        self,
        *,
        stores: Stores,
        finder: Finder,
        refresher: Refresher,
        rotations: Rotations,
        revoker: Revoker,
        reseal: Callable[[], Awaitable[int]],
        follow: Callable[[Interaction], None],
        clock: Clock,
        entropy: Entropy,
        recorder: Recorder,
    ) -> None:
        self._stores = stores
        self._finder = finder
        self._refresher = refresher
        self._follow = follow
        self._clock = clock
        self._entropy = entropy
        self._recorder = recorder
        self._me = entropy.token(12)
        self._left_out: set[tuple[str, int]] = set()
        self._leading: set[str] = set()
        self._forget_at = clock.monotonic() + FORGOTTEN
        self.jobs = (
            Job(name="journal", every=5, work=rotations.replay, led=False),
            Job(name="refresh", every=15, work=self.refresh_ahead),
            Job(name="revoke", every=30, work=revoker.catch_up),
            Job(name="reseal", every=60, work=reseal, led=False),  # the walk itself has a leader
            Job(name="devices", every=60, work=self.follow_devices),
            Job(name="sweep", every=600, work=self.sweep),
        )

    async def run(self) -> None:
        """Do all of it until cancelled; then let others lead."""
        try:
            async with asyncio.TaskGroup() as group:
                for job in self.jobs:
                    group.create_task(self._repeat(job))
        finally:
            await self._resign()

    async def round(self, job: Job) -> int:
        """One round, where this process may do it; how much was done.

        Raises:
            ValetkeyError: it could not be done now.
        """
        if job.led and not await self._lead(job.name):
            return 0
        return await job.work()

    async def _lead(self, name: str) -> bool:
        leads = await self._stores.leaders.lead(name, owner=self._me, ttl=TTL)
        (self._leading.add if leads else self._leading.discard)(name)
        return leads

    async def refresh_ahead(self) -> int:
        """Refresh what is in its soft window, so that no call has to wait for it."""
        if self._clock.monotonic() >= self._forget_at:
            self._left_out.clear()
            self._forget_at = self._clock.monotonic() + FORGOTTEN
        done = 0
        tried: set[tuple[str, int]] = set()
        while True:
            limit = WINDOW + len(self._left_out)
            due = await self._stores.connections.due(now=self._clock.now(), limit=limit)
            apart = self._left_out | tried
            ours = [row for row in due if (row.id, row.generation) not in apart]
            tried.update((row.id, row.generation) for row in ours)
            renewed = 0
            for start in range(0, len(ours), BATCH):
                renewed += sum(await asyncio.gather(*(self._refresh(row) for row in ours[start : start + BATCH])))
                if not await self._lead("refresh"):
                    return done + renewed
            done += renewed
            if not renewed or len(due) < limit:
                return done

    async def follow_devices(self) -> int:
        """Fetch the answers that no browser brings, of flows whose own process has ended; how many are waited for."""
        followed, after = 0, ""
        while page := await self._stores.interactions.page(after=after):
            for row in page:
                if row.kind is InteractionKind.CONNECT and row.phase in WAITING and "device" in row.about:
                    self._follow(row)
                    followed += 1
            after = page[-1].id
        return followed

    async def sweep(self) -> int:
        """Remove questions that ended, answers that nobody came back for, and tokens, stops and counts that ended."""
        now = self._clock.now()
        stores = self._stores
        interactions: InteractionStore = stores.interactions
        rows = await interactions.sweep(before=now - KEPT, unsettled_before=now - UNSETTLED)
        if stores.identity_opened():
            rows += await stores.tokens.sweep(before=now - KEPT)
            rows += await stores.stops.sweep(before=now - KEPT)
            rows += await stores.counters.sweep(before=now - KEPT)
        if rows:
            self._recorder.record(Swept(rows=rows))
        return rows

    async def _refresh(self, connection: Connection) -> bool:
        handler = known(self._finder, connection.handler, connection.provider)
        if handler is None or not handler.at_home:
            # Another program's own handler: it refreshes when it is asked for.
            self._leave_out(connection)
            return False
        try:
            newer = await self._refresher.fresh(connection, handler)
        except ValetkeyError as error:
            if not isinstance(error, _PASSING):
                # Not this program's: it cannot be opened here, was issued to another client, or lacks settings.
                self._leave_out(connection)
            _log.info("connection %s was not refreshed ahead: %s", connection.id, error)
            return False
        return newer.generation != connection.generation

    def _leave_out(self, connection: Connection) -> None:
        if len(self._left_out) >= LEFT_OUT:
            self._left_out.clear()
        self._left_out.add((connection.id, connection.generation))

    async def _repeat(self, job: Job) -> None:
        # Processes that start together do not come together.
        await self._clock.sleep(job.every * fraction(self._entropy))
        while True:
            try:
                await self.round(job)
            except ValetkeyError as error:
                _log.info("upkeep (%s) goes on later: %s", job.name, error)
            except Exception as error:  # noqa: BLE001 - one job must not end the others
                _log.error("upkeep (%s) failed with %s, and goes on later", job.name, type(error).__name__)
            await self._clock.sleep(job.every * (0.9 + 0.2 * fraction(self._entropy)))

    async def _resign(self) -> None:
        for name in self._leading:
            try:
                await self._stores.leaders.resign(name, owner=self._me)
            except ValetkeyError:
                return  # it ends by itself
