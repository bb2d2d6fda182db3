"""The audit log in SQL; its number is its key, so that of two who write the same one only one does."""

from __future__ import annotations

from collections.abc import Sequence

from valetkey.adapters.sql import identity_statements as statements
from valetkey.adapters.sql.database import Database, Step, Taken
from valetkey.adapters.sql.identity_rows import record_from, record_values
from valetkey.adapters.sql.rows import DamagedRow, Row
from valetkey.errors import StoreUnavailable
from valetkey.model.audit import Record


class SqlAudit:
    """The port ``AuditStore`` over a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self) -> Record | None:
        """The newest record; None: there is none.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        newest = await self.latest(limit=1)
        return newest[0] if newest else None

    async def append(self, records: Sequence[Record]) -> bool:
        """Save these, all or none. False when a number is taken: somebody else wrote meanwhile."""
        rows = [record_values(record) for record in records]
        steps: list[Step] = []
        for size, statement in statements.RECORD_INSERTS.items():
            while len(rows) >= size:
                some, rows = rows[:size], rows[size:]
                values = {f"{name}_{n}": value for n, row in enumerate(some) for name, value in row.items()}
                steps.append((statement, values))
        try:
            if steps:
                await self._database.write(*steps)
        except Taken:
            return False
        return True

    async def page(self, *, after: int = 0, limit: int = 500) -> Sequence[Record]:
        """Records by number, following that one.

        Raises:
            StoreUnavailable: a record cannot be read: none is left out of a log.
        """
        return [
            _record(row) for row in await self._database.read(statements.RECORDS_PAGE, {"after": after, "limit": limit})
        ]

    async def latest(self, *, limit: int) -> Sequence[Record]:
        """The newest ones, in order of their numbers.

        Raises:
            StoreUnavailable: a record cannot be read: none is left out of a log.
        """
        rows = await self._database.read(statements.RECORD_NEWEST, {"limit": limit})
        return [_record(row) for row in reversed(rows)]

    async def key_ids(self) -> frozenset[str]:
        """The root keys under which any record was made: one look into the index for each."""
        found: list[str] = []
        rows = await self._database.read(statements.RECORD_FIRST_KEY, {})
        while rows:
            found.append(rows[0][0])
            rows = await self._database.read(statements.RECORD_NEXT_KEY, {"key_id": found[-1]})
        return frozenset(found)


def _record(row: Row) -> Record:
    try:
        return record_from(row)
    except DamagedRow as error:
        raise StoreUnavailable(
            f"The audit record {row[0]} cannot be read: its row is damaged, or of a newer version. Upgrade valetkey, or"
            " restore the database from its backup."
        ) from error
