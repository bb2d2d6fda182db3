"""Where rows are kept, as settings say: SQLite, PostgreSQL, Redis, or only this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from valetkey.errors import InvalidSetting
from valetkey.ports.stores import ConnectionStore, InteractionStore, LeaderStore, RevocationStore
from valetkey.ports.world import Clock, Home
from valetkey.settings.pocket import Config
from valetkey.wiring.bus import redis_client

if TYPE_CHECKING:
    from valetkey.adapters.sql.database import Database


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Every store, over one database.

    Attributes:
        name: which database this is, without any secret: one journal for each.
        kept: whether what is stored outlives the process.
        ping: ask it something small; raises ``StoreUnavailable``.
        close: close what is open.
    """

    name: str
    kept: bool
    connections: ConnectionStore
    interactions: InteractionStore
    revocations: RevocationStore
    leaders: LeaderStore
    ping: Callable[[], Awaitable[None]]
    close: Callable[[], None]


def open_stores(config: Config, folder: Path, *, clock: Clock, home: Home) -> Stores:
    """The stores of these settings; nothing is opened before the first use.

    Raises:
        InvalidSetting: the database's address cannot be used.
    """
    if config.session.session_type == "in_memory":
        return in_memory(clock)
    if config.session.session_type == "redis":
        return _redis(config, home)
    if config.general.database_url is None:
        return _sqlite(folder / "valetkey.db", clock)
    url = config.general.database_url.reveal()
    if url.startswith("sqlite:///"):
        return _sqlite(Path(url.removeprefix("sqlite:///")), clock)
    if url.startswith(("postgresql://", "postgres://")):
        return _postgres(url, home)
    raise InvalidSetting("The setting database_url has to begin with sqlite:/// or postgresql://.")


def in_memory(clock: Clock) -> Stores:
    """Stores that end with the process."""
    from valetkey.adapters.memory import MemoryConnections, MemoryInteractions
    from valetkey.adapters.memory_queues import MemoryLeaders, MemoryRevocations

    async def ping() -> None:
        pass

    revocations = MemoryRevocations()
    return Stores(
        name="memory",
        kept=False,
        connections=MemoryConnections(ticks=clock.monotonic, revocations=revocations),
        interactions=MemoryInteractions(),
        revocations=revocations,
        leaders=MemoryLeaders(ticks=clock.monotonic),
        ping=ping,
        close=lambda: None,
    )


def _redis(config: Config, home: Home) -> Stores:
    client = redis_client(config, home, store=True)
    from valetkey.adapters.redis_connections import RedisConnections
    from valetkey.adapters.redis_interactions import RedisInteractions
    from valetkey.adapters.redis_queues import RedisLeaders, RedisRevocations

    return Stores(
        name=client.name,
        kept=True,
        connections=RedisConnections(client),
        interactions=RedisInteractions(client),
        revocations=RedisRevocations(client),
        leaders=RedisLeaders(client),
        ping=client.ping,
        close=client.close,
    )


def _sqlite(path: Path, clock: Clock) -> Stores:
    from valetkey.adapters.sql.sqlite import SqliteDatabase

    database = SqliteDatabase(path, ticks=clock.monotonic)
    return replace(_sql(database, name=f"sqlite {path.absolute()}", close=database.close), ping=database.ping)


def _postgres(url: str, home: Home) -> Stores:
    try:
        parts = urlsplit(url)
        # Read as it stands, the rest of a password would be the name of the database, which may be shown.
        readable = "@" not in parts.path + parts.query + parts.fragment
    except ValueError:  # its text quotes the password
        readable = False
    if not readable:
        raise InvalidSetting(
            "The setting database_url cannot be read: a user or password in it has one of the characters"
            " / ? # @ [ ]. Write these as %2F, %3F, %23, %40, %5B and %5D."
        )
    try:
        from valetkey.adapters.sql.postgres import PostgresDatabase
    except ModuleNotFoundError as error:
        if error.name not in {"asyncpg", "greenlet"}:
            raise
        raise InvalidSetting(
            "The setting database_url names PostgreSQL, and the package for it is missing: pip install"
            " 'valetkey[postgres]'."
        ) from error
    database = PostgresDatabase(url, home)
    given = parse_qs(parts.query)
    hosts = ",".join(filter(None, [parts.netloc.rpartition("@")[2], *given.get("host", ()), *given.get("port", ())]))
    name = "".join([parts.path, *given.get("dbname", ()), *given.get("database", ())])
    return _sql(database, name=f"postgresql {hosts}{name}", close=database.close)


def _sql(database: Database, *, name: str, close: Callable[[], None]) -> Stores:
    from valetkey.adapters.sql.connections import SqlConnections
    from valetkey.adapters.sql.interactions import SqlInteractions
    from valetkey.adapters.sql.queues import SqlLeaders, SqlRevocations, ping

    return Stores(
        name=name,
        kept=True,
        connections=SqlConnections(database),
        interactions=SqlInteractions(database),
        revocations=SqlRevocations(database),
        leaders=SqlLeaders(database),
        ping=lambda: ping(database),
        close=close,
    )
