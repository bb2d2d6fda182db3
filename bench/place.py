"""Where a benchmark's accounts are: a data folder, a database, an entry for the provider; and many rows at once."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncpg

from tests.real import postgres
from tests.real.valkey import running
from valetkey.adapters.sql.rows import connection_values
from valetkey.adapters.sql.tables import connections
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import Connection, Credential, Grant
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.wiring import build
from valetkey.wiring.system import System

ROOT = Path(__file__).resolve().parents[1]
PROVIDER = "mailroom"
HANDLER = f"{PROVIDER}-oauth2"
SCOPES = ("openid", "offline_access", "mail.read")
BATCH = 10_000
Records = Sequence[Sequence[Any]]
COLUMNS = [column.name for column in connections.c]

# As a server is run, not as a test's is: what it has committed is on the disk.
DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "autovacuum": "on",
    "max_connections": "800",
    "max_wal_size": "4GB",
}


@dataclass(kw_only=True)
class Place:
    """Shared by the processes of one measurement.

    Attributes:
        project: the current folder of a program, with its settings and the provider's entry.
        settings: further settings, as keywords.
    """

    project: Path
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The data folder."""
        return self.project / "home"

    def system(self) -> System:
        """A system of one's own."""
        return build.build(Config.load(self.project, {}, **self.settings), folder=self.home, environ={})


def fill(where: Sequence[Place], rows: Iterable[Connection]) -> None:
    """Put these rows into the tables of all those places, past their stores."""
    with ExitStack() as stack:
        adders = [stack.enter_context(_adding(one)) for one in where]
        values = (connection_values(row) for row in rows)
        records = ([value[name] for name in COLUMNS] for value in values)
        while batch := list(islice(records, BATCH)):
            for add in adders:
                add(batch)


@contextmanager
def _adding(where: Place) -> Iterator[Callable[[Records], object]]:
    system = where.system()
    asyncio.run(system.stores.connections.by_id("nobody's"))  # from now on the tables are there
    system.close()
    with _adding_to_sqlite(where) if "database_url" not in where.settings else _adding_to_postgres(where) as add:
        yield add


@contextmanager
def _adding_to_sqlite(where: Place) -> Iterator[Callable[[Records], object]]:
    with closing(sqlite3.connect(where.home / "valetkey.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        sql = f"INSERT INTO connections ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608

        def add(records: Records) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(sql, records)
            connection.execute("COMMIT")

        yield add
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _adding_to_postgres(where: Place) -> Iterator[Callable[[Records], object]]:
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(where.settings["database_url"]))
        yield lambda records: runner.run(
            connection.copy_records_to_table("connections", records=records, columns=COLUMNS)
        )
        runner.run(connection.execute("VACUUM ANALYZE connections", timeout=600))
        runner.run(connection.execute("CHECKPOINT", timeout=600))
        runner.run(connection.close())


def a_row(system: System, owner: str, *, access: str, refresh: str, ends_in: float) -> Connection:
    """A connection as the keeper makes it, with a sealed credential of that owner."""
    credential = Credential(access_token=Secret(access), refresh_token=Secret(refresh), client_id="bench-client")
    grant = Grant(credential=credential, scopes=frozenset(SCOPES), expires_at=time.time() + ends_in)
    handler = system.handling.find(HANDLER, None)
    return system.keeper.make(grant, handler, owner_of(owner), profile="default", asked=frozenset(SCOPES), kept=True)


def another(system: System, row: Connection, owner: str, *, access: str, refresh: str) -> Connection:
    """A row like that one, with an id, an owner and a sealed credential of its own."""
    connection_id, whose = secrets.token_hex(16), owner_of(owner)
    sealed = system.sealer.seal_credential(
        Credential(access_token=Secret(access), refresh_token=Secret(refresh), client_id="bench-client"),
        connection_id=connection_id,
        owner=whose,
        provider=row.provider,
        generation=row.generation,
    )
    return replace(row, id=connection_id, owner=whose, sealed=sealed)


@contextmanager
def a_place(kind: str, *, issuer: str, client: str, secret: str, **settings: Any) -> Iterator[Place]:
    """A place on ``sqlite`` or ``postgresql``, `` + valkey`` where processes are to hear of each other.

    PostgreSQL is started, unless ``database_url`` says where it is.
    """
    with ExitStack() as stack:
        project = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="valetkey-bench-")))
        settings["provider_paths"] = (str(project),)
        if kind.startswith("postgresql") and "database_url" not in settings:
            settings["database_url"] = stack.enter_context(server()).fresh()
        if kind.endswith("valkey"):
            settings["redis_url"] = stack.enter_context(running()).url
        (project / "valetkey.toml").write_text(
            f"[auth.{PROVIDER}]\nclient_id = '{client}'\nclient_secret = '{secret}'\n", "utf-8"
        )
        (project / "valetkey.toml").chmod(0o600)
        folder = project / "valetkey_providers"
        folder.mkdir()
        (folder / f"{PROVIDER}.toml").write_text(
            f"""
            title = "Mailroom"
            origins = ["{issuer}"]

            [handlers.{HANDLER}]
            kind = "oauth2"
            default = true
            variables = {{ MAILROOM_TOKEN = "access_token" }}

            [handlers.{HANDLER}.oauth2]
            authorize = "{issuer}/auth"
            token = "{issuer}/token"
            client_auth = "client_secret_post"
            refresh_scopes = ["openid", "offline_access"]
            issuer = "{issuer}"
            """,
            "utf-8",
        )
        yield Place(project=project, settings=settings)


@contextmanager
def server() -> Iterator[postgres.Postgres]:
    """A PostgreSQL with the settings of a real one."""
    before = dict(postgres.SETTINGS)
    postgres.SETTINGS.update(DURABLE)
    try:
        running_one = postgres.Postgres()
    finally:
        postgres.SETTINGS.clear()
        postgres.SETTINGS.update(before)
    try:
        yield running_one
    finally:
        running_one.stop()


def calm(*, below: float = 2.0, patience: float = 240.0) -> str:
    """Wait a few minutes for the machine to be at rest; what is to be said where it was not."""
    end = time.monotonic() + patience
    while (load := os.getloadavg()[0]) > below:
        if time.monotonic() > end:
            return f"Others used the machine meanwhile: its load average was {load:.1f} at the start."
        time.sleep(5)
    return ""
