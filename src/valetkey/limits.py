"""How often: one table of limits, counted per user and address."""

from __future__ import annotations

import math
from dataclasses import dataclass

from valetkey.errors import RateLimited
from valetkey.ports.messages import Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many in a period.

    Attributes:
        name: what is counted; the key's beginning.
        most: how many are let on.
        period: seconds.
        text: what is told to whoever has had them.
    """

    name: str
    most: int
    period: float
    text: str


FAILED_LOGINS_OF_ACCOUNT = Limit(
    name="login-account", most=10, period=300, text="Too many failed sign-ins for this account."
)
FAILED_LOGINS_FROM_ADDRESS = Limit(
    name="login-address", most=30, period=300, text="Too many failed sign-ins from this address."
)
BAD_KEYS_FROM_ADDRESS = Limit(
    name="bad-key", most=100, period=60, text="Too many bad tokens or keys from this address."
)
LOGIN_STARTS_FROM_ADDRESS = Limit(
    name="login-start", most=60, period=60, text="Too many sign-ins were begun from this address."
)
SUSPICIOUS = Limit(name="suspicious", most=20, period=300, text="Too many failures.")


class Limits:
    """Counts against the table."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def count(self, limit: Limit, who: str) -> int:
        """Count one, and give how many there are in the present period."""
        return await self._counters.add(f"limit:{limit.name}:{who}", period=limit.period)

    async def take(self, limit: Limit, who: str) -> None:
        """Count one.

        Raises:
            RateLimited: it is one too many.
        """
        self.judge(limit, await self.count(limit, who))

    async def look(self, limit: Limit, who: str) -> None:
        """Count none.

        Raises:
            RateLimited: as many as are let on were counted already.
        """
        count = await self._counters.add(f"limit:{limit.name}:{who}", 0, period=limit.period)
        if count >= limit.most:
            raise refusal(limit)

    @staticmethod
    def judge(limit: Limit, count: int) -> None:
        """Raise where the count is over the limit.

        Raises:
            RateLimited: it is.
        """
        if count > limit.most:
            raise refusal(limit)


def refusal(limit: Limit) -> RateLimited:
    """What whoever is over the limit is told."""
    seconds = math.ceil(limit.period)
    return RateLimited(f"{limit.text} Try again in {seconds} s.", retry_after=seconds)
