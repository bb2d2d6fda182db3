"""Fixtures of a canary run."""

from collections.abc import Iterator

import pytest

from tests.road.canary.journey import CLIENT_SECRET, Journey, OddDice
from tests.road.canary.watch import Watch, watching
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import Client, OAuthServer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def watch(tmp_path, capfd) -> Iterator[Watch]:
    with watching(tmp_path, capfd) as watch:
        yield watch


@pytest.fixture
def server(clock) -> Iterator[OAuthServer]:
    client = Client(id="canary-client", secret=CLIENT_SECRET)
    with OAuthServer([client], clock=clock, entropy=OddDice(), access_lifetime=3600) as server:
        yield server


@pytest.fixture
def journey(watch, server, clock, ports) -> Journey:
    return Journey(watch, server, clock, ports)
