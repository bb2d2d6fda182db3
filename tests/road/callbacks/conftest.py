"""The program whose callbacks are tried."""

from collections.abc import Iterator

import pytest

from tests.road.callbacks.program import SECRET, Program
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import OAuthServer


@pytest.fixture
def program(ports) -> Iterator[Program]:
    clock = ManualClock()
    with (
        OAuthServer({"a-client": SECRET}, clock=clock) as server,
        OAuthServer({"a-client": SECRET}, clock=clock) as other,
    ):
        running = Program(server, other, ports, clock)
        with running.pocket:
            yield running
