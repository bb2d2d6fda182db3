"""One provider on this machine in place of Slack, for every framework; no framework tells anybody anything."""

from collections.abc import Iterator

import pytest

from tests.integrations.kit import USED
from tests.road.support import Ports, client_section, write_settings
from valetkey.testing.oauth_server import SLACK, OAuthServer
from valetkey.wiring import build


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    build.use(None)
    USED.clear()
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    yield
    build.use(None)


@pytest.fixture
def slack() -> Iterator[OAuthServer]:
    """Slack, as a Pocket of this folder's settings finds it."""
    with OAuthServer(dialect=SLACK, title="Slack") as server:
        write_settings(Ports(), client_section("slack", server))
        yield server
