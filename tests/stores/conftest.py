"""One suite for every store: a test that asks for `stores` runs against each of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stores.values import Stores, in_memory, in_sqlite


@pytest.fixture(params=["memory", "sqlite"])
def stores(request: pytest.FixtureRequest, home: Path) -> Iterator[Stores]:
    """Empty stores of each kind in turn."""
    made = in_memory() if request.param == "memory" else in_sqlite(home / "valetkey.db")
    yield made
    made.close()


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
