"""Whether another instance lives under a name: asked before the first word, which would push the other one aside."""

from __future__ import annotations

import asyncio
from collections import Counter

from valetkey.errors import KeyUnavailable
from valetkey.ports.messages import Channel
from valetkey.ports.world import Clock
from valetkey.services import packing
from valetkey.services.mesh import BEAT
from valetkey.services.settling import PATIENCE
from valetkey.vault.keyring import Keyring
from valetkey.vault.wire import ALL, End, NotOurs, Wire

_LISTENS = 1.5 * BEAT  # for a first sign of life
_MAKES_SURE = 2.5 * BEAT  # for another one: whoever was killed just now gives none
_ALIVE = 2  # signs of one life


class Listener:
    """Hears who is there, and says nothing.

    Args:
        name: the instance's that is to be started.
    """

    def __init__(self, *, channel: Channel, keyring: Keyring, clock: Clock, name: str) -> None:
        self._channel = channel
        self._wire = Wire(keyring, here=End(channel.instance, ""))
        self._clock = clock
        self._name = name
        self._there = asyncio.Event()
        self._heard: Counter[End] = Counter()

    async def hears_one(self) -> bool:
        """Whether somebody lives under that name; False, too, where the others cannot be heard."""
        async with self._channel.open(self._hear, back=self._there.set):
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._there.wait()
            except TimeoutError:
                return False
            await self._clock.sleep(_LISTENS)
            if self._heard:
                await self._clock.sleep(_MAKES_SURE)
        return any(count >= _ALIVE for count in self._heard.values())

    def _hear(self, data: bytes) -> None:
        try:
            said = self._wire.open(data)
            if said.to != ALL:
                return
            kind, *rest = packing.unpack(said.plain)
        except (NotOurs, KeyUnavailable, TypeError, ValueError):
            return
        if kind == "bye":
            del self._heard[said.sender]
        elif kind == "beat" and rest[:1] == [self._name]:
            self._heard[said.sender] += 1
