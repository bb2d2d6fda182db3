"""Connections and interactions to put into stores, and the stores themselves."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from valetkey.adapters.memory import MemoryConnections, MemoryInteractions
from valetkey.adapters.sql.connections import SqlConnections
from valetkey.adapters.sql.interactions import SqlInteractions
from valetkey.adapters.sql.sqlite import SqliteDatabase
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Sealed
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.ports.stores import ConnectionStore, InteractionStore

ADA = Owner(workspace="default", issuer="host", subject="ada")
BOB = Owner(workspace="default", issuer="host", subject="bob")
NOW = 1_750_000_000.0

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


class Stores:
    """Both stores of one kind."""

    def __init__(self, connections: ConnectionStore, interactions: InteractionStore) -> None:
        self.connections = connections
        self.interactions = interactions
        self.close: Callable[[], None] = lambda: None


def in_memory() -> Stores:
    """The stores that are gone with their process."""
    return Stores(MemoryConnections(), MemoryInteractions())


def in_sqlite(path: Path, *, busy_timeout: float = 5.0) -> Stores:
    """The stores in one SQLite file."""
    database = SqliteDatabase(path, busy_timeout=busy_timeout)
    stores = Stores(SqlConnections(database), SqlInteractions(database))
    stores.close = database.close
    return stores
