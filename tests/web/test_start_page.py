"""The page that pushes a request: for whoever claimed the link and nobody else, some times, with errors as pages."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.oauth.fakes import Wire, answer
from tests.web.links_kit import Site, settings, user
from valetkey.connections.starting import MOST
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.interactions import Phase
from valetkey.model.needs import Need
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build

ANN, BOB = user("ann"), user("bob")
ENTRY = '[auth.github]\nclient_id = "me"\nclient_secret = "par-canary-9f2"\npar_url = "https://par.test/par"\n'


def pushed(number: int = 1) -> Any:
    return answer({"request_uri": f"urn:pushed:{number}", "expires_in": 60}, 201)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def site(wire: Wire) -> AsyncIterator[Site]:
    """The server of several people."""
    settings(ENTRY)
    system = build.build(Config.load(Path.cwd(), {}), clock=ManualClock(), fetcher=wire)
    build.use(system)
    yield Site(system)
    await asyncio.to_thread(build.use, None)


async def asked(site: Site) -> str:
    made, _ = await site.system.connecting.again(owner_of(ANN), Need(provider="github"), "default")
    return site.system.connecting.url(made)


@pytest.mark.requirement("L-17")
async def test_l17_nothing_is_pushed_and_nobody_sent_on_before_the_owner_has_claimed_the_link(site, wire):
    link = await asked(site)
    payload = site.system.interactions.payload(await site.row(link))
    start = urlsplit(payload["url"])
    ours = f"{start.path}?{start.query}"
    assert start.path == "/auth/github/oauth2/start"
    for jar in (site.browser(), site.browser(BOB), site.browser(ANN)):  # hers, too: she has not said that it is hers
        shown = await jar.get(ours)
        assert "github.com" not in (shown.header("location") or "")
    assert wire.requests == []

    wire.answers = [pushed(1), pushed(2)]
    hers = site.browser(ANN)
    assert urlsplit(await hers.claim(link)).path == start.path
    for number in (1, 2):  # loaded again, it is pushed again
        sent = await hers.get(ours)
        assert sent.status == 303
        assert dict(parse_qsl(urlsplit(sent.header("location") or "").query)) == {
            "client_id": "me",
            "request_uri": f"urn:pushed:{number}",
        }
    assert "github.com" not in ((await site.browser(BOB).get(ours)).header("location") or "")
    assert (await hers.get(ours, method="HEAD")).status == 405
    assert len(wire.requests) == 2


async def test_a_flow_is_opened_so_often_and_not_more(site, wire):
    link = await asked(site)
    hers = site.browser(ANN)
    start = await hers.claim(link)
    wire.answers = [pushed(number) for number in range(MOST + 1)]
    assert [(await hers.get(start)).status for _ in range(MOST + 1)] == [303] * MOST + [429]
    assert len(wire.requests) == MOST


async def test_a_push_that_fails_is_a_page_that_may_be_loaded_again_and_a_refused_one_ends_the_flow(site, wire):
    link = await asked(site)
    hers = site.browser(ANN)
    start = await hers.claim(link)
    wire.answers = [answer({}, 503), answer({"error": "invalid_client"}, 401)]
    for status, what in ((503, "again"), (None, "auth.github.client_secret")):
        shown = await hers.get(start)
        assert shown.status >= 400
        assert status in (None, shown.status)
        assert what in shown.text
        assert "par-canary-9f2" not in shown.text
        assert (await site.row(link)).phase is Phase.CLAIMED
    wire.answers = [answer({"error": "invalid_scope", "error_description": "<b>no</b>"}, 400)]
    shown = await hers.get(start)
    assert "invalid_scope" in shown.text
    assert "<b>no" not in shown.text
    assert (await site.row(link)).phase is Phase.REFUSED
    assert "location" not in dict((await hers.get(start)).headers)
    assert wire.answers == []
    assert len(wire.requests) == 3


async def test_a_link_that_is_not_pushed_has_no_such_page(site, wire):
    settings(ENTRY.rpartition("par_url")[0])
    plain = Site(build.build(Config.load(Path.cwd(), {}), clock=ManualClock(), fetcher=wire))
    hers = plain.browser(ANN)
    made, _ = await plain.system.connecting.again(owner_of(ANN), Need(provider="github"), "default")
    plain.system.links.lead_to_pages("http://localhost:9527")
    url = await hers.claim(f"http://localhost:9527/connect/{made.id}")
    state = dict(parse_qsl(urlsplit(url).query))["state"]
    shown = await hers.get(f"/auth/github/oauth2/start?state={state}")
    assert shown.status == 400
    assert wire.requests == []
    await asyncio.to_thread(plain.system.close)
