"""One suite for every store: a test that asks for `stores` runs against each of them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from tests.real.postgres import Pgbouncer, Postgres, find_pgbouncer
from tests.real.valkey import Valkey, running
from tests.stores.values import ADA, IdentityStores, Stores, in_memory, in_postgres, in_redis, in_sqlite
from valetkey.adapters.sql.tables import metadata


@pytest.fixture(params=["memory", "sqlite", "postgres", "pgbouncer", "valkey"])
def stores(request: pytest.FixtureRequest, home: Path) -> Iterator[Stores]:
    """Empty stores of each kind in turn."""
    if request.param in {"postgres", "pgbouncer", "valkey"}:
        yield request.getfixturevalue(f"{request.param}_emptied")
        return
    made = in_memory() if request.param == "memory" else in_sqlite(home / "valetkey.db")
    yield made
    made.close()


@pytest.fixture(params=["memory", "sqlite", "postgres", "pgbouncer"])
def identity(request: pytest.FixtureRequest, home: Path) -> Iterator[IdentityStores]:
    """Empty stores of identity of each kind in turn; beside Redis they are in SQLite, too."""
    if request.param in {"postgres", "pgbouncer"}:
        yield request.getfixturevalue(f"{request.param}_emptied").identity
        return
    made = in_memory() if request.param == "memory" else in_sqlite(home / "valetkey.db")
    yield made.identity
    made.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real server; one for each worker of a run."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: Postgres) -> Iterator[Pgbouncer]:
    """A pgbouncer in transaction mode before that server."""
    program = find_pgbouncer()
    if program is None:
        pytest.skip("no pgbouncer: apt-get install pgbouncer (the Debian package)")
    with Pgbouncer(program, postgres) as running:
        yield running


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """A database with all tables, and nothing in them; nobody is connected to it."""
    url = postgres.fresh()
    stores = in_postgres(url)
    asyncio.run(_use(stores))
    stores.close()
    return url


async def _use(stores: Stores) -> None:
    assert list(await stores.connections.of_owner(ADA)) == []


@pytest.fixture(scope="session")
def _postgres_shared(postgres: Postgres, postgres_url: str) -> Iterator[Stores]:
    made = in_postgres(postgres.fresh(postgres_url))
    yield made
    made.close()


@pytest.fixture(scope="session")
def _pgbouncer_shared(pgbouncer: Pgbouncer, postgres: Postgres, postgres_url: str) -> Iterator[Stores]:
    made = in_postgres(pgbouncer.url(postgres.fresh(postgres_url)))
    yield made
    made.close()


@pytest.fixture
def postgres_emptied(_postgres_shared: Stores) -> Stores:
    """Stores in a database that all such tests use in turn."""
    asyncio.run(_empty(_postgres_shared))
    return _postgres_shared


@pytest.fixture
def pgbouncer_emptied(_pgbouncer_shared: Stores) -> Stores:
    """As `postgres_emptied`, through a pgbouncer."""
    asyncio.run(_empty(_pgbouncer_shared))
    return _pgbouncer_shared


async def _empty(stores: Stores) -> None:
    database: Any = stores.connections
    tables = [table for table in metadata.sorted_tables if table.name != "compatibility"]
    await database._database.write(*((delete(table), {}) for table in tables))


@pytest.fixture
def postgres_database(postgres: Postgres, postgres_url: str) -> str:
    """The URL of a database of the test's own, with all tables."""
    return postgres.fresh(postgres_url)


@pytest.fixture
def postgres_stores(postgres_database: str) -> Iterator[Stores]:
    """Empty stores in that database."""
    made = in_postgres(postgres_database)
    yield made
    made.close()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A real Valkey, which all tests of a worker share; each begins with an empty one."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def _valkey_shared(valkey: Valkey) -> Iterator[Stores]:
    made = in_redis(valkey.url)
    yield made
    made.close()


@pytest.fixture
def valkey_emptied(valkey: Valkey, _valkey_shared: Stores) -> Stores:
    """Stores in a Valkey that all such tests use in turn."""
    assert valkey.tell("FLUSHALL") == b"+OK"
    return _valkey_shared


@pytest.fixture
def sqlite_path(home: Path) -> Path:
    """Where the test's SQLite file will be."""
    return home / "valetkey.db"


@pytest.fixture
def sqlite_stores(sqlite_path: Path) -> Iterator[Stores]:
    """Empty stores in that file; a write waits for other processes only for a moment."""
    made = in_sqlite(sqlite_path, busy_timeout=0.1)
    yield made
    made.close()
