"""One place to test in, ended with its test."""

from collections.abc import AsyncIterator

import pytest

from tests.services.kit import Place


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    yield made
    made.end()
