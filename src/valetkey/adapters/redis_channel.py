"""A bus between instances over Redis or Valkey: each message at most once, and in the order of its sending."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from redis.asyncio import Redis

from valetkey.adapters.redis_client import FAULTS, PREFIX, RedisClient
from valetkey.adapters.shared_counters import pause
from valetkey.errors import StoreUnavailable
from valetkey.ports.world import Clock

QUIET = 2.0
"""Seconds without a message after which we ask whether the other end is still there."""

_log = logging.getLogger("valetkey.services")


class RedisChannel:
    """One instance on a server's channels; the port ``Channel``. After a fork, the child is another instance.

    Args:
        client: the server.
        clock: waits between attempts to reconnect.
        name: what this program's messages are told by; differs between all programs.
    """

    def __init__(self, client: RedisClient, *, clock: Clock, name: str) -> None:
        self._client = client
        self._clock = clock
        self._name = name
        self._all = f"{PREFIX}mesh:{client.database}"

    @property
    def instance(self) -> str:
        """The name of this one."""
        return f"{self._name}-{os.getpid()}"

    async def send(self, instance: str, data: bytes) -> bool:
        """Send to one instance; False: nobody is there to take it.

        Raises:
            StoreUnavailable: the server cannot be reached; it may have been sent.
        """
        return await self._publish(self._of(instance), data) > 0

    async def publish(self, data: bytes) -> None:
        """Send to all others that are there.

        Raises:
            StoreUnavailable: the server cannot be reached; it may have been sent.
        """
        await self._publish(self._all, data)

    @asynccontextmanager
    async def open(self, take: Callable[[bytes], None], *, back: Callable[[], None]) -> AsyncIterator[None]:
        """Take what comes, on the running loop, which is the home loop, until the block ends."""
        listening = asyncio.create_task(self._keep(take, back), name="valetkey-channel")
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _publish(self, channel: str, data: bytes) -> int:
        name = self.instance.encode()
        message = bytes((len(name),)) + name + data

        async def tell(redis: Redis) -> int:
            return int(await redis.publish(channel, message))

        return await self._client.use(tell)

    async def _keep(self, take: Callable[[bytes], None], back: Callable[[], None]) -> None:
        """Listen for ever, with longer and longer pauses while that fails."""
        failures = 0

        def begun() -> None:
            nonlocal failures
            if failures:
                _log.warning("The %s is back.", self._client.name)
            failures = 0
            back()

        while True:
            try:
                await self._listen(take, begun)
            except StoreUnavailable as error:
                if not failures:
                    _log.warning("%s Until then, instances do not hear of each other's clients.", error)
                failures += 1
            share = 1 + os.getpid() % 16 / 16  # not all come back at the same moment
            await self._clock.sleep(share * pause(failures))

    async def _listen(self, take: Callable[[bytes], None], begun: Callable[[], None]) -> None:
        channels = (self._all, self._of(self.instance))
        own = bytes((len(self.instance),)) + self.instance.encode()
        subscription = self._client.here().pubsub()
        try:
            async with asyncio.timeout(QUIET):
                await subscription.subscribe(*channels)
            left = len(channels)
            while True:
                message = await subscription.get_message(timeout=QUIET)
                if message is None:
                    await subscription.ping()
                    message = await subscription.get_message(timeout=QUIET)
                    if message is None:
                        raise self._client.unavailable(TimeoutError())
                if message["type"] == "subscribe":
                    left -= 1
                    if not left:
                        begun()
                elif message["type"] == "message" and not message["data"].startswith(own):
                    data = message["data"]
                    take(data[1 + data[0] :] if data else data)
        except FAULTS as error:
            raise self._client.unavailable(error) from None
        finally:
            with suppress(*FAULTS):
                await subscription.aclose()  # type: ignore[no-untyped-call]

    def _of(self, instance: str) -> str:
        return f"{self._all}:{instance}"
