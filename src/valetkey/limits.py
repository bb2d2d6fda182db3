"""How often: one table of limits, counted per user and address."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from valetkey.errors import RateLimited
from valetkey.model.hosts import visitor_of
from valetkey.ports.messages import Counters

LONGEST = 128
"""Characters of a name that is counted by itself; a longer one by its hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many in a period.

    Attributes:
        name: what is counted; the key's beginning.
        most: how many are let on.
        period: seconds.
        text: what is told to whoever has had them.
        by_address: whether ``who`` is an address: those of one visitor are counted together.
    """

    name: str
    most: int
    period: float
    text: str
    by_address: bool = False


FAILED_LOGINS_OF_ACCOUNT = Limit(
    name="login-account", most=10, period=300, text="Too many failed sign-ins for this account."
)
FAILED_LOGINS_FROM_ADDRESS = Limit(
    name="login-address",
    most=30,
    period=300,
    text="Too many failed sign-ins from this address.",
    by_address=True,
)
BAD_KEYS_FROM_ADDRESS = Limit(
    name="bad-key", most=100, period=60, text="Too many bad tokens or keys from this address.", by_address=True
)
LOGIN_STARTS_FROM_ADDRESS = Limit(
    name="login-start", most=60, period=60, text="Too many sign-ins were begun from this address.", by_address=True
)
UNVERIFIED_CREDENTIALS = Limit(
    name="chat-unverified",
    most=10,
    period=300,
    text="Too many credentials were not good.",
    by_address=True,
)
REVOCATIONS_BY_USER = Limit(
    name="revoke-text", most=60, period=60, text="You have revoked too many tokens by their text."
)
DELETIONS_BY_USER = Limit(name="delete-workspace", most=20, period=60, text="You have deleted too many workspaces.")
NEWCOMERS_FROM_ADDRESS = Limit(
    name="newcomer",
    most=300,
    period=60,
    text="Too many clients without a token came from this address.",
    by_address=True,
)
SUSPICIOUS = Limit(name="suspicious", most=20, period=300, text="Too many failures.")


class Limits:
    """Counts against the table."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def count(self, limit: Limit, who: str) -> int:
        """Count one, and give how many there are in the present period."""
        return await self._counters.add(_key(limit, who), period=limit.period)

    async def take(self, limit: Limit, who: str) -> None:
        """Count one.

        Raises:
            RateLimited: it is one too many; ``retry_after`` is what is left of the period.
        """
        if await self.count(limit, who) > limit.most:
            raise self.refusal(limit, who)

    async def look(self, limit: Limit, who: str) -> None:
        """Count none.

        Raises:
            RateLimited: as many as are let on were counted already; ``retry_after`` is what is left of the period.
        """
        if await self._counters.add(_key(limit, who), 0, period=limit.period) >= limit.most:
            raise self.refusal(limit, who)

    def refusal(self, limit: Limit, who: str) -> RateLimited:
        """What whoever is over the limit is told."""
        left = self._counters.left(_key(limit, who))
        return refusal(limit, left=left)

    @staticmethod
    def judge(limit: Limit, count: int) -> None:
        """Raise where the count is over the limit.

        Raises:
            RateLimited: it is.
        """
        if count > limit.most:
            raise refusal(limit)


class Watch:
    """Tells of whoever fails too often (decision 29): once in a period, whichever instance counts.

    Args:
        tell: takes the kind, ``subject`` or ``address``, who it is, and how many failures there were.
    """

    def __init__(self, limits: Limits, *, tell: Callable[[str, str, str], None]) -> None:
        self._limits = limits
        self._tell = tell

    async def failed(self, *, subject: str = "", address: str = "") -> None:
        """Count one failure; where nobody is known, or no address, that is left out."""
        for kind, who in (("subject", subject), ("address", visitor_of(address))):
            if who and await self._limits.count(SUSPICIOUS, f"{kind}:{who}") == SUSPICIOUS.most:
                self._tell(kind, who, str(SUSPICIOUS.most))


def refusal(limit: Limit, *, left: float | None = None) -> RateLimited:
    """What whoever is over the limit is told; ``left``: seconds of the present period, at most all of it."""
    seconds = max(1, math.ceil(limit.period if left is None else min(left, limit.period)))
    return RateLimited(f"{limit.text} Try again in {seconds} s.", retry_after=seconds)


def _key(limit: Limit, who: str) -> str:
    if limit.by_address:
        who = visitor_of(who)
    if len(who) > LONGEST or not who.isprintable():  # printable: no half characters either
        who = "#" + hashlib.sha256(who.encode("utf-8", "surrogatepass")).hexdigest()
    return f"limit:{limit.name}:{who}"
