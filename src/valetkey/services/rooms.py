"""Room for messages that are not whole yet: shares of it, so that nobody takes what others need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from valetkey.errors import RateLimited
from valetkey.model.hosts import visitor_of

if TYPE_CHECKING:
    from valetkey.services.sight import Who

MOST = 16
"""Messages of the full length that may be here at once, of all clients."""

OF_A_USER, OF_AN_ADDRESS, OF_ALL_UNKNOWN, OF_ONE_UNKNOWN = 4, 8, 4, 2
"""Of these: those of one user; of the users of one address; of all who are not known; of those of one address."""


class Room(Protocol):
    """Where pieces are kept."""

    def take(self, size: int) -> None:
        """So many bytes more.

        Raises:
            RateLimited: there is no room for them now.
        """
        ...

    def give(self, size: int) -> None:
        """So many fewer."""
        ...


class Share:
    """A `Room` that counts against several limits.

    Args:
        used: bytes, by what they count for; one for all shares.
        most: bytes that may be there, by the same.
    """

    def __init__(self, used: Counter[str], most: Mapping[str, int]) -> None:
        self._used = used
        self._most = most

    def take(self, size: int) -> None:
        """See `Room`."""
        if any(self._used[key] + size > most for key, most in self._most.items()):
            raise RateLimited("Too many long messages are under way here. Try again later.", retry_after=1)
        for key in self._most:
            self._used[key] += size

    def give(self, size: int) -> None:
        """See `Room`."""
        for key in self._most:
            self._used[key] -= size
            if self._used[key] <= 0:
                del self._used[key]


class Rooms:
    """The room of all clients of this instance.

    Args:
        whole: bytes of one message of the full length.
    """

    def __init__(self, *, whole: int) -> None:
        self._whole = whole
        self._used: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """Bytes that are there."""
        return self._used[""]

    def of(self, who: Who) -> Share:
        """The share of one client. Those of the same user, or the same address, count together."""
        user = who.caller.user
        if user is None or user.is_anonymous:
            parts = {
                "": MOST,
                "unknown": OF_ALL_UNKNOWN,
                f"unknown\0{visitor_of(who.address) or who.peer}": OF_ONE_UNKNOWN,
            }
        else:
            parts = {"": MOST, "\0".join(("user", *who.caller.principal)): OF_A_USER}
            if who.address:
                parts[f"address\0{visitor_of(who.address)}"] = OF_AN_ADDRESS
        return Share(self._used, {key: part * self._whole for key, part in parts.items()})
