"""Revocations and leaders in Redis."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from valetkey.adapters import redis_scripts as scripts
from valetkey.adapters.redis_client import RedisClient
from valetkey.adapters.redis_rows import of_revocation, pairs, revocation, sought
from valetkey.adapters.sql.names import check_leader
from valetkey.adapters.sql.rows import DamagedRow, printable
from valetkey.model.connections import Sealed
from valetkey.model.revocations import Revocation

_log = logging.getLogger("valetkey")
_Rows = Sequence[tuple[bytes, Sequence[bytes]]]


class RedisRevocations:
    """The port ``RevocationStore`` over Redis; each method is one script, which the server runs as one step."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def add(self, revocation: Revocation) -> None:
        """Ask for one; one of that id is left as it is.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        values = of_revocation(revocation)
        when = repr(float(revocation.next_try_at))
        await self._client.run(scripts.REVOCATION_INSERT, revocation.id, when, *values)

    async def due(self, *, now: float, limit: int) -> Sequence[Revocation]:
        """Those whose ``next_try_at`` has come, the oldest first. A damaged row is logged and left out."""
        return _readable(await self._client.run(scripts.REVOCATIONS_DUE, repr(float(now)), str(limit), again=True))

    async def claim(self, revocation: Revocation, *, next_try_at: float) -> bool:
        """Count one try and set the time of the next, where ``tries`` still is as given: only one may try."""
        values = (sought(revocation.id), str(revocation.tries), str(revocation.tries + 1), repr(float(next_try_at)))
        return bool(await self._client.run(scripts.REVOCATION_CLAIM, *values))

    async def fail(self, revocation_id: str, *, reason: str) -> None:
        """Note what the last try met."""
        await self._client.run(scripts.REVOCATION_CHANGE, sought(revocation_id), "reason", printable(reason))

    async def remove(self, revocation_id: str) -> None:
        """It is done, or given up."""
        await self._client.run(scripts.REVOCATION_DELETE, sought(revocation_id))

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Revocation]:
        """All of them by id, following that one. A damaged row is logged and left out."""
        values = ("revocations", "revocation", sought(after), str(limit))
        return _readable(await self._client.run(scripts.PAGE, *values, again=True))

    async def reseal(self, revocation: Revocation, sealed: Sealed) -> bool:
        """Replace what is sealed where it still is as given."""
        values = (sought(revocation.id), "sealed", sealed, revocation.sealed)
        return bool(await self._client.run(scripts.REVOCATION_CHANGE, *values))


class RedisLeaders:
    """The port ``LeaderStore`` over Redis: a key for each work, which the server lets end on its own clock."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def lead(self, name: str, *, owner: str, ttl: float) -> bool:
        """Become or stay the leader of that work for ``ttl`` seconds; False: another is.

        Raises:
            InvalidArguments: a name is no text that every database keeps.
        """
        check_leader(name, owner)
        return bool(await self._client.run(scripts.LEAD, name, owner, str(max(1, round(ttl * 1000)))))

    async def resign(self, name: str, *, owner: str) -> None:
        """Let another lead at once, where we still do."""
        await self._client.run(scripts.RESIGN, sought(name), sought(owner))


def _readable(rows: _Rows) -> list[Revocation]:
    found = []
    for row_id, flat in rows:
        try:
            found.append(revocation(pairs(flat)))
        except DamagedRow:
            name = row_id.decode(errors="replace")
            _log.error("The stored revocation %s cannot be read: its row is damaged, or of a newer version.", name)
    return found
