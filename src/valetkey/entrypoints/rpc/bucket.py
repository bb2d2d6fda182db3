"""How often one client may send."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from valetkey.ports.world import Clock
    from valetkey.settings.sections import Rate


class Bucket:
    """How often one client may send: it is read no faster, and TCP tells it so."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._clock = clock
        self._rate = rate
        self._left, self._at = float(rate.burst), clock.monotonic()

    async def take(self) -> None:
        """Return when one more may come."""
        now = self._clock.monotonic()
        self._left = min(float(self._rate.burst), self._left + (now - self._at) * self._rate.per_second) - 1
        self._at = now
        if self._left < 0:
            await self._clock.sleep(-self._left / self._rate.per_second)
