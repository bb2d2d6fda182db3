"""Real parts for faults: oidc-provider, PostgreSQL, Valkey, and processes that break where they are told to."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.crew import Nursery
from tests.faults.place import Place
from tests.real.node import find_node, install
from tests.real.oidc import Oidc
from tests.real.postgres import SETTINGS, Postgres
from tests.real.valkey import Valkey, running
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.settings.pocket import Config
from valetkey.wiring import build

# As the session was started: tests get a home and an environment of their own, and npm needs the real ones.
ENVIRONMENT = dict(os.environ)

Places = Callable[..., Place]


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where workers come from."""
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="session")
def oidc_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oidc]:
    node = find_node()
    install(node, ENVIRONMENT)
    running_one = Oidc(node.node, tmp_path_factory.mktemp("oidc") / "provider.log")
    yield running_one
    running_one.stop()


@pytest.fixture
def oidc(oidc_process: Oidc) -> Oidc:
    """oidc-provider, counting from zero."""
    oidc_process.reset()
    return oidc_process


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; one for each worker of a run, with room for all pools of 64 processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETTINGS, "max_connections", "700")
        server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_tables(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with all tables and nothing in them."""
    url = postgres.fresh()
    folder = tmp_path_factory.mktemp("tables")
    system = build.build(Config.load(folder, {}, database_url=url), folder=folder, environ={})
    assert list(asyncio.run(system.stores.connections.of_owner(owner_of("nobody")))) == []
    system.close()
    return url


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A Valkey of the test's own."""
    with running() as server:
        yield server


@pytest.fixture
def places(request: pytest.FixtureRequest, nursery: Nursery, oidc: Oidc, home: Path) -> Iterator[Places]:
    """Makes the place of a test: `places("sqlite")`, `places("postgres", redis_url=…)`; by default in its home."""
    with ExitStack() as stack:

        def make(database: str, *, folder: Path = home, **settings: str) -> Place:
            if database == "postgres":
                postgres = request.getfixturevalue("postgres")
                settings["database_url"] = postgres.fresh(request.getfixturevalue("postgres_tables"))
            place = Place(nursery, oidc, home=folder, project=Path.cwd(), **settings)
            stack.callback(place.close)
            return place

        yield make


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """Each database in turn."""
    name: str = request.param
    return name


@pytest.fixture
def place(places: Places, database: str) -> Place:
    """A place on each database in turn."""
    return places(database)
