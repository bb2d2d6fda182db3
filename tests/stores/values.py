"""Connections and interactions to put into stores, and the stores themselves."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from valetkey.adapters.home import HomeLoop
from valetkey.adapters.memory import MemoryConnections, MemoryInteractions
from valetkey.adapters.memory_identity import MemoryAccounts, MemoryAudit, MemoryWorkspaces
from valetkey.adapters.memory_queues import MemoryLeaders, MemoryRevocations
from valetkey.adapters.memory_registrations import MemoryClients
from valetkey.adapters.memory_tokens import MemoryStops, MemoryTokens
from valetkey.adapters.redis_client import RedisClient
from valetkey.adapters.redis_connections import RedisConnections
from valetkey.adapters.redis_interactions import RedisInteractions
from valetkey.adapters.redis_queues import RedisLeaders, RedisRevocations
from valetkey.adapters.redis_registrations import RedisClients
from valetkey.adapters.sql.accounts import SqlAccounts, SqlWorkspaces
from valetkey.adapters.sql.audit import SqlAudit
from valetkey.adapters.sql.connections import SqlConnections
from valetkey.adapters.sql.database import Database
from valetkey.adapters.sql.interactions import SqlInteractions
from valetkey.adapters.sql.postgres import PostgresDatabase
from valetkey.adapters.sql.queues import SqlLeaders, SqlRevocations
from valetkey.adapters.sql.registrations import SqlClients
from valetkey.adapters.sql.sqlite import SqliteDatabase
from valetkey.adapters.sql.stops import SqlStops
from valetkey.adapters.sql.tokens import SqlTokens
from valetkey.adapters.system import SystemClock
from valetkey.model.accounts import Account
from valetkey.model.audit import Action, Entry, Record
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Sealed
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.model.revocations import Revocation
from valetkey.model.stops import Stop, StopKind
from valetkey.model.tokens import Token, TokenKind
from valetkey.model.users import ScopeInfo, UserInfo, UserPermission
from valetkey.model.workspaces import WorkspaceInfo
from valetkey.ports.registrations import ClientStore
from valetkey.ports.stores import (
    AccountStore,
    AuditStore,
    ConnectionStore,
    InteractionStore,
    LeaderStore,
    RevocationStore,
    StopStore,
    TokenStore,
    WorkspaceStore,
)
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


def a_user(**changes: Any) -> UserInfo:
    """A user who may write in one workspace, with the changes asked for."""
    scope = ScopeInfo(current_workspace="ws-a", workspaces={"ws-a": UserPermission.read_write}, extra_scopes=["x:y"])
    usual: dict[str, Any] = {
        "id": "local|ada",
        "roles": ["admin"],
        "scope": scope,
        "email": "ada@example.com",
        "expires_at": NOW + 60,
    }
    return UserInfo(**usual | changes)


def a_token(**changes: Any) -> Token:
    """An API key, just made, with the changes asked for."""
    number = fresh_id()
    usual = Token(
        id=number[:22],
        kind=TokenKind.API_KEY,
        owner=ADA,
        user=a_user(),
        name="of the build",
        digest=number,
        key_id="key-1",
        created_at=NOW,
        expires_at=NOW + 3600.5,
        address="192.0.2.1",
        agent="curl/8",
    )
    token = replace(usual, **changes)
    token.user._principal = (token.owner.issuer, token.owner.subject)
    return token


def an_account(**changes: Any) -> Account:
    """A local account, with the changes asked for."""
    name = fresh_id()[:12]
    usual = Account(
        id=f"local|{name}",
        name=name,
        password_hash="$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
        email="ada@example.com",
        roles=("admin", "ops"),
        created_at=NOW,
        changed_at=NOW + 0.5,
    )
    return replace(usual, **changes)


def a_stop(**changes: Any) -> Stop:
    """A user who is stopped, with the changes asked for."""
    return replace(Stop(kind=StopKind.USER, target="ada", reason="lost a laptop", by="bob", created_at=NOW), **changes)


def a_workspace(**changes: Any) -> WorkspaceInfo:
    """A workspace, with the changes asked for."""
    name = f"ws-{fresh_id()[:8]}"
    usual: dict[str, Any] = {
        "id": name,
        "name": name,
        "owners": ["ada"],
        "config": {"a": [1, None, {"b": 0.5}]},
        "created_at": NOW,
    }
    return WorkspaceInfo(**usual | changes)


def a_record(seq: int, **changes: Any) -> Record:
    """An audit record of that number, with the changes asked for."""
    entry = Entry(action=Action.CALL, issuer="host", subject="ada", what="search", details={"rule": "own"})
    return replace(Record(seq=seq, at=NOW + seq / 3, entry=entry, mac=f"{seq:064x}", key_id="key-1"), **changes)


@dataclass(kw_only=True)
class IdentityStores:
    """Those of identity, of one kind; it is ``NOW`` in them."""

    accounts: AccountStore
    tokens: TokenStore
    stops: StopStore
    workspaces: WorkspaceStore
    audit: AuditStore


class Stores:
    """Every store of one kind."""

    identity: IdentityStores

    def __init__(
        self,
        connections: ConnectionStore,
        interactions: InteractionStore,
        revocations: RevocationStore,
        leaders: LeaderStore,
        clients: ClientStore,
    ) -> None:
        self.connections = connections
        self.interactions = interactions
        self.revocations = revocations
        self.leaders = leaders
        self.clients = clients
        self.close: Callable[[], None] = lambda: None


def in_memory() -> Stores:
    """The stores that are gone with their process."""
    revocations = MemoryRevocations()
    connections = MemoryConnections(ticks=CLOCK.monotonic, revocations=revocations)
    leaders = MemoryLeaders(ticks=CLOCK.monotonic)
    stores = Stores(connections, MemoryInteractions(), revocations, leaders, MemoryClients())
    stops = MemoryStops()
    stores.identity = IdentityStores(
        accounts=MemoryAccounts(),
        tokens=MemoryTokens(stops=stops, now=lambda: NOW),
        stops=stops,
        workspaces=MemoryWorkspaces(),
        audit=MemoryAudit(),
    )
    return stores


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
    stores = Stores(
        RedisConnections(client),
        RedisInteractions(client),
        RedisRevocations(client),
        RedisLeaders(client),
        RedisClients(client),
    )
    stores.identity = in_memory().identity

    def close() -> None:
        client.close()
        home.close()

    stores.close = close
    return stores


def in_sql(database: Database) -> Stores:
    """The stores in that database."""
    stores = Stores(
        SqlConnections(database),
        SqlInteractions(database),
        SqlRevocations(database),
        SqlLeaders(database),
        SqlClients(database),
    )
    stores.identity = IdentityStores(
        accounts=SqlAccounts(database),
        tokens=SqlTokens(database, now=lambda: NOW),
        stops=SqlStops(database),
        workspaces=SqlWorkspaces(database),
        audit=SqlAudit(database),
    )
    return stores
