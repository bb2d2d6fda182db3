"""A fake Bedrock for each test, and an environment that leads to no other AWS."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from tests.models.fake_bedrock import FakeBedrock
from tests.models.fake_services import FakeServices
from tests.models.talking import Open
from valetkey.ports.agents import ChatModel, ModelChoice
from valetkey.wiring.models import open_model

FOREIGN = ("AWS_", "ANTHROPIC_", "OPENAI_", "GOOGLE_", "GEMINI_")


@pytest.fixture(autouse=True)
def _nothing_outside(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBedrock]:
    with FakeBedrock() as fake:
        for name, value in fake.environment().items():
            monkeypatch.setenv(name, value)
        yield fake
        assert fake.faults == []


@pytest.fixture
def services() -> Iterator[FakeServices]:
    with FakeServices() as fake:
        yield fake


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens models, and closes them after the test."""
    async with AsyncExitStack() as stack:

        def open_one(choice: ModelChoice | str, **settings: object) -> ChatModel:
            chosen = ModelChoice(model_id=choice, timeout=10.0) if isinstance(choice, str) else choice
            model = open_model(replace(chosen, **settings))  # type: ignore[arg-type]  # a test's own settings
            stack.push_async_callback(model.close)
            return model

        yield open_one
