"""A bounded pool of PostgreSQL connections on one loop; nothing is kept in a session of the server.

Statements are sent without a name, each with its text and its values in one message that ends with Sync. So a
query is one round trip and a transaction of its own, whichever server a pgbouncer in transaction mode gives it.
asyncpg does so where its statement cache is off (0.29 and later): what it keeps of a statement are its types.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from valetkey.adapters.sql.database import Outcome

TAKE_SECONDS = 5.0
"""How long somebody waits for a connection: for one in use to come back, and for a new one to be made."""

IDLE_SECONDS = 60.0
"""An unused one is closed after that, ahead of most firewalls, which forget it without a word."""

LEAVE_SECONDS = 1.0
"""How long it may take to close one politely."""

FAULTS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg and the system raise. asyncio's TimeoutError is an OSError."""

_PAUSE = 0.005
_FULL = 0.5  # seconds until the next one is tried at a server that has no place left, while there is one to share
_FULL_OR_STARTING = {"53300", "57P03"}


class PoolExhausted(TimeoutError):
    """Every connection was in use for too long."""


class PoolClosed(asyncpg.InterfaceError):
    """It was closed while somebody had work for it."""


async def connect(url: str) -> asyncpg.Connection[asyncpg.Record]:
    """A connection that keeps nothing in its session, made within ``TAKE_SECONDS``.

    Raises:
        OSError: as the system says; TimeoutError is one.
        asyncpg.PostgresError: as the server says.
        asyncpg.InterfaceError: the address cannot be used.
    """
    try:
        return await asyncpg.connect(
            url, timeout=TAKE_SECONDS, statement_cache_size=0, server_settings={"application_name": "valetkey"}
        )
    except OSError:  # one about a certificate is a ValueError, too
        raise
    except (ValueError, OverflowError):
        # Its text quotes a part of the address, which may be one of the password.
        raise asyncpg.ClientConfigurationError("the address cannot be used") from None


class Session:
    """One connection, with the types of the statements that it has met."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], *, period: int) -> None:
        self.connection = connection
        self.period = period
        self.idle_since = 0.0
        self._statements: dict[str, PreparedStatement[asyncpg.Record]] = {}

    async def run(self, sql: str, parameters: Sequence[object]) -> Outcome:
        """One statement; what it gave, and how many rows it touched."""
        statement = self._statements.get(sql)
        if statement is None:
            statement = self._statements[sql] = await self.connection.prepare(sql, name="")
        rows = await statement.fetch(*parameters)
        count = (statement.get_statusmsg() or "").rpartition(" ")[2]  # as in "UPDATE 1"
        return Outcome([tuple(row) for row in rows], int(count) if count.isdigit() else -1)

    @property
    def usable(self) -> bool:
        """Whether the next one may have it."""
        return not self.connection.is_closed() and not self.connection.is_in_transaction()


class Pool:
    """Connections of one process and one loop, made when they are needed. Every method is for that loop.

    Args:
        url: where the database is, as asyncpg reads it.
        size: how many connections there are at most.
    """

    def __init__(self, url: str, *, size: int) -> None:
        self.ready = False
        self.opening: asyncio.Task[None] | None = None
        self._url = url
        self._size = size
        self._loop = asyncio.get_running_loop()
        self.process = os.getpid()
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Session] = []
        self._busy: set[Session] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False
        self._period = 0
        self._connecting = False
        self._connect_at = 0.0
        self._prune: asyncio.TimerHandle | None = None

    @property
    def here(self) -> bool:
        """Whether it belongs to this process and to the running loop."""
        return self.process == os.getpid() and self._loop is asyncio.get_running_loop()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection for one unit of work. One that is left in doubt is thrown away.

        Raises:
            PoolExhausted: none came free in time.
            PoolClosed: it was closed.
            OSError: as the system says; TimeoutError is one.
            asyncpg.PostgresError: as the server says.
            asyncpg.InterfaceError: the connection was closed, or the address cannot be used.
        """
        session = await self._take()
        self._busy.add(session)
        certain = False
        try:
            yield session
            certain = True
        except asyncpg.PostgresError:
            certain = True  # the server has answered; what the answer leaves behind is seen below
            raise
        finally:
            self._busy.discard(session)
            if certain and session.usable and session.period == self._period and not self._closed:
                self._keep(session)
                self._slots.release()
            else:
                leaving = self._loop.create_task(self._leave(session))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)

    def distrust(self) -> None:
        """One was dead: the others that are open by now may be. They are closed, those in use after their work."""
        self._period += 1
        while self._idle:
            self._idle.pop().connection.terminate()

    async def close(self) -> None:
        """Wait a moment for what is under way, then close every connection."""
        if not self.here:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKE_SECONDS):
                for _ in range(self._size):
                    await self._slots.acquire()
        self._closed = True
        if self._prune is not None:
            self._prune.cancel()
        for session in self._busy:
            session.connection.terminate()
        for session in self._idle:
            with suppress(*FAULTS):
                await session.connection.close(timeout=LEAVE_SECONDS)
        self._idle.clear()

    async def _leave(self, session: Session) -> None:
        # Closing has the server end the statement that we gave up, which might wait for a lock there for long.
        try:
            with suppress(*FAULTS):
                await session.connection.close(timeout=LEAVE_SECONDS)
        finally:
            session.connection.terminate()
            self._slots.release()

    async def _take(self) -> Session:
        refused: asyncpg.PostgresError | None = None
        mine = False
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                await self._slots.acquire()
                mine = True
                while True:
                    session = self._unused()
                    if session is not None:
                        return session
                    if not self._connecting and self._loop.time() >= self._connect_at:
                        try:
                            return await self._connect()
                        except asyncpg.PostgresError as error:
                            if error.sqlstate not in _FULL_OR_STARTING:
                                raise
                            refused = error
                    # One of ours comes back, or the server has room, or has started.
                    await asyncio.sleep(_PAUSE)
        except BaseException as error:
            if mine:
                self._slots.release()
            if isinstance(error, TimeoutError):
                raise (refused or error) if mine else PoolExhausted() from error
            raise

    async def _connect(self) -> Session:
        """One at a time: many processes that begin at once must not take all places of the server from each other."""
        period = self._period  # before it is made: what is met meanwhile counts
        self._connecting = True
        try:
            return Session(await connect(self._url), period=period)
        except asyncpg.PostgresError:
            self._connect_at = self._loop.time() + (_FULL if self._busy else _PAUSE)
            raise
        finally:
            self._connecting = False

    def _unused(self) -> Session | None:
        if self._closed:
            raise PoolClosed("closed")
        while self._idle:
            session = self._idle.pop()
            if session.usable:
                return session
            session.connection.terminate()
        return None

    def _keep(self, session: Session) -> None:
        session.idle_since = self._loop.time()
        self._idle.append(session)
        if self._prune is None:
            self._prune = self._loop.call_later(IDLE_SECONDS, self._close_unused)

    def _close_unused(self) -> None:
        self._prune = None
        before = self._loop.time() - IDLE_SECONDS
        idle, self._idle = self._idle, []
        for session in idle:
            if session.idle_since > before and session.usable:
                self._idle.append(session)
            else:
                session.connection.terminate()
        if self._idle:
            self._prune = self._loop.call_later(IDLE_SECONDS, self._close_unused)
