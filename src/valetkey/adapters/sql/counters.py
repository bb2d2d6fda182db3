"""Counters in SQL, for processes that share a database and no Redis."""

from __future__ import annotations

from valetkey.adapters.shared_counters import SharedCounters
from valetkey.adapters.sql import identity_statements as statements
from valetkey.adapters.sql.database import Database
from valetkey.adapters.sql.identity_rows import counter_key
from valetkey.adapters.sql.statements import SWEPT_AT_ONCE
from valetkey.errors import StoreUnavailable
from valetkey.ports.world import Clock


class SqlCounters(SharedCounters):
    """Counts shared by all who use a database; the port ``CounterStore``.

    Periods are told by the server's clock, and in an SQLite file by this machine's.

    Args:
        database: where they are.
        clock: tells periods of this process, and when the database is asked again.
        deadline: seconds that a caller waits for the database.
    """

    def __init__(self, database: Database, *, clock: Clock, deadline: float = 1.0) -> None:
        super().__init__(clock=clock, deadline=deadline)
        self._database = database
        self._by_server = database.lease_clock() is None

    async def shared(self, key: str, amount: int, period: float) -> tuple[int, float]:
        """Count for everybody: the sum, and the seconds that are left of its period.

        Raises:
            StoreUnavailable: the database cannot be used.
        """
        values: dict[str, object] = {"key": counter_key(key), "period": period}
        count, counted = statements.COUNT_BY_SERVER, statements.COUNTED_BY_SERVER
        if not self._by_server:
            values["now"] = self._clock.now()
            count, counted = statements.COUNT, statements.COUNTED
        if not amount:
            rows = await self._database.read(counted, values)
        else:
            # The upsert has the row until the end of the transaction: what is read is this count's own sum.
            _, outcome = await self._database.write((count, values | {"amount": amount}), (counted, values))
            rows = outcome.rows
        return (int(rows[0][0]), float(rows[0][1])) if rows else (0, 0.0)

    def late(self) -> StoreUnavailable:
        """What is told where no answer came in time."""
        return StoreUnavailable("The database did not answer in time.")

    async def sweep(self, *, before: float) -> int:
        """Remove those whose period ended before that (epoch seconds); how many."""
        swept = 0
        while True:
            (outcome,) = await self._database.write((statements.COUNTERS_SWEEP, {"before": before}))
            swept += outcome.count
            if outcome.count < SWEPT_AT_ONCE:
                return swept
