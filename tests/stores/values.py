"""Connections and interactions to put into stores, and the stores themselves."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from valetkey.adapters.home import HomeLoop
from valetkey.adapters.memory import MemoryConnections, MemoryInteractions
from valetkey.adapters.memory_queues import MemoryLeaders, MemoryRevocations
from valetkey.adapters.redis_client import RedisClient
from valetkey.adapters.redis_connections import RedisConnections
from valetkey.adapters.redis_interactions import RedisInteractions
from valetkey.adapters.redis_queues import RedisLeaders, RedisRevocations
from valetkey.adapters.sql.connections import SqlConnections
from valetkey.adapters.sql.database import Database
from valetkey.adapters.sql.interactions import SqlInteractions
from valetkey.adapters.sql.postgres import PostgresDatabase
from valetkey.adapters.sql.queues import SqlLeaders, SqlRevocations
from valetkey.adapters.sql.sqlite import SqliteDatabase
from valetkey.adapters.system import SystemClock
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Sealed
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.model.revocations import Revocation
from valetkey.ports.stores import ConnectionStore, InteractionStore, LeaderStore, RevocationStore
from valetkey.secret import Secret

ADA = Owner(workspace="default", issuer="host", subject="ada")
BOB = Owner(workspace="default", issuer="host", subject="bob")
NOW = 1_750_000_000.0
CLOCK = SystemClock()

_numbers = itertools.count(1)


def fresh_id() -> str:
    """An id that no other value of this run has."""
    return hashlib.sha256(str(next(_numbers)).encode()).hexdigest()


def a_connection(**changes: Any) -> Connection:
    """A connection as a handler would leave it, with the changes asked for."""
    usual = Connection(
        id=fresh_id()[:32],
        owner=ADA,
        provider="slack",
        handler="oauth2",
        profile="default",
        scopes=frozenset({"chat:write", "channels:read"}),
        sealed=Sealed(b"\x01sealed\x00\xff"),
        issued_at=NOW,
        expires_at=NOW + 3600.5,
        refreshable=True,
        account="ada@example.com",
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(usual, **changes)


def an_interaction(**changes: Any) -> Interaction:
    """A question to connect an account, just asked, with the changes asked for."""
    usual = Interaction(
        id=fresh_id(),
        kind=InteractionKind.CONNECT,
        owner=ADA,
        topic="slack/default",
        phase=Phase.OPEN,
        about={"provider": "slack", "scopes": ["chat:write"], "again": None},
        payload=Sealed(b"\x01payload\x00\xfe"),
        created_at=NOW,
        expires_at=NOW + 600,
    )
    return replace(usual, **changes)


def a_revocation(**changes: Any) -> Revocation:
    """A credential to end at its provider, with the changes asked for."""
    usual = Revocation(
        id=fresh_id()[:32],
        owner=ADA,
        provider="slack",
        handler="oauth2",
        sealed=Sealed(b"\x01revoked\x00\xfd"),
        created_at=NOW,
        next_try_at=NOW,
    )
    return replace(usual, **changes)


class Stores:
    """Every store of one kind."""

    def __init__(
        self,
        connections: ConnectionStore,
        interactions: InteractionStore,
        revocations: RevocationStore,
        leaders: LeaderStore,
    ) -> None:
        self.connections = connections
        self.interactions = interactions
        self.revocations = revocations
        self.leaders = leaders
        self.close: Callable[[], None] = lambda: None


def in_memory() -> Stores:
    """The stores that are gone with their process."""
    revocations = MemoryRevocations()
    connections = MemoryConnections(ticks=CLOCK.monotonic, revocations=revocations)
    return Stores(connections, MemoryInteractions(), revocations, MemoryLeaders(ticks=CLOCK.monotonic))


def in_sqlite(path: Path, *, busy_timeout: float = 5.0) -> Stores:
    """The stores in one SQLite file."""
    database = SqliteDatabase(path, ticks=CLOCK.monotonic, busy_timeout=busy_timeout)
    stores = in_sql(database)
    stores.close = database.close
    return stores


def in_postgres(url: str) -> Stores:
    """The stores in that PostgreSQL database, with a home loop of their own."""
    home = HomeLoop()
    database = PostgresDatabase(url, home)
    stores = in_sql(database)

    def close() -> None:
        database.close()
        home.close()

    stores.close = close
    return stores


def in_redis(url: str, *, deadline: float = 5.0, ca_file: str = "") -> Stores:
    """The stores in that Redis or Valkey, with a home loop of their own."""
    home = HomeLoop()
    client = RedisClient(Secret(url), setting="redis_url", home=home, deadline=deadline, ca_file=ca_file)
    stores = Stores(RedisConnections(client), RedisInteractions(client), RedisRevocations(client), RedisLeaders(client))

    def close() -> None:
        client.close()
        home.close()

    stores.close = close
    return stores


def in_sql(database: Database) -> Stores:
    """The stores in that database."""
    return Stores(SqlConnections(database), SqlInteractions(database), SqlRevocations(database), SqlLeaders(database))
