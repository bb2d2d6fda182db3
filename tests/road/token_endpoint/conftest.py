"""One account, connected at a server whose token endpoint will misbehave."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.adapters.test_http import Authority
from tests.road.support import Ports, client_section, write_settings
from tests.road.token_endpoint.account import Account, Hurried, Names, account
from valetkey.adapters.http import HttpClient
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock) -> Iterator[OAuthServer]:
    with OAuthServer(clock=clock, access_lifetime=3600, reuse="refuse") as server:
        yield server


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def authority(tmp_path) -> Authority:
    """Whoever vouches for servers with TLS; the account's program trusts it."""
    return Authority(tmp_path)


@pytest.fixture
async def held(server, clock, names, authority, ports: Ports, caplog) -> AsyncIterator[Account]:
    write_settings(ports, client_section("google", server))
    fetcher = Hurried()
    system = build.build(Config.load(Path.cwd(), {}), clock=clock, fetcher=fetcher)
    client = HttpClient(home=system.home, resolve=names, allowed_hosts=["idp.example"], ca_file=authority.file)
    fetcher.inner = client
    build.use(system)
    async with account(server, clock, fetcher, caplog) as held:
        yield held
        if held.raw is not None:
            await held.raw.stop()
    await asyncio.to_thread(system.home.block, client.close)
