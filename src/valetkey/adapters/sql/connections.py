"""Connections in SQL."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from valetkey.adapters.sql import statements
from valetkey.adapters.sql.damaged import first, page, readable
from valetkey.adapters.sql.database import Database, Taken
from valetkey.adapters.sql.names import check_lease
from valetkey.adapters.sql.rows import (
    DamagedRow,
    Row,
    connection_from,
    connection_values,
    owner_values,
    revocation_values,
    standing_values,
)
from valetkey.errors import StoreUnavailable
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Health, Sealed, Standing, key_id_of
from valetkey.model.revocations import Revocation

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
        return readable(rows, _connection)

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
        """Take the refresh lease for ``ttl`` seconds, where the generation still fits and nobody holds it.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        check_lease(owner, attempt)
        values: dict[str, object] = {
            "where_id": connection_id,
            "where_generation": generation,
            "taker": owner,
            "attempt": attempt,
            "now": now,
            "seen": seen or "",
            "any_seen": int(seen is None),
        }
        ticks = self._database.lease_clock()
        if ticks is None:
            step = (statements.CONNECTION_LEASE_BY_SERVER, values | {"ttl": ttl})
        else:
            values |= {"ticks": ticks, "until_ticks": ticks + ttl, "until": now + ttl}
            step = (statements.CONNECTION_LEASE, values)
        (outcome,) = await self._database.write(step)
        return outcome.count == 1

    async def release(self, connection_id: str, *, owner: str, attempt: str, unclear: bool) -> None:
        """Give the lease back where it still is ours; anything else is left alone."""
        statement = statements.CONNECTION_RELEASE_UNCLEAR if unclear else statements.CONNECTION_RELEASE
        await self._database.write((statement, {"where_id": connection_id, "holder": owner, "attempt": attempt}))

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
        values = standing_values(standing) | {"where_id": connection_id, "where_generation": generation}
        statement = statements.CONNECTION_NOTE
        if attempt is not None:
            values["attempt"] = attempt
            statement = statements.CONNECTION_NOTE_UNCLEAR if unclear else statements.CONNECTION_NOTE_ATTEMPT
        (outcome,) = await self._database.write((statement, values))
        return outcome.count == 1

    async def delete(
        self, connection_id: str, *, generation: int | None = None, revocation: Revocation | None = None
    ) -> Connection | None:
        """Remove it, also from the database's own files, and give what was removed.

        A damaged row is removed as well, logged, and None given.
        """
        which: dict[str, object] = {"id": connection_id}
        look, insert, delete = statements.CONNECTION, statements.REVOCATION_OF_CONNECTION, statements.CONNECTION_DELETE
        unmoved: dict[str, object] = {"where_id": connection_id}
        if generation is not None:
            look, insert = statements.CONNECTION_UNMOVED, statements.REVOCATION_OF_UNMOVED
            delete = statements.CONNECTION_DELETE_UNMOVED
            unmoved["where_generation"] = generation
            which = unmoved
        asked = () if revocation is None else ((insert, revocation_values(revocation) | unmoved),)
        found, *_ = await self._database.write((look, which), *asked, (delete, which), erase=True)
        try:
            return _connection(found.rows[0]) if found.rows else None
        except StoreUnavailable:
            _log.warning("Removed connection %s, whose row was damaged.", connection_id)
            return None

    async def due(self, *, now: float, limit: int) -> Sequence[Connection]:
        """Those to refresh ahead of their end, the most urgent first. A damaged row is logged and left out."""
        return await first(
            self._database, statements.CONNECTIONS_DUE, {"now": now}, _connection, limit=limit, aside=True
        )

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Connection]:
        """Connections of all owners by id, following that one. A damaged row is logged and left out."""
        return await page(self._database, statements.CONNECTIONS_PAGE, {}, _connection, after=after, limit=limit)

    async def sealed_by(self, key_id: str, *, after: str = "", limit: int = 500) -> Sequence[Connection]:
        """Those that this key sealed, by id, following that one. A damaged row is logged and left out."""
        which = {"key_id": key_id}
        return await page(
            self._database, statements.CONNECTIONS_SEALED_BY, which, _connection, after=after, limit=limit
        )

    async def reseal(self, changes: Sequence[tuple[Connection, Sealed]]) -> int:
        """Replace what is sealed, and nothing else, where generation and ciphertext still are as given; how many."""
        steps = [
            (
                statements.CONNECTION_RESEAL,
                {
                    "where_id": connection.id,
                    "where_generation": connection.generation,
                    "before": connection.sealed,
                    "after": sealed,
                    "new_key_id": key_id_of(sealed),
                },
            )
            for connection, sealed in changes
        ]
        outcomes = await self._database.write(*steps, erase=True) if steps else ()
        return sum(outcome.count for outcome in outcomes)

    async def keys(self) -> Mapping[str, int]:
        """How many rows each key sealed, by its id."""
        return dict(await self._database.read(statements.CONNECTION_KEYS, {}, aside=True))

    async def key_ids(self) -> frozenset[str]:
        """The keys that sealed any row: one look into the index for each."""
        found: list[str] = []
        rows = await self._database.read(statements.CONNECTION_FIRST_KEY, {})
        while rows:
            found.append(rows[0][0])
            rows = await self._database.read(statements.CONNECTION_NEXT_KEY, {"key_id": found[-1]})
        return frozenset(found)

    async def census(self) -> Mapping[tuple[str, Health], int]:
        """How many there are, by provider and health; a health that no version of ours wrote is left out."""
        rows = await self._database.read(statements.CONNECTION_CENSUS, {}, aside=True)
        known = frozenset(Health)
        return {(provider, Health(health)): count for provider, health, count in rows if health in known}


def _connection(row: Row) -> Connection:
    try:
        return connection_from(row)
    except DamagedRow as error:
        raise StoreUnavailable(
            f"The stored connection {row[0]} cannot be read: its row is damaged, or of a newer version."
            " Upgrade valetkey, or remove it and connect the account again."
        ) from error
