"""Connections in SQL."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from valetkey.adapters.sql import statements
from valetkey.adapters.sql.database import Database, Taken
from valetkey.adapters.sql.names import check_lease
from valetkey.adapters.sql.rows import DamagedRow, Row, connection_from, connection_values, owner_values
from valetkey.errors import StoreUnavailable
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection

_log = logging.getLogger("valetkey")


class SqlConnections:
    """The port ``ConnectionStore`` over a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, owner: Owner, provider: str, profile: str) -> Connection | None:
        """The owner's connection at that provider under that profile."""
        values = {
            "workspace": owner.workspace,
            "issuer": owner.issuer,
            "subject": owner.subject,
            "provider": provider,
            "profile": profile,
        }
        rows = await self._database.read(statements.CONNECTION_OF_ACCOUNT, values)
        return _connection(rows[0]) if rows else None

    async def by_id(self, connection_id: str) -> Connection | None:
        """One connection."""
        rows = await self._database.read(statements.CONNECTION, {"id": connection_id})
        return _connection(rows[0]) if rows else None

    async def of_owner(self, owner: Owner, provider: str | None = None) -> Sequence[Connection]:
        """The owner's connections, ordered by provider and profile. A damaged row is logged and left out."""
        if provider is None:
            rows = await self._database.read(statements.CONNECTIONS_OF_OWNER, owner_values(owner))
        else:
            values = owner_values(owner) | {"provider": provider}
            rows = await self._database.read(statements.CONNECTIONS_AT_PROVIDER, values)
        found = []
        for row in rows:
            try:
                found.append(_connection(row))
            except StoreUnavailable as error:
                _log.error("%s", error)
        return found

    async def insert(self, connection: Connection) -> bool:
        """Save a new one. False when (owner, provider, profile) or the id is taken: nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        try:
            await self._database.write((statements.CONNECTION_INSERT, connection_values(connection)))
        except Taken:
            return False
        return True

    async def save(self, connection: Connection, *, generation: int) -> bool:
        """Replace the row where its generation still is ``generation``; False when it moved on.

        False too when it would take the (owner, provider, profile) of another one: nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        values = connection_values(connection)
        values |= {"where_id": connection.id, "where_generation": generation}
        try:
            (outcome,) = await self._database.write((statements.CONNECTION_SAVE, values))
        except Taken:
            return False
        return outcome.count == 1

    async def lease(
        self, connection_id: str, *, generation: int, owner: str, attempt: str, now: float, until: float
    ) -> bool:
        """Take the refresh lease, where the generation still fits and no lease runs past ``now``.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        check_lease(owner, attempt)
        values = {
            "where_id": connection_id,
            "where_generation": generation,
            "taker": owner,
            "attempt": attempt,
            "now": now,
            "until": until,
        }
        (outcome,) = await self._database.write((statements.CONNECTION_LEASE, values))
        return outcome.count == 1

    async def release(self, connection_id: str, *, owner: str, attempt: str) -> None:
        """Give the lease back, with its attempt, where it still is ours; anything else is left alone."""
        values = {"where_id": connection_id, "holder": owner, "attempt": attempt}
        await self._database.write((statements.CONNECTION_RELEASE, values))

    async def delete(self, connection_id: str) -> Connection | None:
        """Remove it, also from the database's own files, and give what was removed.

        A damaged row is removed as well, logged, and None given.
        """
        which = {"id": connection_id}
        found, _ = await self._database.write(
            (statements.CONNECTION, which), (statements.CONNECTION_DELETE, which), erase=True
        )
        try:
            return _connection(found.rows[0]) if found.rows else None
        except StoreUnavailable:
            _log.warning("Removed connection %s, whose row was damaged.", connection_id)
            return None


def _connection(row: Row) -> Connection:
    try:
        return connection_from(row)
    except DamagedRow as error:
        raise StoreUnavailable(
            f"The stored connection {row[0]} cannot be read: its row is damaged, or of a newer version."
            " Upgrade valetkey, or remove it and connect the account again."
        ) from error
