"""Stops in SQL. One row counts the changes: who changes it first is committed first, so none is passed over."""

from __future__ import annotations

from collections.abc import Sequence

from valetkey.adapters.sql import identity_statements as statements
from valetkey.adapters.sql.damaged import readable
from valetkey.adapters.sql.database import Database
from valetkey.adapters.sql.identity_rows import stop_from, stop_values
from valetkey.adapters.sql.rows import DamagedRow, Row
from valetkey.adapters.sql.statements import SWEPT_AT_ONCE
from valetkey.errors import StoreUnavailable
from valetkey.model.stops import Stop, StopKind

_KNOWN = frozenset(kind.value for kind in StopKind)


class SqlStops:
    """The port ``StopStore`` over a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revision(self) -> int:
        """The newest revision; 0: nothing was ever stopped."""
        rows = await self._database.read(statements.STOP_REVISION, {})
        return int(rows[0][0]) if rows else 0

    async def since(self, revision: int) -> Sequence[Stop]:
        """Changes after that revision, lifted ones too, in order; of several of one transaction by kind and target.

        A kind that only a newer version knows is left out.

        Raises:
            StoreUnavailable: one cannot be read: what is stopped is not known then, and nobody may go on.
        """
        rows = await self._database.read(statements.STOPS_SINCE, {"revision": revision})
        return [_stop(row) for row in rows if row[0] in _KNOWN]

    async def put(self, stop: Stop) -> None:
        """Stop it, or change why; a new revision.

        Raises:
            InvalidArguments: its target is no text that every database keeps.
        """
        values = stop_values(stop)
        await self._database.write((statements.STOP_CHANGES, {}), (statements.STOP_PUT, values))

    async def lift(self, kind: StopKind, target: str, *, now: float) -> bool:
        """Stop it no more; False: it was not stopped."""
        values = {"where_kind": kind.value, "where_target": target, "now": now}
        _, lifted = await self._database.write((statements.STOP_CHANGES, {}), (statements.STOP_LIFT, values))
        return lifted.count == 1

    async def active(self, *, now: float) -> Sequence[Stop]:
        """Those in force, by kind and target; tokens left out. A damaged row is logged and left out."""
        return readable(await self._database.read(statements.STOPS_ACTIVE, {"now": now}), _stop)

    async def sweep(self, *, before: float) -> int:
        """Remove those that ended, or were lifted, before that; how many."""
        swept = 0
        while True:
            (outcome,) = await self._database.write((statements.STOPS_SWEEP, {"before": before}))
            swept += outcome.count
            if outcome.count < SWEPT_AT_ONCE:
                return swept


def _stop(row: Row) -> Stop:
    try:
        return stop_from(row)
    except DamagedRow as error:
        raise StoreUnavailable(
            f"What is stopped cannot be read: the row of the {row[0]} {row[1]} is damaged, or of a newer version."
            " Upgrade valetkey, or remove that row."
        ) from error
