"""PostgreSQL: a pool on the home loop, and nothing kept in a session, so that pgbouncer may stand in between.

A read is one round trip, a transaction of its own. A write begins and commits one, so that nothing can have been
saved before its last round trip is under way. READ COMMITTED is enough: each update names the row and the state
that it saw, and PostgreSQL asks that again where another transaction changed the row meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

import asyncpg
from sqlalchemy import Executable, Insert, Select
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.exc import DBAPIError

from valetkey.adapters.sql import schema
from valetkey.adapters.sql.database import Outcome, Step, Taken, Values
from valetkey.adapters.sql.postgres_faults import (
    cause,
    given_way,
    lost,
    suspicious,
    tables_gone,
    unavailable,
)
from valetkey.adapters.sql.postgres_pool import FAULTS, Pool, Session, connect
from valetkey.adapters.sql.rows import Row
from valetkey.errors import InvalidArguments, StoreUnavailable
from valetkey.ports.world import Home

T = TypeVar("T")
Work = Sequence[tuple[str, Sequence[object]]]

POOL_SIZE = 10
READ_SECONDS = 5.0
WRITE_SECONDS = 8.0
# The server ends by itself what a program that stands still has begun, or others would wait for its locks.
BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '4s'; SET LOCAL statement_timeout = '5s';"
    " SET LOCAL idle_in_transaction_session_timeout = '10s'"
)
_MIGRATION = (
    "SET LOCAL lock_timeout = '30s'",
    "SET LOCAL statement_timeout = 0",
    "SELECT pg_advisory_xact_lock(8272853918)",  # any number that nobody else has; it ends with the transaction
)

_DIALECT = dialect.dialect()  # type: ignore[no-untyped-call]
# A forked child must neither use nor close its parents' connections: the loop that watches them is shared.
_parents: list[Pool] = []


class _Prepared(NamedTuple):
    sql: str
    names: Sequence[str]
    constants: Values  # of the statement itself: a limit that it says

    def parameters(self, values: Values) -> list[object] | None:
        """In their order; None where one is no text that PostgreSQL keeps."""
        given = {**self.constants, **values} if self.constants else values
        found = [given[name] for name in self.names]
        return found if all(_possible(value) for value in found) else None


class PostgresDatabase:
    """One database, opened at first use. May be called from any loop and any thread, and after a fork.

    Args:
        url: where it is: ``postgresql://user:password@host:5432/name``; asyncpg reads it, ``sslmode`` included.
        home: the loop on which its connections live.
    """

    def __init__(self, url: str, home: Home) -> None:
        self._url = url
        self._home = home
        self._queries: dict[Executable, _Prepared] = {}
        self._steps: dict[Executable, _Prepared] = {}
        self._pool: Pool | None = None

    @property
    def opened(self) -> bool:
        """Whether this process has opened it."""
        return self._pool is not None and self._pool.process == os.getpid()

    def lease_clock(self) -> float | None:
        """None: leases are told by the server's clock, one for all machines."""
        return None

    async def read(self, statement: Executable, values: Values, *, aside: bool = False) -> Sequence[Row]:
        """The rows of one query. A value that no text column can hold finds none. No loop waits for it anyway.

        Raises:
            StoreUnavailable: the database cannot be used; the text says why.
        """
        prepared = self._queries.get(statement)
        if prepared is None:
            prepared = self._queries[statement] = _prepare(statement)
        parameters = prepared.parameters(values)
        if parameters is None:
            return ()
        return await self._at_home(lambda: self._read(prepared.sql, parameters))

    async def write(self, *steps: Step, erase: bool = False) -> Sequence[Outcome]:
        """Run the steps in one transaction, and commit; the outcome of each.

        It goes on to its end even when the one who waits is cancelled: who was cancelled reads the row to know.
        A value that no text column can hold matches no row.

        Args:
            steps: statements with their values, in order.
            erase: has no meaning here: the server's files are not ours.

        Raises:
            Taken: a unique column holds a value already.
            InvalidArguments: a new row has a text that no column can hold, or names that are together longer than
                an index takes.
            StoreUnavailable: the database cannot be used; the text says why.
        """
        work = []
        for statement, values in steps:
            prepared = self._steps.get(statement)
            if prepared is None:
                # What a query of a transaction found, a later step relies on: nobody may change it in between.
                locking = statement.with_for_update() if isinstance(statement, Select) else statement
                prepared = self._steps[statement] = _prepare(locking)
            parameters = prepared.parameters(values)
            if parameters is None and isinstance(statement, Insert):
                raise InvalidArguments("A text holds a NUL or half of a character. Use whole text without them.")
            if parameters is None:
                return [Outcome((), 0) for _ in steps]
            work.append((prepared.sql, parameters))
        return await self._at_home(lambda: self._write(work))

    def close(self) -> None:
        """Finish the writes that were handed over, and close the connections. A later use opens them again."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if pool.process == os.getpid():
            self._home.block(pool.close)
        else:
            _parents.append(pool)

    async def _at_home(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await self._home.run(work)
        except RuntimeError as error:
            raise StoreUnavailable("The database was closed, as the program ends. Open Valetkey again.") from error

    async def _read(self, sql: str, parameters: Sequence[object]) -> Sequence[Row]:
        pool = await self._opened()
        again = False
        while True:
            try:
                async with pool.session() as session, asyncio.timeout(READ_SECONDS):
                    return (await session.run(sql, parameters)).rows
            except FAULTS as error:
                _look_after(pool, error)
                if again or not lost(error):
                    raise unavailable(error) from error
                again = True

    async def _write(self, work: Work) -> Sequence[Outcome]:
        pool = await self._opened()
        again = False
        while True:
            committing = False
            try:
                async with pool.session() as session, asyncio.timeout(WRITE_SECONDS):
                    outcomes = await _begin(session, work)
                    committing = outcomes is not None
                    await session.connection.execute("COMMIT" if committing else "ROLLBACK")
            except FAULTS as error:
                _look_after(pool, error)
                if committing:  # where the server did not say no, it may have said yes
                    raise unavailable(error, saving=suspicious(error)) from error
                if isinstance(error, asyncpg.ProgramLimitExceededError):
                    raise InvalidArguments("The names are too long together for an index. Use shorter ones.") from error
                if again or not (lost(error) or given_way(error)):
                    raise unavailable(error) from error
                again = True
            else:
                if outcomes is None:
                    raise Taken
                return outcomes

    async def _opened(self) -> Pool:
        pool = self._pool
        if pool is None or not pool.here:
            if pool is not None and pool.process != os.getpid():
                _parents.append(pool)
            pool = self._pool = Pool(self._url, size=POOL_SIZE)
        if not pool.ready:
            # One opens it, and all who came meanwhile hear of the outcome: none waits in line to fail in turn.
            if pool.opening is None:
                pool.opening = asyncio.create_task(self._open(pool))
            await asyncio.shield(pool.opening)
        return pool

    async def _open(self, pool: Pool) -> None:
        try:
            async with pool.session() as session, asyncio.timeout(READ_SECONDS):
                behind = await _behind(session)
            if behind:
                # In a thread with a loop of its own: Alembic is not quick, and others use the home loop.
                await asyncio.to_thread(asyncio.run, migrate(self._url))
            pool.ready = True
        except (*FAULTS, DBAPIError) as error:
            reason = cause(error)
            _look_after(pool, reason)
            raise unavailable(reason) from error
        finally:
            pool.opening = None


async def migrate(url: str) -> None:
    """Bring the database to the newest schema, in one transaction under one lock; on a connection of its own.

    Raises:
        StoreUnavailable: it is newer, and not for this version of Valetkey.
        sqlalchemy.exc.DBAPIError: the server says no.
        OSError: it cannot be reached.
    """
    # Only a database that is behind pays for these.
    from sqlalchemy import NullPool  # noqa: PLC0415 - as above
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - as above

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connect(url),
        poolclass=NullPool,
        isolation_level="READ COMMITTED",  # so that what another process did is seen once the lock is ours
    )
    async with engine.begin() as connection:
        for sql in _MIGRATION:
            await connection.exec_driver_sql(sql)
        await connection.run_sync(schema.migrate_within)


def _prepare(statement: Executable) -> _Prepared:
    compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]  # all of ours have it
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return _Prepared(str(compiled), tuple(compiled.positiontup or ()), constants)


async def _behind(session: Session) -> bool:
    version = await _told(session, schema.VERSION)
    return schema.behind(version, None if schema.known(version) else await _told(session, schema.READS_SINCE))


async def _told(session: Session, sql: str) -> str | None:
    try:
        rows = (await session.run(sql, ())).rows
    except asyncpg.UndefinedTableError:
        return None
    return str(rows[0][0]) if rows else None


async def _begin(session: Session, work: Work) -> Sequence[Outcome] | None:
    """Begin, and run the steps; None where a unique column holds a value already."""
    await session.connection.execute(BEGIN)
    try:
        return [await session.run(sql, parameters) for sql, parameters in work]
    except asyncpg.UniqueViolationError:
        return None


def _look_after(pool: Pool, error: BaseException) -> None:
    if tables_gone(error):
        pool.ready = False
    elif suspicious(error):
        pool.distrust()


def _possible(value: object) -> bool:
    """Whether PostgreSQL keeps that: no NUL in a text, and no half of a character."""
    if not isinstance(value, str):
        return True
    if value.isascii():
        return "\0" not in value
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value
