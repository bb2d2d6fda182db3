"""Real parts: oidc-provider on Node, Chromium. Started by the test session, ended with it."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.real import browser as chromium
from tests.real.node import Node, find_node, install
from tests.real.oidc import Oidc

# As the session was started: tests get a home and an environment of their own, and npm needs the real ones.
ENVIRONMENT = dict(os.environ)


@pytest.fixture(scope="session")
def node() -> Node:
    """Node, with the packages of this folder installed."""
    found = find_node()
    install(found, ENVIRONMENT)
    return found


@pytest.fixture(scope="session")
def oidc_process(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oidc]:
    log: Path = tmp_path_factory.mktemp("oidc") / "provider.log"
    running = Oidc(node.node, log)
    yield running
    running.stop()


@pytest.fixture
def oidc(oidc_process: Oidc) -> Oidc:
    """oidc-provider, counting from zero; tell it by `oidc.allow(redirect_uri)` where it may send people."""
    oidc_process.reset()
    return oidc_process


@pytest.fixture
async def browser() -> AsyncIterator[chromium.Browser]:
    found = chromium.find_chromium()
    if found is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium (the Debian package)")
    async with chromium.launched(found) as running:
        yield running


@pytest.fixture
def browser_amiss() -> list[str]:
    """What went amiss on the pages of `browser_page`; a test that expects one of these removes it."""
    return []


@pytest.fixture
async def browser_page(browser: chromium.Browser, browser_amiss: list[str]) -> AsyncIterator[chromium.Page]:
    """A page in a real browser; console errors, page errors and requests beyond loopback fail the test."""
    async with chromium.opened(browser) as (page, watch):
        watch.amiss = browser_amiss
        yield page
    assert not browser_amiss, f"amiss in the browser: {browser_amiss}"
