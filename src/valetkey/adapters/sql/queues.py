"""Revocations and leaders in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from valetkey.adapters.sql import statements
from valetkey.adapters.sql.damaged import first, page
from valetkey.adapters.sql.database import Database, Taken
from valetkey.adapters.sql.names import check_leader
from valetkey.adapters.sql.rows import DamagedRow, Row, printable, revocation_from, revocation_values
from valetkey.errors import StoreUnavailable
from valetkey.model.connections import Sealed
from valetkey.model.revocations import Revocation


class SqlRevocations:
    """The port ``RevocationStore`` over a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, revocation: Revocation) -> None:
        """Ask for one; one of that id is left as it is.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        with suppress(Taken):
            await self._database.write((statements.REVOCATION_INSERT, revocation_values(revocation)))

    async def due(self, *, now: float, limit: int) -> Sequence[Revocation]:
        """Those whose ``next_try_at`` has come, the oldest first. A damaged row is logged and left out."""
        return await first(self._database, statements.REVOCATIONS_DUE, {"now": now}, _revocation, limit=limit)

    async def claim(self, revocation: Revocation, *, next_try_at: float) -> bool:
        """Count one try and set the time of the next, where ``tries`` still is as given: only one may try."""
        values = {
            "where_id": revocation.id,
            "where_tries": revocation.tries,
            "new_tries": revocation.tries + 1,
            "new_next_try_at": next_try_at,
        }
        (outcome,) = await self._database.write((statements.REVOCATION_CLAIM, values))
        return outcome.count == 1

    async def fail(self, revocation_id: str, *, reason: str) -> None:
        """Note what the last try met."""
        values = {"where_id": revocation_id, "new_reason": printable(reason)}
        await self._database.write((statements.REVOCATION_FAIL, values))

    async def remove(self, revocation_id: str) -> None:
        """It is done, or given up. Its credential is erased from the database's own files, too."""
        await self._database.write((statements.REVOCATION_DELETE, {"id": revocation_id}), erase=True)

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Revocation]:
        """All of them by id, following that one. A damaged row is logged and left out."""
        return await page(self._database, statements.REVOCATIONS_PAGE, {}, _revocation, after=after, limit=limit)

    async def reseal(self, revocation: Revocation, sealed: Sealed) -> bool:
        """Replace what is sealed where it still is as given."""
        values = {"where_id": revocation.id, "before": revocation.sealed, "new_sealed": sealed}
        (outcome,) = await self._database.write((statements.REVOCATION_RESEAL, values), erase=True)
        return outcome.count == 1


class SqlLeaders:
    """The port ``LeaderStore`` over a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lead(self, name: str, *, owner: str, ttl: float) -> bool:
        """Become or stay the leader of that work for ``ttl`` seconds; False: another is.

        Raises:
            InvalidArguments: a name is no text that every database keeps.
        """
        check_leader(name, owner)
        # A row that is free for whoever comes: who takes it is decided by the one update.
        with suppress(Taken):
            if not await self._database.read(statements.LEADER, {"name": name}):
                await self._database.write((statements.LEADER_INSERT, {"name": name, "owner": "", "until": 0.0}))
        values: dict[str, object] = {"where_name": name, "where_owner": owner, "new_owner": owner}
        ticks = self._database.lease_clock()
        if ticks is None:
            step = (statements.LEADER_TAKE_BY_SERVER, values | {"ttl": ttl})
        else:
            step = (statements.LEADER_TAKE, values | {"ticks": ticks, "new_until": ticks + ttl})
        (outcome,) = await self._database.write(step)
        return outcome.count == 1

    async def resign(self, name: str, *, owner: str) -> None:
        """Let another lead at once, where we still do."""
        await self._database.write((statements.LEADER_DELETE, {"where_name": name, "where_owner": owner}))


async def ping(database: Database) -> None:
    """Ask the database something small.

    Raises:
        StoreUnavailable: it cannot be used.
    """
    await database.read(statements.PING, {})


def _revocation(row: Row) -> Revocation:
    try:
        return revocation_from(row)
    except DamagedRow as error:
        raise StoreUnavailable(
            f"The stored revocation {row[0]} cannot be read: its row is damaged, or of a newer version."
            " Upgrade valetkey, or revoke the account at its provider."
        ) from error
