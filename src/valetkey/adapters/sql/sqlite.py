"""SQLite: reads on the calling thread, writes on one thread of their own.

A point read takes some 20 µs on a raw connection; SQLAlchemy's own path takes 120, and a hop to a thread
more. So statements are built by SQLAlchemy, compiled once, and run on ``sqlite3``. In WAL mode a reader waits
for nobody.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Executable
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from valetkey.adapters.sql.database import Outcome, Step, Values
from valetkey.adapters.sql.rows import Row
from valetkey.adapters.sql.sqlite_file import SqliteFile
from valetkey.adapters.sql.statements import PING
from valetkey.errors import StoreUnavailable

_DIALECT = sqlite.dialect(paramstyle="qmark")
_LOCKED = "is locked by another program. Try again; if it stays so, end the program that holds it"
_REASONS = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full. Free some space; nothing that was saved is lost",
    sqlite3.SQLITE_READONLY: "may only be read. Make the file and its folder writable for this account",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened. Make the file and its folder usable for this account",
    sqlite3.SQLITE_PERM: "cannot be opened. Make the file and its folder usable for this account",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error. Look after the disk",
    sqlite3.SQLITE_CORRUPT: "is damaged. Restore it from its backup, or move it away to start anew",
    sqlite3.SQLITE_NOTADB: "is no SQLite database. Restore it from its backup, or move it away to start anew",
}


class _Prepared(NamedTuple):
    sql: str
    names: Sequence[str]
    constants: Values  # of the statement itself: an offset that the dialect adds

    def parameters(self, values: Values) -> list[object]:
        given = {**self.constants, **values} if self.constants else values
        return [given[name] for name in self.names]


class SqliteDatabase:
    """One database file; made at first use with mode 0600, in a folder of mode 0700.

    May be called from any loop and any thread, and after a fork: a child opens the file anew.

    Args:
        path: the file.
        ticks: seconds that never go back, the same for all processes of this machine: leases are told by them.
        busy_timeout: seconds that a write waits for another process to finish its own.
    """

    def __init__(self, path: Path, *, ticks: Callable[[], float], busy_timeout: float = 5.0) -> None:
        self._path = path
        self._ticks = ticks
        self._busy_timeout = busy_timeout
        self._prepared: dict[Executable, _Prepared] = {}
        # By process: a child must neither use nor close the connections that it was forked with.
        self._files: dict[int, SqliteFile] = {}

    @property
    def opened(self) -> bool:
        """Whether this process has opened it."""
        return os.getpid() in self._files

    def lease_clock(self) -> float | None:
        """The machine's steady clock: whoever shares this file shares it, and nobody sets it."""
        return self._ticks()

    async def read(self, statement: Executable, values: Values, *, aside: bool = False) -> Sequence[Row]:
        """The rows of one query. A value that no text column can hold finds none.

        ``aside``: in a thread, for one that looks at many rows.

        Raises:
            StoreUnavailable: the database cannot be used; the text says why.
        """
        file = self._files.get(os.getpid())
        if file is None or not file.ready:
            file = await self._open()
        prepared = self._prepared.get(statement) or self._prepare(statement)
        try:
            if aside:
                return await asyncio.to_thread(file.read, prepared.sql, prepared.parameters(values))
            return file.read(prepared.sql, prepared.parameters(values))
        except UnicodeEncodeError:
            return ()
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    async def write(self, *steps: Step, erase: bool = False) -> Sequence[Outcome]:
        """Run the steps in one transaction, and commit; the outcome of each.

        What was handed over is done, in order, even when the one who waits is cancelled: who was cancelled
        reads the row to know. A value that no text column can hold matches no row.

        Args:
            steps: statements with their values, in order.
            erase: leave no copy of what was overwritten in the write-ahead log.

        Raises:
            Taken: a unique column holds a value already.
            StoreUnavailable: the database cannot be used; the text says why.
        """
        file = self._files.get(os.getpid())
        if file is None or not file.ready:
            file = await self._open()
        work = []
        for statement, values in steps:
            prepared = self._prepared.get(statement) or self._prepare(statement)
            work.append((prepared.sql, prepared.parameters(values)))
        try:
            return await file.on_writer(lambda: file.write(work, erase=erase))
        except UnicodeEncodeError:
            return [Outcome((), 0) for _ in steps]
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    async def ping(self) -> None:
        """Ask it something small.

        Raises:
            StoreUnavailable: it cannot be used, or its file was taken away while it was open.
        """
        await self.read(PING, {})
        file = self._files.get(os.getpid())
        if file is not None and file.gone():
            raise StoreUnavailable(
                f"The database {self._path.name} was removed or replaced while it was open. Start the program again."
            )

    def close(self) -> None:
        """Finish the writes that were handed over, and close the file. A later use opens it again."""
        file = self._files.pop(os.getpid(), None)
        if file is not None:
            file.close()

    async def _open(self) -> SqliteFile:
        new = SqliteFile(self._path, busy_timeout=self._busy_timeout)
        file = self._files.setdefault(os.getpid(), new)  # of several callers one makes it, and all wait in line
        try:
            await file.on_writer(file.open)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        except DBAPIError as error:
            raise self._unavailable(error.orig) from error
        except OSError as error:
            raise StoreUnavailable(
                f"The database {self._path.name} cannot be made: {error.strerror or type(error).__name__}."
                " Point VALETKEY_HOME or VALETKEY_DATABASE_URL to a folder that this account may write."
            ) from error
        return file

    def _prepare(self, statement: Executable) -> _Prepared:
        compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]  # all of ours have it
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        prepared = _Prepared(str(compiled), tuple(compiled.positiontup or ()), constants)
        self._prepared[statement] = prepared
        return prepared

    def _unavailable(self, error: BaseException | None) -> StoreUnavailable:
        # SQLite's own words may quote a value: only the name of the error goes on.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        reason = _REASONS.get(code, f"cannot be used now ({name}). Try again, or move the file away to start anew")
        return StoreUnavailable(f"The database {self._path.name} {reason}.")
