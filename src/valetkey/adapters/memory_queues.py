"""Revocations and leaders, in a dict."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from valetkey.adapters.sql.names import check_leader, check_revocation
from valetkey.model.connections import Sealed
from valetkey.model.revocations import Revocation


class MemoryRevocations:
    """The port ``RevocationStore`` within one process, and gone with it. For any loop and any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, Revocation] = {}

    def put(self, revocation: Revocation) -> None:
        """Ask for one; one of that id is left as it is.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        check_revocation(revocation)
        with self._lock:
            self._rows.setdefault(revocation.id, revocation)

    async def add(self, revocation: Revocation) -> None:
        """Ask for one; one of that id is left as it is.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        self.put(revocation)

    async def due(self, *, now: float, limit: int) -> Sequence[Revocation]:
        """Those whose ``next_try_at`` has come, the oldest first."""
        with self._lock:
            rows = [row for row in self._rows.values() if row.next_try_at <= now]
        return sorted(rows, key=lambda row: (row.next_try_at, row.id))[:limit]

    async def claim(self, revocation: Revocation, *, next_try_at: float) -> bool:
        """Count one try and set the time of the next, where ``tries`` still is as given: only one may try."""
        with self._lock:
            row = self._rows.get(revocation.id)
            if row is None or row.tries != revocation.tries:
                return False
            self._rows[row.id] = replace(row, tries=row.tries + 1, next_try_at=next_try_at)
        return True

    async def fail(self, revocation_id: str, *, reason: str) -> None:
        """Note what the last try met."""
        with self._lock:
            row = self._rows.get(revocation_id)
            if row is not None:
                self._rows[row.id] = replace(row, reason=reason)

    async def remove(self, revocation_id: str) -> None:
        """It is done, or given up."""
        with self._lock:
            self._rows.pop(revocation_id, None)

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Revocation]:
        """All of them by id, following that one."""
        with self._lock:
            rows = sorted(self._rows.items())
        return [row for name, row in rows if name > after][:limit]

    async def reseal(self, revocation: Revocation, sealed: Sealed) -> bool:
        """Replace what is sealed where it still is as given."""
        with self._lock:
            row = self._rows.get(revocation.id)
            if row is None or row.sealed != revocation.sealed:
                return False
            self._rows[row.id] = replace(row, sealed=sealed)
        return True


class MemoryLeaders:
    """The port ``LeaderStore`` within one process, and gone with it. For any loop and any thread.

    Args:
        ticks: seconds that never go back.
    """

    def __init__(self, *, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._lock = threading.Lock()
        self._leaders: dict[str, tuple[str, float]] = {}

    async def lead(self, name: str, *, owner: str, ttl: float) -> bool:
        """Become or stay the leader of that work for ``ttl`` seconds; False: another is.

        Raises:
            InvalidArguments: a name is no text that every database keeps.
        """
        check_leader(name, owner)
        with self._lock:
            leader, until = self._leaders.get(name, (owner, 0.0))
            if leader != owner and until > self._ticks():
                return False
            self._leaders[name] = (owner, self._ticks() + ttl)
        return True

    async def resign(self, name: str, *, owner: str) -> None:
        """Let another lead at once, where we still do."""
        with self._lock:
            if self._leaders.get(name, ("", 0.0))[0] == owner:
                del self._leaders[name]
