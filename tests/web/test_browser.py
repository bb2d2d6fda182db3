"""The pages in a real Chromium: their style is let through, nothing is fetched, the form comes back whole."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.real import browser as chromium
from tests.web.asgi import Draws
from valetkey.adapters.serving import Listener
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.forms import Forms
from valetkey.entrypoints.web.guard import Guard
from valetkey.providers.base import PastedField

pytestmark = pytest.mark.browser
STATE = "s" * 43
FIELDS = [PastedField(name="username", label="User", secret=False), PastedField(name="password", label="Password")]


@pytest.fixture
async def browser() -> AsyncIterator[chromium.Browser]:
    found = chromium.find_chromium()
    if found is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium (the Debian package)")
    async with chromium.launched(found) as running:
        yield running


@pytest.fixture
async def site() -> AsyncIterator[tuple[int, list[Any]]]:
    """Our pages on loopback: the port, and the forms that were taken."""
    taken: list[Any] = []
    forms = Forms(base_url="https://localhost:8001", entropy=Draws())

    async def show(request: Request) -> Response:
        return page.paste_form(
            provider="<b>Notion</b>", fields=FIELDS, action="/form", token=forms.issue(request, STATE), scopes=["read"]
        )

    async def take(request: Request) -> Response:
        taken.append(dict(await forms.read(request, STATE)))
        return page.see_other("/done")

    async def done(request: Request) -> Response:
        scopes = [f"https://api.example.test/auth/{n * 'long'}" for n in range(20)]
        return page.connected(provider="Notion", account="a" * 300, scopes=scopes, program="p" * 300)

    async def refused(request: Request) -> Response:
        return page.refused(provider="Notion", reason="<img src=x onerror=alert(1)>" + "w" * 500)

    routes = [
        Route("/form", show),
        Route("/form", take, methods=["POST"]),
        Route("/done", done),
        Route("/refused", refused),
        Route("/expired", lambda request: page.expired(provider="Notion")),
    ]
    app = Starlette(routes=routes, exception_handlers=page.exception_handlers())
    guard = Guard(app, base_url="https://localhost:8001", entropy=Draws())
    listener = Listener(guard, host="localhost", port=0, setting="internal_server_port")
    await listener.start()
    yield listener.port, taken
    await listener.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_fit_and_are_styled_in_light_and_dark(
    browser: chromium.Browser, site: tuple[int, list[Any]], scheme: chromium.Scheme
) -> None:
    port, _ = site
    for width in (360, chromium.PHONE, chromium.DESKTOP):
        async with chromium.opened(browser, width=width, scheme=scheme) as (tab, watch):
            for path in ("/form", "/done", "/refused", "/expired", "/nowhere"):
                await tab.goto(f"http://localhost:{port}{path}")
                assert await chromium.overflow(tab) == 0
                ground = await tab.evaluate("getComputedStyle(document.body).backgroundColor")
                assert ground == {"light": "rgb(242, 240, 234)", "dark": "rgb(17, 21, 26)"}[scheme]
            # A page with a status of 400 or more is told of on the console; anything else there is amiss.
            assert [line for line in watch.amiss if "Failed to load resource" not in line] == []


async def test_a_form_that_a_person_sends_is_taken_once_and_leaves_a_clean_address(
    browser: chromium.Browser, site: tuple[int, list[Any]]
) -> None:
    port, taken = site
    async with chromium.opened(browser) as (tab, watch):
        await tab.goto(f"http://localhost:{port}/form?state={STATE}")
        await tab.get_by_label("User").fill("ada")
        await tab.get_by_label("Password").fill("pa ss&=wörd")
        await tab.get_by_role("button", name="Connect").click()
        await tab.wait_for_url(f"http://localhost:{port}/done")
        assert await tab.get_by_role("status").get_by_role("heading").inner_text() == "Notion is connected"
        assert watch.amiss == []
    assert taken == [{"username": "ada", "password": "pa ss&=wörd"}]


async def test_a_page_on_another_port_of_this_machine_cannot_send_the_form(
    browser: chromium.Browser, site: tuple[int, list[Any]]
) -> None:
    port, taken = site

    async def hostile(request: Request) -> Response:
        target = f"http://localhost:{port}/form"
        return HTMLResponse(f'<form method=post action="{target}"><input name=username><button>Go</button></form>')

    other = Listener(Starlette(routes=[Route("/", hostile)]), host="localhost", port=0, setting="none")
    await other.start()
    try:
        async with chromium.opened(browser) as (tab, _):
            await tab.goto(f"http://localhost:{port}/form")  # the cookie is there, and same-site
            await tab.goto(f"http://localhost:{other.port}/")
            async with tab.expect_navigation():
                await tab.get_by_role("button", name="Go").click()
            assert "sent by another site" in await tab.get_by_role("status").inner_text()
    finally:
        await other.stop()
    assert taken == []


async def test_no_other_page_can_frame_ours(browser: chromium.Browser, site: tuple[int, list[Any]]) -> None:
    port, _ = site

    async def framing(request: Request) -> Response:
        return HTMLResponse(f'<iframe src="http://localhost:{port}/form"></iframe>')

    other = Listener(Starlette(routes=[Route("/", framing)]), host="localhost", port=0, setting="none")
    await other.start()
    try:
        async with chromium.opened(browser) as (tab, _):
            async with tab.expect_console_message(lambda message: "frame-ancestors" in message.text) as told:
                await tab.goto(f"http://localhost:{other.port}/")
            assert (await told.value).type == "error"
    finally:
        await other.stop()
