"""Two real browsers: one is sent away from the other's link; its owner goes by our page to the provider and back."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.real import browser as chromium
from tests.real import conftest as real
from tests.real.node import MODULES
from tests.web.links_kit import Site, google, opened
from tests.web.test_links_approve import NASTY, asked
from tests.web.test_links_claim import ANN, BOB, link_of
from valetkey.adapters.serving import Listener
from valetkey.identity.verifiers.vouched import owner_of

pytestmark = pytest.mark.browser
server = google
unserved = opened
node = real.node
SHOTS = os.environ.get("SHOTS", "")
"""A folder for pictures of the pages; empty: none are taken."""


@pytest.fixture
async def browser() -> AsyncIterator[chromium.Browser]:
    found = chromium.find_chromium()
    if found is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium (the Debian package)")
    async with chromium.launched(found) as running:
        yield running


@pytest.fixture
async def site(unserved) -> AsyncIterator[tuple[Site, str]]:
    """The site on a port of its own, and its address."""
    doors: list[Any] = []

    async def door(scope: Any, receive: Any, send: Any) -> None:
        await doors[0](scope, receive, send)

    listener = Listener(door, host="localhost", port=0, setting="port")
    await listener.start()
    base = f"http://localhost:{listener.port}"
    served = Site(unserved.system, base)
    doors.append(served.app)
    yield served, base
    await listener.stop()


async def sign_in(site: Site, base: str, tab: chromium.Page, who) -> None:
    await tab.context.add_cookies([{"name": "valetkey", "value": site.sessions.begin(who), "url": base}])


async def shot(tab: chromium.Page, name: str) -> None:
    if SHOTS:
        await tab.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


@pytest.mark.requirement("L-01", "L-17", "W-21", "design.one-browser", "C4.connect", "C.shown-two-browsers")
async def test_two_browsers_and_one_link(browser, site, server):
    served, base = site
    link = await link_of(served)
    async with chromium.opened(browser) as (hers, watch), chromium.opened(browser) as (his, _):
        await sign_in(served, base, hers, ANN)
        await sign_in(served, base, his, BOB)
        await his.goto(link)
        assert await his.get_by_role("status").get_by_role("heading").inner_text() == "This is not your request"
        await hers.goto(link)
        await hers.keyboard.press("Tab")  # No
        await hers.keyboard.press("Tab")  # Continue
        await hers.keyboard.press("Enter")
        await hers.wait_for_url(f"{server.url}/**")  # the redirect is let through by the page's policy
        # She forwards the provider's own address: he consents, and his answer is not used.
        await his.goto(hers.url)
        for tab, said in ((his, "This is not your request"), (hers, "Google is connected")):
            await tab.get_by_role("button", name="Allow").click()
            await tab.wait_for_url(f"{base}/auth/google/**")
            assert await tab.get_by_role("status").get_by_role("heading").inner_text() == said
        assert watch.amiss == []
    assert server.exchanges == 1
    assert len(await served.system.stores.connections.of_owner(owner_of(ANN))) == 1
    assert await served.system.stores.connections.of_owner(owner_of(BOB)) == []


@pytest.mark.requirement("C.shown-pages")
@pytest.mark.parametrize(("scheme", "width"), [("light", chromium.DESKTOP), ("dark", chromium.DESKTOP), ("light", 360)])
async def test_the_pages_fit(browser, node, site, server, scheme: chromium.Scheme, width: int):
    served, base = site
    axe = (MODULES / "axe-core" / "axe.min.js").read_text("utf-8")
    link = await link_of(served)
    approval = await asked(served, to=NASTY, note="word " * 60 + "x" * 300, rows=[{"n": 1}, {"n": None}])
    async with chromium.opened(browser, width=width, scheme=scheme) as (tab, watch):
        await sign_in(served, base, tab, ANN)
        for name, url in (("claim", link), ("approve", approval)):
            await tab.goto(url)
            assert await chromium.overflow(tab) == 0
            assert await chromium.found_by_axe(tab, axe) == []
            await shot(tab, f"{name}-{scheme}-{width}")
        assert watch.amiss == []
        await tab.get_by_role("button", name="Yes").click()
        assert "may go on" in await tab.get_by_role("status").inner_text()
        await shot(tab, f"approved-{scheme}-{width}")
        for name, who in (("not-yours", BOB), ("nobody", None), ("elsewhere", ANN)):
            await tab.context.clear_cookies()
            if who is not None:
                await sign_in(served, base, tab, who)
            row = await served.row(link)
            state = served.system.interactions.payload(row)["state"]
            await tab.goto(f"{base}/auth/google/oauth2/callback?state={state}&code=x")
            assert await chromium.overflow(tab) == 0
            await shot(tab, f"{name}-{scheme}-{width}")
