"""An SQLite file as one process has it open: idle readers, and a thread with the one writer."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import NullPool

from valetkey.adapters.sql import schema
from valetkey.adapters.sql.database import Outcome, Taken
from valetkey.adapters.sql.files import OTHERS, private_file, private_folder
from valetkey.adapters.sql.rows import Row
from valetkey.errors import StoreUnavailable

T = TypeVar("T")

_log = logging.getLogger("valetkey")
_MIGRATION_WAIT = 30.0  # seconds for another process to finish its migration
_ERASE_WAIT = 0.2  # seconds to wait for readers before the log is emptied; the next one catches up
_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_PRAGMAS = ("synchronous=FULL", "secure_delete=ON", "foreign_keys=ON", "trusted_schema=OFF")
_TAKEN = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}


class SqliteFile:
    """The connections of one process. Its methods raise what ``sqlite3`` and the system raise."""

    def __init__(self, path: Path, *, busy_timeout: float) -> None:
        self.ready = False
        self._path = path
        self._inode = 0
        self._busy_timeout = busy_timeout
        self._readers: deque[sqlite3.Connection] = deque()
        self._writer: sqlite3.Connection | None = None
        self._only_read = False
        self._last = threading.Lock()
        # A thread of our own: tools that fill a shared pool, and wait for a write, would wait for themselves.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="valetkey-sqlite")

    def open(self) -> None:
        """Make what is missing: folder, file, WAL mode, schema. Runs on the writer's thread."""
        if self.ready:
            return
        private_folder(self._path.parent)
        try:
            private_file(self._path)
        except FileExistsError:
            self._tighten()
        with closing(self._connect(wait=_MIGRATION_WAIT)) as connection:
            self._enter_wal(connection)
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            known = ("alembic_version",) in tables
            version = connection.execute(schema.VERSION).fetchone() if known else None
            newer = version is not None and not schema.known(version[0]) and ("compatibility",) in tables
            reads_since = connection.execute(schema.READS_SINCE).fetchone() if newer else None
            if schema.behind(version[0] if version else None, reads_since[0] if reads_since else None):
                self._migrate()
        self._inode = self._path.stat().st_ino
        self.ready = True

    def gone(self) -> bool:
        """Whether the file was removed or replaced while it is open: what is written goes nowhere."""
        try:
            return self._path.stat().st_ino != self._inode
        except OSError:
            return True

    def read(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        """The rows of one query, on the calling thread."""
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._connect()
            connection.execute("PRAGMA query_only=ON")
        try:
            rows = _rows(connection, sql, parameters)
        except BaseException:
            connection.close()
            raise
        if self.ready and not self._only_read:
            self._readers.append(connection)
        else:
            connection.close()
        return rows

    def write(self, work: Sequence[tuple[str, Sequence[object]]], *, erase: bool) -> list[Outcome]:
        """One transaction, on the writer's thread.

        Raises:
            Taken: a unique column holds a value already.
        """
        if self._writer is None:
            self._writer = self._connect()
            self._writer.text_factory = _text  # a damaged row can be removed
        connection = self._writer
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = []
            for sql, parameters in work:
                cursor = connection.execute(sql, parameters)
                outcomes.append(Outcome(cursor.fetchall(), cursor.rowcount))
            connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            connection.rollback()
            if error.sqlite_errorcode in _TAKEN:
                raise Taken from None
            raise
        except BaseException as error:
            # Closing rolls back, and a new connection has nothing left of what went wrong with this one.
            self._writer = None
            connection.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
                # As long as one connection of the process is open, SQLite does not look whether it may write by now.
                self._only_read = True
                with suppress(IndexError):
                    while True:
                        self._readers.pop().close()
            raise
        self._only_read = False
        if erase and any(outcome.count > 0 for outcome in outcomes):
            self._erase(connection)
        return outcomes

    async def on_writer(self, work: Callable[[], T]) -> T:
        """Run on the writer's thread and wait.

        Cancelling the wait neither stops the work nor takes it off the queue: what was handed over is done.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()

        def settle(outcome: Callable[[], None]) -> None:
            if not waiter.done():
                outcome()

        def tell(outcome: Callable[[], None]) -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
                loop.call_soon_threadsafe(settle, outcome)

        def job() -> None:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - handed to the one who waits
                failure = error
                tell(lambda: waiter.set_exception(failure))
            else:
                tell(lambda: waiter.set_result(result))

        try:
            self._thread.submit(job)
        except RuntimeError as error:
            if not self.ready:
                raise StoreUnavailable("The database was closed, as the program ends. Nothing was written.") from error
            with self._last:
                job()  # Python itself is ending, and has finished the thread; what is under way is saved all the same
        return await waiter

    def close(self) -> None:
        """Finish what was handed over, and close every connection."""
        self.ready = False
        with suppress(RuntimeError):  # Python itself is ending, and has finished the thread
            self._thread.submit(self._close_writer)
        self._thread.shutdown(wait=True)
        self._close_writer()
        while self._readers:
            self._readers.pop().close()

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _connect(self, *, wait: float | None = None) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=self._busy_timeout if wait is None else wait,
            isolation_level=None,  # transactions begin where we say so
            check_same_thread=False,
        )
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _enter_wal(self, connection: sqlite3.Connection) -> None:
        # SQLite does not wait when two processes switch the mode at once: it says busy, and we wait.
        for pause in (*_PAUSES, None):
            try:
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            except sqlite3.OperationalError as error:
                if pause is None or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                threading.Event().wait(pause)
            else:
                break
        if mode != "wal":
            raise StoreUnavailable(
                f"The database {self._path.name} is on a disk that SQLite cannot share safely. Point"
                " VALETKEY_HOME or VALETKEY_DATABASE_URL to a local disk."
            )

    def _migrate(self) -> None:
        engine = create_engine("sqlite://", creator=lambda: self._connect(wait=_MIGRATION_WAIT), poolclass=NullPool)

        @event.listens_for(engine, "begin")
        def lock(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        schema.migrate(engine)

    def _tighten(self) -> None:
        for end in ("", "-wal", "-shm"):
            path = self._path.with_name(self._path.name + end)
            with suppress(FileNotFoundError):
                if not path.stat().st_mode & OTHERS:
                    continue
                try:
                    path.chmod(0o600)
                except PermissionError:
                    _log.warning("Others can read the database file %s, and its mode is not ours.", path)
                else:
                    _log.warning("Others could read the database file %s; its mode is 0600 now.", path)

    def _erase(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA busy_timeout={int(_ERASE_WAIT * 1000)}")
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute(f"PRAGMA busy_timeout={int(self._busy_timeout * 1000)}")


def _rows(connection: sqlite3.Connection, sql: str, parameters: Sequence[object]) -> list[Any]:
    try:
        return connection.execute(sql, parameters).fetchall()
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) is not None:
            raise
    # A text in one of the rows is no UTF-8. It stays bytes, which no text may be: that row fails alone.
    connection.text_factory = _text
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.text_factory = str


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
