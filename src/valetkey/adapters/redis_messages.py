"""The same over Redis or Valkey: what one process does, the others hear. A hint may be lost, a count never resets."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from redis.asyncio import Redis

from valetkey.adapters.local_messages import LocalSubscription, LocalWakeups
from valetkey.adapters.redis_client import FAULTS, PREFIX, RedisClient
from valetkey.adapters.redis_rows import sought
from valetkey.adapters.redis_scripts import COUNT
from valetkey.adapters.shared_counters import SharedCounters, pause
from valetkey.errors import StoreUnavailable
from valetkey.ports.world import Clock, Home

MOST_PENDING = 4096
"""Topics that wait to be told; more are dropped: a hint may be lost."""

BATCH = 256
QUIET = 10.0
"""Seconds without a message after which we ask whether the other end is still there."""

_LAST_WORDS = 1.0

_log = logging.getLogger("valetkey")


class Background(Home, Protocol):
    """A home loop that takes work nobody waits for."""

    def spawn(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run in the background until done or closed."""
        ...


class _Process:
    """What one process has; a fork begins anew."""

    def __init__(self) -> None:
        self.local = LocalWakeups()
        self.lock = threading.Lock()
        self.pending: dict[str, None] = {}  # a set that keeps its order
        self.loop: asyncio.AbstractEventLoop | None = None
        self.work = asyncio.Event()
        self.relaying = False
        self.relay: asyncio.Task[Any] | None = None
        self.telling = False
        self.failures: dict[str, int] = {}  # in a row, of what cannot be done now


class RedisWakeups:
    """Hints within this process at once, and to all others on the same database.

    While the server is away, hints go on within each process. Whoever reconnects wakes all who listen, for what was
    missed. Messages hold topics only: ids, no secret.

    Args:
        client: the server.
        home: the loop that relays.
        clock: waits between attempts to reconnect.
        source: what this program's own messages are told by; differs between all processes.
    """

    def __init__(self, client: RedisClient, *, home: Background, clock: Clock, source: str) -> None:
        self._client = client
        self._home = home
        self._clock = clock
        self._source = source
        self._channel = f"{PREFIX}wake:{client.database}"
        self._processes: dict[int, _Process] = {}

    def wake(self, topic: str) -> None:
        """Wake all who listen to the topic; from any thread, never blocks."""
        here = self._here()
        here.local.wake(topic)
        with here.lock:
            if len(here.pending) >= MOST_PENDING:
                return
            first = not here.pending
            here.pending[topic] = None
            loop = here.loop
        self._begin(here)
        if first and loop is not None:
            with suppress(RuntimeError):  # that loop has ended: the next one looks by itself
                loop.call_soon_threadsafe(here.work.set)

    @asynccontextmanager
    async def listen(self, topic: str) -> AsyncIterator[LocalSubscription]:
        """Listen on the running loop until the block ends."""
        here = self._here()
        async with here.local.listen(topic) as subscription:
            self._begin(here)  # now: it wakes whoever listens once it stands
            yield subscription

    def close(self) -> None:
        """Tell what is still to be told, for a moment, and leave. A later use begins anew."""
        here = self._here()
        with here.lock:
            relaying = here.relaying
        if relaying:
            self._home.block(lambda: self._end(here))

    async def _end(self, here: _Process) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                while (here.pending or here.telling) and not here.failures:  # noqa: ASYNC110 - for a moment, once
                    await asyncio.sleep(0.005)
        if here.relay is not None:
            here.relay.cancel()
            await asyncio.wait([here.relay])

    def _here(self) -> _Process:
        return self._processes.get(os.getpid()) or self._processes.setdefault(os.getpid(), _Process())

    def _begin(self, here: _Process) -> None:
        with here.lock:
            if here.relaying:
                return
            here.relaying = True
        try:
            self._home.spawn(lambda: self._relay(here))
        except RuntimeError:  # closing
            here.relaying = False

    async def _relay(self, here: _Process) -> None:
        with here.lock:
            here.work = asyncio.Event()
            here.loop, here.relay = asyncio.get_running_loop(), asyncio.current_task()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep(here, "publish", self._publish))
                group.create_task(self._keep(here, "subscribe", self._subscribe))
        finally:
            with here.lock:
                here.loop = here.relay = None
                here.relaying = False

    async def _keep(self, here: _Process, name: str, work: Callable[[_Process], Coroutine[Any, Any, None]]) -> None:
        """Do the work for ever, with longer and longer pauses while it fails."""
        while True:
            try:
                await work(here)
            except StoreUnavailable as error:
                if not here.failures:
                    _log.warning("%s Until then, processes do not hear of each other's changes at once.", error)
                failures = here.failures[name] = here.failures.get(name, 0) + 1
            # Not all processes come back at the same moment.
            share = 1 + os.getpid() % 16 / 16
            await self._clock.sleep(share * pause(failures))

    def _works(self, here: _Process) -> None:
        if here.failures:
            here.failures.clear()
            _log.warning("The %s is back.", self._client.name)

    async def _publish(self, here: _Process) -> None:
        while True:
            while topics := self._taken(here):
                message = json.dumps({"from": self._name(), "topics": topics})

                async def tell(redis: Redis, message: str = message) -> None:
                    await redis.publish(self._channel, message)

                try:
                    await self._client.use(tell)
                finally:
                    here.telling = False
                self._works(here)
            await here.work.wait()
            here.work.clear()

    def _taken(self, here: _Process) -> list[str]:
        with here.lock:
            topics = list(here.pending)[:BATCH]
            for topic in topics:
                del here.pending[topic]
            here.telling = bool(topics)
        return topics

    async def _subscribe(self, here: _Process) -> None:
        subscription = self._client.here().pubsub()
        try:
            async with asyncio.timeout(QUIET):
                await subscription.subscribe(self._channel)
            while True:
                message = await subscription.get_message(timeout=QUIET)
                if message is None:
                    await subscription.ping()
                    message = await subscription.get_message(timeout=QUIET)
                    if message is None:
                        raise self._client.unavailable(TimeoutError())
                self._heard(here, message)
        except FAULTS as error:
            raise self._client.unavailable(error) from None
        finally:
            with suppress(*FAULTS):
                await subscription.aclose()  # type: ignore[no-untyped-call]

    def _heard(self, here: _Process, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._works(here)
            here.local.wake_all()  # for what was said before we listened
        elif message["type"] == "message":
            # What is no message of ours, or of a newer version that says it otherwise, is passed over.
            with suppress(ValueError, TypeError, KeyError, RecursionError):
                told = json.loads(message["data"])
                if told["from"] != self._name():
                    for topic in told["topics"]:
                        here.local.wake(str(topic))

    def _name(self) -> str:
        return f"{self._source}-{os.getpid()}"


class RedisCounters(SharedCounters):
    """Counts shared by all processes over a server.

    Args:
        client: the server; one use takes no longer than a caller can wait.
        clock: tells periods, and when the server is asked again.
        deadline: seconds that a caller waits for the server.
    """

    def __init__(self, client: RedisClient, *, clock: Clock, deadline: float = 0.2) -> None:
        super().__init__(clock=clock, deadline=deadline)
        self._client = client

    async def shared(self, key: str, amount: int, period: float) -> tuple[int, float]:
        """Count for everybody: the sum, and the seconds that are left of its period.

        Raises:
            StoreUnavailable: the server cannot be reached.
        """
        values = (sought(key), str(amount), str(max(1, round(period * 1000))))
        total, left = await self._client.run(COUNT, *values, deadline=self._deadline)
        return int(total), left / 1000

    def late(self) -> StoreUnavailable:
        """What is told where no answer came in time."""
        return self._client.unavailable(TimeoutError())
