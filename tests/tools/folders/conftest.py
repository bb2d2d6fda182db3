"""Each test starts without a default system, and closes the one that it made."""

from collections.abc import Iterator

import pytest

from valetkey.wiring import build


@pytest.fixture(autouse=True)
def fresh_system() -> Iterator[None]:
    build.use(None)
    yield
    build.use(None)
