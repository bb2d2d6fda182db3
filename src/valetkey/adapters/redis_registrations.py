"""Registered clients in Redis."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from valetkey.adapters.redis_client import RedisClient, Script
from valetkey.adapters.redis_rows import Fields, columns, pairs, row_of, sought, written
from valetkey.adapters.redis_scripts import PAGE, SHARED
from valetkey.adapters.sql.registrations import registration_from, registration_values
from valetkey.adapters.sql.rows import DamagedRow
from valetkey.errors import StoreUnavailable
from valetkey.model.connections import Sealed
from valetkey.model.registrations import Registration

_log = logging.getLogger("valetkey")

_COLUMNS = (
    *columns("id registrar redirect_uri client_id", str),
    *columns("sealed", bytes),
    *columns("created_at expires_at", float),
)
_CLIENTS = (
    SHARED
    + """
local function row(id) return P .. 'client:' .. id end
"""
)
_INSERT = Script(
    _CLIENTS
    + """
if redis.call('EXISTS', row(ARGV[1])) == 1 then return 0 end
begin()
redis.call('ZADD', P .. 'clients', 0, ARGV[1])
write(row(ARGV[1]), 2)
return 1
"""
)
# Where a column still is as it was.
_CHANGE = Script(
    _CLIENTS
    + """
if redis.call('HGET', row(ARGV[1]), ARGV[2]) ~= ARGV[3] then return 0 end
begin()
write(row(ARGV[1]), 4)
return 1
"""
)
_DELETE = Script(
    _CLIENTS
    + """
if redis.call('HGET', row(ARGV[1]), 'client_id') ~= ARGV[2] then return 0 end
redis.call('ZREM', P .. 'clients', ARGV[1])
return redis.call('DEL', row(ARGV[1]))
"""
)
_GET = Script(
    SHARED
    + """
return rows('client', {ARGV[1]})
"""
)


class RedisClients:
    """The port ``ClientStore`` over Redis; each method is one script, which the server runs as one step."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def get(self, registration_id: str) -> Registration | None:
        """The client of that id."""
        found = await self._client.run(_GET, sought(registration_id), again=True)
        if not found:
            return None
        try:
            return _registration(pairs(found[0][1]))
        except DamagedRow as error:
            raise StoreUnavailable(_damaged(found[0][0]) + " Upgrade valetkey, or restore the database.") from error

    async def insert(self, registration: Registration) -> bool:
        """Save a new one; False when the id is taken: nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        values = written(registration_values(registration))
        return bool(await self._client.run(_INSERT, registration.id, *values))

    async def replace(self, registration: Registration, *, client_id: str) -> bool:
        """Save a newer client where the row still has the one of that id; False: it moved on.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        values = written(registration_values(registration))
        return bool(await self._client.run(_CHANGE, registration.id, "client_id", sought(client_id), *values))

    async def delete(self, registration_id: str, *, client_id: str) -> bool:
        """Remove the row where it still has the client of that id; False: it moved on."""
        return bool(await self._client.run(_DELETE, sought(registration_id), sought(client_id)))

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Registration]:
        """All of them by id, following that one. A damaged row is logged and left out."""
        found = []
        for row_id, flat in await self._client.run(PAGE, "clients", "client", sought(after), str(limit), again=True):
            try:
                found.append(_registration(pairs(flat)))
            except DamagedRow:
                _log.error("%s", _damaged(row_id))
        return found

    async def reseal(self, registration: Registration, sealed: Sealed) -> bool:
        """Replace what is sealed where it still is as given."""
        new = written({"sealed": sealed})
        return bool(await self._client.run(_CHANGE, sought(registration.id), "sealed", registration.sealed, *new))


def _registration(fields: Fields) -> Registration:
    return registration_from(row_of(fields, _COLUMNS))


def _damaged(row_id: bytes) -> str:
    name = row_id.decode(errors="replace")
    return f"The registered client {name} cannot be read: its row is damaged, or of a newer version."
