"""The pages of a journey in a real Chromium: what a person sees, and what their browser must not keep."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.real import browser as chromium
from tests.real.oidc import Oidc
from tests.real.road import Road, road_to
from tests.road.support import Ports, write_settings
from valetkey import AuthProvider, AuthRefused, Pocket, function_tool
from valetkey.settings.pocket import Config
from valetkey.testing import canary
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build

pytestmark = pytest.mark.browser

LOOKS: list[tuple[int, chromium.Scheme]] = [
    (chromium.PHONE, "light"),
    (chromium.PHONE, "dark"),
    (chromium.DESKTOP, "light"),
    (chromium.DESKTOP, "dark"),
]
STRICT = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}
TOKEN = 'xoxb-"quoted"&amp;/plus+percent%25-value'


@dataclass
class Seen:
    """A page in a browser, with every document of ours that it loaded."""

    page: chromium.Page
    watch: chromium.Watch
    folder: Path
    look: str
    answers: list[tuple[int, str, dict[str, str]]]

    async def shot(self, name: str) -> None:
        """Look at the page: it fits, follows the scheme, and has its picture taken."""
        await self.page.screenshot(path=self.folder / f"{name}-{self.look}.png", full_page=True)
        assert await chromium.overflow(self.page) == 0
        background = await self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        red = int(background.removeprefix("rgb(").split(",")[0])
        assert red < 60 if "dark" in self.look else red > 200, background

    async def history(self) -> list[str]:
        """Every address that the back and forward buttons know."""
        tool = await self.page.context.new_cdp_session(self.page)
        told = await tool.send("Page.getNavigationHistory")
        return [entry[key] for entry in told["entries"] for key in ("url", "userTypedURL", "title")]

    async def places(self) -> dict[str, str]:
        """Whatever the browser still has of our pages."""
        storage = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state, name])"
        return {
            "address": self.page.url,
            "history": "\n".join(await self.history()),
            "source": await self.page.content(),
            "values": await self.page.evaluate("[...document.querySelectorAll('input')].map(i => i.value).join('\\n')"),
            "storage": await self.page.evaluate(storage),
            "cookies": str(await self.page.context.cookies()),
            "console": "\n".join(self.watch.amiss),
        }

    def strict(self, origin: str) -> None:
        """Every document of ours came with strict headers, and loaded nothing else."""
        ours = [(status, url, headers) for status, url, headers in self.answers if url.startswith(origin)]
        assert ours
        for status, url, headers in ours:
            assert {name: headers.get(name) for name in STRICT} == STRICT, (status, urlsplit(url).path)
            if status not in (302, 303):
                policy = headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "script-src" not in policy
                assert "unsafe" not in policy


@asynccontextmanager
async def seen(browser, folder: Path, look: tuple[int, chromium.Scheme] = LOOKS[2]) -> AsyncIterator[Seen]:
    width, scheme = look
    async with chromium.opened(browser, width=width, scheme=scheme) as (page, watch):
        found = Seen(page, watch, folder, f"{scheme}-{width}", [])

        def keep(response) -> None:
            found.answers.append((response.status, response.url, response.headers))

        page.on("response", keep)
        yield found
        assert await page.evaluate("document.scripts.length") == 0
        left = [line for line in watch.amiss if "the server responded with a status of 4" not in line]
        assert left == []


@pytest.fixture
def road(oidc) -> Iterator[Road]:
    with road_to(oidc) as road:
        road.project(Oidc.basic)
        yield road


async def sign_in(page: chromium.Page, answer: str = "Allow") -> None:
    await page.get_by_label("User name").fill("somebody")
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name=answer).click()


def origin(ports: Ports) -> str:
    return f"https://localhost:{ports.public}/"


@pytest.mark.node
class TestOAuth:
    @pytest.mark.parametrize("look", LOOKS[::3])
    async def test_link_login_consent_done(self, browser, road, oidc, tmp_path, look):
        async with seen(browser, tmp_path, look) as visit:
            page = visit.page
            await page.goto(await road.link())
            await sign_in(page)
            await page.get_by_role("heading", name="Mailroom is connected").wait_for()
            await visit.shot("done")
            assert await road.pocket.wait_tool_auth() is True
            assert "somebody" in await road.invoke()

            address = urlsplit(page.url)
            assert address.path.startswith("/proxy/auth/mailroom/result/")
            assert (address.query, address.fragment) == ("", "")
            assert oidc.exchanges == 1
            visit.strict(origin(road.ports))

            callbacks = [url for _, url, _ in visit.answers if "/oauth2/callback" in url]
            (code,) = {part.partition("=")[2] for part in urlsplit(callbacks[0]).query.split("&") if "code=" in part}
            secrets = [code, await road.access_token(), await road.refresh_token()]
            assert canary.find(await visit.places(), secrets) == []
            await page.go_back()
            assert urlsplit(page.url).netloc != address.netloc, "the callback itself is no step of the history"
            assert canary.find(await visit.places(), secrets) == []
            await page.go_forward()
            await page.reload()
            await page.get_by_role("heading", name="Mailroom is connected").wait_for()
            assert oidc.exchanges == 1

    @pytest.mark.parametrize("look", LOOKS[1:2])
    async def test_a_no_shows_the_refused_page_and_ends_the_wait(self, browser, road, oidc, tmp_path, look):
        url = await road.link()
        waiting = asyncio.create_task(road.pocket.wait_tool_auth())
        async with seen(browser, tmp_path, look) as visit:
            await visit.page.goto(url)
            await sign_in(visit.page, "Cancel")
            await visit.page.get_by_role("heading", name="Mailroom was not connected").wait_for()
            await visit.shot("refused")
            assert urlsplit(visit.page.url).query == ""
            visit.strict(origin(road.ports))
            async with asyncio.timeout(5):
                with pytest.raises(AuthRefused):
                    await waiting
        assert oidc.exchanges == 0

    async def test_a_link_answered_too_late_says_to_start_again(self, browser, road, oidc, tmp_path):
        async with seen(browser, tmp_path) as visit:
            await visit.page.goto(await road.link())
            road.clock.advance(601)
            await sign_in(visit.page)
            await visit.page.get_by_role("heading", name="This link has ended").wait_for()
            await visit.shot("late")
            assert urlsplit(visit.page.url).query == ""
            visit.strict(origin(road.ports))
        assert oidc.exchanges == 0

    async def test_the_callback_opened_in_a_second_tab_changes_nothing(self, browser, road, oidc, tmp_path):
        async with seen(browser, tmp_path) as visit:
            await visit.page.goto(await road.link())
            await sign_in(visit.page)
            await visit.page.get_by_role("heading", name="Mailroom is connected").wait_for()
            (callback,) = {url for _, url, _ in visit.answers if "/oauth2/callback" in url}
            before = await road.held()
            second = await visit.page.context.new_page()
            answer = await second.goto(callback)
            assert answer is not None
            assert answer.status == 400
            assert await road.held() == before
        assert oidc.exchanges == 1


class TestPasted:
    """A token pasted into our own form."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def ports(self, clock) -> Iterator[Ports]:
        ports = Ports()
        write_settings(ports, "[auth]\nverify_accounts = false")  # Slack is not there to be asked
        build.use(build.build(Config.load(Path.cwd(), {}), clock=clock))
        yield ports
        build.use(None)

    @pytest.fixture
    def pocket(self, ports) -> Iterator[Pocket]:
        @function_tool(auth_provider=AuthProvider.SLACK, auth_handler="slack-token")
        def length(**kwargs) -> int:
            """Tell how long the token is."""
            return len(kwargs["SLACK_BOT_TOKEN"])

        with Pocket(tools=[length]) as pocket:
            yield pocket

    @pytest.mark.parametrize("look", LOOKS[1:3])
    async def test_a_wrong_value_then_the_right_one(self, browser, ports, pocket, tmp_path, look):
        (prompt,) = await pocket.initialize_tool_auth()
        wrong = f"Bearer {TOKEN}"
        async with seen(browser, tmp_path, look) as visit:
            page = visit.page
            await page.goto(prompt.url)
            await visit.shot("form")
            field = page.get_by_label("Slack token")
            assert await field.get_attribute("type") == "password"
            await field.fill(wrong)
            await page.get_by_role("button", name="Connect").click()
            await page.get_by_role("alert").wait_for()
            assert "Bearer" in await page.get_by_role("alert").inner_text()
            await visit.shot("wrong")
            assert canary.find(await visit.places(), [TOKEN]) == []
            assert await page.get_by_label("Slack token").input_value() == ""

            await page.get_by_label("Slack token").fill(TOKEN)
            await page.keyboard.press("Enter")
            await page.get_by_role("heading", name="Slack is connected").wait_for()
            await visit.shot("pasted")
            assert urlsplit(page.url).query == ""
            assert canary.find(await visit.places(), [TOKEN]) == []
            assert await pocket.ainvoke("length", {}) == str(len(TOKEN))
            visit.strict(origin(ports))

            await page.goto(prompt.url)
            await page.get_by_role("heading", name="This link has ended").wait_for()
            await visit.shot("used")
            assert canary.find(await visit.places(), [TOKEN]) == []

    @pytest.mark.parametrize("look", LOOKS[:1])
    async def test_a_link_that_is_too_old_shows_the_expired_page(self, browser, ports, pocket, clock, tmp_path, look):
        (prompt,) = await pocket.initialize_tool_auth()
        clock.advance(601)
        async with seen(browser, tmp_path, look) as visit:
            answer = await visit.page.goto(prompt.url)
            assert answer is not None
            assert answer.status == 410
            await visit.page.get_by_role("heading", name="This link has ended").wait_for()
            await visit.shot("expired")
            visit.strict(origin(ports))

    async def test_a_form_that_was_shown_before_its_time_ended_is_not_taken_after(
        self, browser, ports, pocket, clock, tmp_path
    ):
        (prompt,) = await pocket.initialize_tool_auth()
        async with seen(browser, tmp_path) as visit:
            await visit.page.goto(prompt.url)
            clock.advance(601)
            await visit.page.get_by_label("Slack token").fill(TOKEN)
            await visit.page.get_by_role("button", name="Connect").click()
            await visit.page.get_by_role("heading", name="This link has ended").wait_for()
            assert canary.find(await visit.places(), [TOKEN]) == []
        assert (await pocket.ainvoke_with_state("length", {}))[1], "nothing was kept"

    async def test_two_tabs_with_the_form_connect_once(self, browser, ports, pocket, tmp_path):
        (prompt,) = await pocket.initialize_tool_auth()
        async with seen(browser, tmp_path) as visit:
            second = await visit.page.context.new_page()
            for page in (visit.page, second):
                await page.goto(prompt.url)
                await page.get_by_label("Slack token").fill(TOKEN)
            await visit.page.get_by_role("button", name="Connect").click()
            await visit.page.get_by_role("heading", name="Slack is connected").wait_for()
            await second.get_by_role("button", name="Connect").click()
            await second.get_by_role("heading", name="This link has ended").wait_for()
        assert await pocket.ainvoke("length", {}) == str(len(TOKEN))
