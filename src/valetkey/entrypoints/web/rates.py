"""How many requests a second: a bucket for each address, and for each caller whose token is known."""

from __future__ import annotations

import math
from collections import OrderedDict

from valetkey.errors import RateLimited
from valetkey.ports.world import Clock

REMEMBERED = 50_000
"""Buckets at once; the one that was asked longest ago goes first, and is full when it comes again."""


class Buckets:
    """Token buckets of this process.

    Args:
        per_second: what a bucket is filled with each second.
        burst: what it holds.
    """

    def __init__(self, *, per_second: float, burst: int, clock: Clock) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str) -> None:
        """Take one out.

        Raises:
            RateLimited: the bucket is empty.
        """
        now = self._clock.monotonic()
        left, at = self._left.pop(who, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        taken = left >= 1
        self._left[who] = (left - 1 if taken else left, now)
        if len(self._left) > REMEMBERED:
            self._left.popitem(last=False)
        if not taken:
            seconds = max(1, math.ceil((1 - left) / self._per_second))
            raise RateLimited(f"Too many requests. Try again in {seconds} s.", retry_after=seconds)
