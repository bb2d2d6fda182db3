"""By no way at all is a connection answered but from the browser that claimed it; and scripts stay as they were."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.web.links_kit import Site, google, opened, settings, user
from valetkey import AuthProvider, Denied, FutureStore, Pocket, function_tool
from valetkey.interactions.browser import BROWSER, Browser, claim_of
from valetkey.interactions.states import Event
from valetkey.model.interactions import Phase
from valetkey.settings.pocket import Config
from valetkey.wiring import build

ANN: Any = user("ann")  # for Pocket, whose thread_id is a text by its contract
server = google
site = opened


@function_tool(auth_provider=AuthProvider.NOTION, auth_handler="notion-token")
def read_page(**kwargs):
    """Read it."""


async def begun(site: Site) -> str:
    (prompt,) = await Pocket(tools=[read_page]).initialize_tool_auth(thread_id=ANN)
    return prompt.url


@pytest.mark.parametrize("event", [Event.ANSWER, Event.REFUSE])
@pytest.mark.parametrize("browser", [None, Browser(), Browser(claims=frozenset({claim_of("session", "x"), ""}))])
async def test_the_row_takes_no_answer_from_elsewhere(site, event, browser):
    link = await begun(site)
    token = BROWSER.set(browser)
    try:
        for _ in range(2):  # unclaimed, then claimed by somebody
            row = await site.row(link)
            with pytest.raises(Denied):
                await site.system.interactions.move(row, event, answer={"code": "c"})
            assert await site.row(link) == row
            await site.system.interactions.move(row, Event.CLAIM, claimed_by=claim_of("session", "ann's"))
    finally:
        BROWSER.reset(token)


async def test_a_future_is_resolved_and_withdrawn_by_the_claimer_only(site):
    link = await begun(site)
    row = await site.row(link)
    state = site.system.interactions.payload(row)["state"]
    await site.system.interactions.move(row, Event.CLAIM, claimed_by=claim_of("cookie", "n"))
    told: list[str] = []
    stranger = Browser(claims=frozenset({claim_of("session", "n")}), refused=lambda row: told.append(row.id))

    def as_a(browser: Browser | None, do) -> None:
        token = BROWSER.set(browser)
        try:
            do()
        finally:
            BROWSER.reset(token)

    for browser, do in (
        (stranger, lambda: FutureStore.resolve_future(state, "code")),
        (None, lambda: FutureStore.resolve_future(state, "code")),  # by a way that does not tell whose browser it is
        (stranger, lambda: FutureStore.delete_future(state)),
    ):
        with pytest.raises(Denied):
            await asyncio.to_thread(as_a, browser, do)
        assert (await site.row(link)).phase is Phase.CLAIMED
    assert told == [row.id] * 2
    claimer = Browser(claims=frozenset({claim_of("cookie", "n")}))
    await asyncio.to_thread(as_a, claimer, lambda: FutureStore.resolve_future(state, "code"))
    assert (await site.row(link)).phase is Phase.ANSWERED


@pytest.mark.requirement("d.ports-app")
async def test_a_pocket_made_after_that_opens_no_port_of_its_own(site):
    await begun(site)
    assert site.system.links.personal
    assert site.system.links.server is None


async def test_in_a_script_a_link_is_the_providers_own_and_nobody_claims():
    settings()
    build.use(build.build(Config.load(Path.cwd(), {})))
    try:
        pocket = Pocket(tools=[read_page])
        (prompt,) = await pocket.initialize_tool_auth(thread_id="t")
        assert prompt.url.startswith("https://localhost:8001/proxy/auth/notion/token?state=")
        state = prompt.url.rpartition("=")[2]
        await asyncio.to_thread(FutureStore.resolve_future, state, "code")
    finally:
        await asyncio.to_thread(build.use, None)
