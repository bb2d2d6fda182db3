"""Connections in Redis."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from valetkey.adapters import redis_connection_scripts as scripts
from valetkey.adapters.redis_client import RedisClient
from valetkey.adapters.redis_rows import connection, of_connection, of_revocation, owned, pairs, sought, written
from valetkey.adapters.redis_scripts import PAGE
from valetkey.adapters.sql.names import check_lease
from valetkey.adapters.sql.rows import DamagedRow, standing_values
from valetkey.errors import StoreUnavailable
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Health, Sealed, Standing, key_id_of
from valetkey.model.revocations import Revocation

_log = logging.getLogger("valetkey")
_Rows = Sequence[tuple[bytes, Sequence[bytes]]]


class RedisConnections:
    """The port ``ConnectionStore`` over Redis; each method is one script, which the server runs as one step."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def get(self, owner: Owner, provider: str, profile: str) -> Connection | None:
        """The owner's connection at that provider under that profile."""
        try:
            account = owned(owner, provider, profile)
        except ValueError:
            return None
        return _one(await self._client.run(scripts.CONNECTION_OF_ACCOUNT, account, again=True))

    async def by_id(self, connection_id: str) -> Connection | None:
        """One connection."""
        return _one(await self._client.run(scripts.CONNECTION, sought(connection_id), again=True))

    async def of_owner(self, owner: Owner, provider: str | None = None) -> Sequence[Connection]:
        """The owner's connections, ordered by provider and profile. A damaged row is logged and left out."""
        try:
            start = owned(owner) if provider is None else owned(owner, provider)
        except ValueError:
            return []
        return _readable(await self._client.run(scripts.CONNECTIONS_OF_OWNER, start, again=True))

    async def insert(self, connection: Connection) -> bool:
        """Save a new one. False when (owner, provider, profile) or the id is taken: nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        values = of_connection(connection)
        return bool(await self._client.run(scripts.CONNECTION_INSERT, connection.id, _account(connection), *values))

    async def save(self, connection: Connection, *, generation: int) -> bool:
        """Replace the row where its generation still is ``generation``; False when it moved on.

        False too when it would take the (owner, provider, profile) of another one: nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        values = of_connection(connection)
        where = (connection.id, _account(connection), str(generation))
        return bool(await self._client.run(scripts.CONNECTION_SAVE, *where, *values))

    async def lease(
        self,
        connection_id: str,
        *,
        generation: int,
        owner: str,
        attempt: str,
        now: float,
        ttl: float,
        seen: str | None = None,
    ) -> bool:
        """Take the refresh lease for ``ttl`` seconds of the server's clock, where nobody holds it.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        check_lease(owner, attempt)
        values = (sought(connection_id), str(generation), owner, attempt, repr(float(now)), repr(float(ttl)))
        follows = ("1", "") if seen is None else ("0", seen)
        return bool(await self._client.run(scripts.CONNECTION_LEASE, *values, *follows))

    async def release(self, connection_id: str, *, owner: str, attempt: str, unclear: bool) -> None:
        """Give the lease back where it still is ours; anything else is left alone."""
        values = (sought(connection_id), sought(owner), sought(attempt), str(int(unclear)))
        await self._client.run(scripts.CONNECTION_RELEASE, *values)

    async def note(
        self,
        connection_id: str,
        *,
        generation: int,
        standing: Standing,
        attempt: str | None = None,
        unclear: bool = False,
    ) -> bool:
        """Write a standing where the generation, and the attempt if one is given, still fit."""
        of_attempt = str(int(attempt is not None))
        where = (sought(connection_id), str(generation), of_attempt, sought(attempt or ""), str(int(unclear)))
        return bool(await self._client.run(scripts.CONNECTION_NOTE, *where, *written(standing_values(standing))))

    async def delete(
        self, connection_id: str, *, generation: int | None = None, revocation: Revocation | None = None
    ) -> Connection | None:
        """Remove it, and give what was removed; in the same step, ask for a revocation.

        A damaged row is removed as well, logged, and None given.
        """
        asked: list[str | bytes] = ["", "0", "0"]
        if revocation is not None:
            asked = [revocation.id, repr(float(revocation.next_try_at)), *of_revocation(revocation)]
        where = (sought(connection_id), "" if generation is None else str(generation))
        found = await self._client.run(scripts.CONNECTION_DELETE, *where, *asked)
        try:
            return _one(found)
        except StoreUnavailable:
            _log.warning("Removed connection %s, whose row was damaged.", connection_id)
            return None

    async def due(self, *, now: float, limit: int) -> Sequence[Connection]:
        """Those to refresh ahead of their end, the most urgent first. A damaged row is logged and left out."""
        return _readable(await self._client.run(scripts.CONNECTIONS_DUE, repr(float(now)), str(limit), again=True))

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Connection]:
        """Connections of all owners by id, following that one. A damaged row is logged and left out."""
        values = ("connections", "connection", sought(after), str(limit))
        return _readable(await self._client.run(PAGE, *values, again=True))

    async def sealed_by(self, key_id: str, *, after: str = "", limit: int = 500) -> Sequence[Connection]:
        """Those that this key sealed, by id, following that one. A damaged row is logged and left out."""
        found: _Rows = await self._client.run(
            scripts.CONNECTIONS_SEALED_BY, sought(key_id), sought(after), str(limit), again=True
        )
        return _readable(sorted(found, key=lambda row: row[0])[:limit])

    async def reseal(self, changes: Sequence[tuple[Connection, Sealed]]) -> int:
        """Replace what is sealed, and nothing else, where generation and ciphertext still are as given; how many."""
        values = [
            part
            for before, sealed in changes
            for part in (sought(before.id), str(before.generation), before.sealed, sealed, key_id_of(sealed))
        ]
        return int(await self._client.run(scripts.CONNECTIONS_RESEAL, *values)) if values else 0

    async def keys(self) -> Mapping[str, int]:
        """How many rows each key sealed, by its id."""
        counts = pairs(await self._client.run(scripts.COUNTS, "keys", again=True))
        return {key.decode(errors="replace"): int(count) for key, count in counts.items()}

    async def key_ids(self) -> frozenset[str]:
        """The keys that sealed any row."""
        return frozenset(await self.keys())

    async def census(self) -> Mapping[tuple[str, Health], int]:
        """How many there are, by provider and health; a health that no version of ours wrote is left out."""
        counts = pairs(await self._client.run(scripts.COUNTS, "census", again=True))
        known = frozenset(Health)
        found = {}
        for name, count in counts.items():
            provider, _, health = name.decode(errors="replace").rpartition("\0")
            if health in known:
                found[provider, Health(health)] = int(count)
        return found


def _account(row: Connection) -> bytes:
    return owned(row.owner, row.provider, row.profile)


def _one(rows: _Rows) -> Connection | None:
    return _connection(*rows[0]) if rows else None


def _readable(rows: _Rows) -> list[Connection]:
    found = []
    for row in rows:
        try:
            found.append(_connection(*row))
        except StoreUnavailable as error:
            _log.error("%s", error)
    return found


def _connection(row_id: bytes, flat: Sequence[Any]) -> Connection:
    try:
        return connection(pairs(flat))
    except DamagedRow as error:
        raise StoreUnavailable(
            f"The stored connection {row_id.decode(errors='replace')} cannot be read: its row is damaged, or of a newer"
            " version. Upgrade valetkey, or remove it and connect the account again."
        ) from error
