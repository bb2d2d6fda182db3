"""What the stores ask of a database: SQLite answers at once, another one over a socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Executable

from valetkey.adapters.sql.rows import Row

Values = Mapping[str, object]
Step = tuple[Executable, Values]


class Taken(Exception):
    """A unique column holds that value already; nothing was written. An outcome, never shown to anybody."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one statement gave, and how many rows it touched."""

    rows: Sequence[Row]
    count: int


class Database(Protocol):
    """One database. May be called from any loop and any thread.

    Both methods raise ``StoreUnavailable`` when the database cannot be used.
    """

    def lease_clock(self) -> float | None:
        """Seconds of the clock by which leases are told, one for all who use this database.

        None: it is the server's own, which the statements ask.
        """
        ...

    async def read(self, statement: Executable, values: Values, *, aside: bool = False) -> Sequence[Row]:
        """The rows of one query. A value that no text column can hold finds none.

        ``aside``: it may take long, so that the calling loop must not wait for it.
        """
        ...

    async def write(self, *steps: Step, erase: bool = False) -> Sequence[Outcome]:
        """Run the steps in one transaction, and commit; the outcome of each.

        Once begun, it goes on to its end even when the one who waits is cancelled.

        Args:
            steps: statements with their values, in order.
            erase: leave no copy of what was overwritten in the database's own files.

        Raises:
            Taken: a unique column holds a value already.
        """
        ...
