"""Fixtures of the road's tests."""

from collections.abc import Iterator

import pytest

from tests.road.support import Ports, client_section, timed, write_settings
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import GOOGLE, SLACK, OAuthServer
from valetkey.wiring import build


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture(autouse=True)
def fresh_system() -> Iterator[None]:
    """Each test starts without a default system, and closes the one that it made."""
    build.use(None)
    yield
    build.use(None)


@pytest.fixture
def slack() -> Iterator[OAuthServer]:
    with OAuthServer(dialect=SLACK, title="Slack") as server:
        yield server


@pytest.fixture
def google() -> Iterator[OAuthServer]:
    with OAuthServer(dialect=GOOGLE, title="Google") as server:
        yield server


@pytest.fixture
def both(slack: OAuthServer, google: OAuthServer, ports: Ports) -> tuple[OAuthServer, OAuthServer]:
    """Slack and Google, pointed at local servers as seed 000's programs are tried."""
    write_settings(ports, client_section("slack", slack), client_section("google", google))
    return slack, google


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock: ManualClock, ports: Ports) -> Iterator[OAuthServer]:
    """Google, pointed at a local server, on a clock that is wound by hand."""
    with OAuthServer(clock=clock, access_lifetime=3600) as server:
        write_settings(ports, client_section("google", server))
        timed(clock)
        yield server
