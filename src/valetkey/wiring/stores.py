"""Where rows are kept, as settings say: SQLite, PostgreSQL, Redis, or only this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from valetkey.errors import InvalidSetting
from valetkey.ports.registrations import ClientStore
from valetkey.ports.stores import (
    AccountStore,
    AuditStore,
    ConnectionStore,
    CounterStore,
    InteractionStore,
    LeaderStore,
    RevocationStore,
    StopStore,
    TokenStore,
    WorkspaceStore,
)
from valetkey.ports.world import Clock, Home
from valetkey.settings.pocket import Config
from valetkey.wiring.bus import redis_client

if TYPE_CHECKING:
    from valetkey.adapters.sql.database import Database


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Every store, over one database; where accounts at providers are in Redis, identity is in SQL beside it.

    Attributes:
        name: which database this is, without any secret: one journal for each.
        kept: whether what is stored outlives the process.
        counters: for limits, where there is no bus.
        identity_opened: whether the database of identity is in use here: who has none need not open it to tidy up.
        ping: ask it something small, and that of identity where it is in use; raises ``StoreUnavailable``.
        close: close what is open.
    """

    name: str
    kept: bool
    connections: ConnectionStore
    interactions: InteractionStore
    revocations: RevocationStore
    leaders: LeaderStore
    clients: ClientStore
    accounts: AccountStore
    tokens: TokenStore
    stops: StopStore
    workspaces: WorkspaceStore
    audit: AuditStore
    counters: CounterStore
    identity_opened: Callable[[], bool]
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
        return _redis(config, home, beside=_database(config, folder, clock=clock, home=home))
    return _database(config, folder, clock=clock, home=home)


def _database(config: Config, folder: Path, *, clock: Clock, home: Home) -> Stores:
    if config.general.database_url is None:
        return _sqlite(folder / "valetkey.db", clock)
    url = config.general.database_url.reveal()
    if url.startswith("sqlite:///"):
        return _sqlite(Path(url.removeprefix("sqlite:///")), clock)
    if url.startswith(("postgresql://", "postgres://")):
        return _postgres(url, home, clock)
    raise InvalidSetting("The setting database_url has to begin with sqlite:/// or postgresql://.")


def in_memory(clock: Clock) -> Stores:
    """Stores that end with the process."""
    from valetkey.adapters.local_messages import LocalCounters
    from valetkey.adapters.memory import MemoryConnections, MemoryInteractions
    from valetkey.adapters.memory_identity import MemoryAccounts, MemoryAudit, MemoryWorkspaces
    from valetkey.adapters.memory_queues import MemoryLeaders, MemoryRevocations
    from valetkey.adapters.memory_registrations import MemoryClients
    from valetkey.adapters.memory_tokens import MemoryStops, MemoryTokens

    async def ping() -> None:
        pass

    revocations = MemoryRevocations()
    stops = MemoryStops()
    return Stores(
        name="memory",
        kept=False,
        connections=MemoryConnections(ticks=clock.monotonic, revocations=revocations),
        interactions=MemoryInteractions(),
        revocations=revocations,
        leaders=MemoryLeaders(ticks=clock.monotonic),
        clients=MemoryClients(),
        accounts=MemoryAccounts(),
        tokens=MemoryTokens(stops=stops, now=clock.now),
        stops=stops,
        workspaces=MemoryWorkspaces(),
        audit=MemoryAudit(),
        counters=LocalCounters(ticks=clock.monotonic),
        identity_opened=lambda: True,
        ping=ping,
        close=lambda: None,
    )


def _redis(config: Config, home: Home, *, beside: Stores) -> Stores:
    client = redis_client(config, home, store=True)
    from valetkey.adapters.redis_connections import RedisConnections
    from valetkey.adapters.redis_interactions import RedisInteractions
    from valetkey.adapters.redis_queues import RedisLeaders, RedisRevocations
    from valetkey.adapters.redis_registrations import RedisClients

    async def ping() -> None:
        await client.ping()
        if beside.identity_opened():
            await beside.ping()

    def close() -> None:
        client.close()
        beside.close()

    return replace(
        beside,
        name=client.name,
        connections=RedisConnections(client),
        interactions=RedisInteractions(client),
        revocations=RedisRevocations(client),
        leaders=RedisLeaders(client),
        clients=RedisClients(client),
        ping=ping,
        close=close,
    )


def _sqlite(path: Path, clock: Clock) -> Stores:
    from valetkey.adapters.sql.sqlite import SqliteDatabase

    database = SqliteDatabase(path, ticks=clock.monotonic)
    stores = _sql(
        database, clock, name=f"sqlite {path.absolute()}", opened=lambda: database.opened, close=database.close
    )
    return replace(stores, ping=database.ping)


def _postgres(url: str, home: Home, clock: Clock) -> Stores:
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
    name = f"postgresql {hosts}{name}"
    return _sql(database, clock, name=name, opened=lambda: database.opened, close=database.close)


def _sql(
    database: Database, clock: Clock, *, name: str, opened: Callable[[], bool], close: Callable[[], None]
) -> Stores:
    from valetkey.adapters.sql.accounts import SqlAccounts, SqlWorkspaces
    from valetkey.adapters.sql.audit import SqlAudit
    from valetkey.adapters.sql.connections import SqlConnections
    from valetkey.adapters.sql.counters import SqlCounters
    from valetkey.adapters.sql.interactions import SqlInteractions
    from valetkey.adapters.sql.queues import SqlLeaders, SqlRevocations, ping
    from valetkey.adapters.sql.registrations import SqlClients
    from valetkey.adapters.sql.stops import SqlStops
    from valetkey.adapters.sql.tokens import SqlTokens

    return Stores(
        name=name,
        kept=True,
        connections=SqlConnections(database),
        interactions=SqlInteractions(database),
        revocations=SqlRevocations(database),
        leaders=SqlLeaders(database),
        clients=SqlClients(database),
        accounts=SqlAccounts(database),
        tokens=SqlTokens(database, now=clock.now),
        stops=SqlStops(database),
        workspaces=SqlWorkspaces(database),
        audit=SqlAudit(database),
        counters=SqlCounters(database, clock=clock),
        identity_opened=opened,
        ping=lambda: ping(database),
        close=close,
    )
