"""Signing in, the account and a program's question in a real Chromium: by keyboard alone, on a phone, in the dark."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.real import browser as chromium
from tests.real.node import MODULES
from tests.web.people import PASSWORD, People, people
from valetkey.entrypoints.web.doors import at_home
from valetkey.entrypoints.web.first import first_admin_link
from valetkey.model.connections import Health
from valetkey.testing.loopback import Loopback

pytestmark = [pytest.mark.browser, pytest.mark.node]

SCHEMES: tuple[chromium.Scheme, ...] = ("light", "dark")
NAMED = "(e => e.id || e.getAttribute('aria-label') || e.innerText.trim())(document.activeElement)"
TABS = 40


@pytest.fixture
async def site() -> AsyncIterator[People]:
    async with people() as opened:
        yield opened


@dataclass
class Person:
    """Somebody who has a keyboard and no mouse."""

    page: chromium.Page
    axe: str
    folder: Path

    async def look_at(self, name: str) -> None:
        """On a desk by day and on a phone by night: it fits, and axe finds nothing serious on it."""
        assert await self.page.evaluate("document.scripts.length") == 0
        for width, scheme in zip((chromium.DESKTOP, chromium.PHONE), SCHEMES, strict=True):
            await self.page.emulate_media(color_scheme=scheme)
            await self.page.set_viewport_size({"width": width, "height": 800})
            await self.page.screenshot(path=self.folder / f"{name}-{scheme}-{width}.png", full_page=True)
            assert await chromium.overflow(self.page) == 0, (name, width)
            background = await self.page.evaluate("getComputedStyle(document.body).backgroundColor")
            red = int(background.removeprefix("rgb(").split(",")[0])
            assert red > 200 if scheme == "light" else red < 60
            assert await chromium.found_by_axe(self.page, self.axe) == [], (name, scheme)

    async def reach(self, name: str) -> None:
        """Press Tab until that has the focus, and see that it shows."""
        for _ in range(TABS):
            await self.page.keyboard.press("Tab")
            if await self.page.evaluate(NAMED) == name:
                width = await self.page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
                assert width >= 2, f"{name} has the focus, and nobody sees it"
                return
        pytest.fail(f"the keyboard does not reach {name}")

    async def follow(self, name: str, heading: str) -> None:
        """Go to that link or button, press Enter, and be on the next page."""
        await self.reach(name)
        await self.press_enter(heading)

    async def press_enter(self, heading: str) -> None:
        await self.page.keyboard.press("Enter")
        await self.reads(heading)

    async def write(self, **fields: str) -> None:
        for name, text in fields.items():
            await self.reach(name)
            await self.page.keyboard.type(text)

    async def reads(self, heading: str) -> None:
        await self.page.get_by_role("heading", name=heading, level=1).wait_for()


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


@pytest.fixture
async def server(site) -> AsyncIterator[Loopback]:
    with Loopback(at_home(site.identity.system.home, site.app)) as running:
        yield running


@pytest.fixture
async def person(browser, node, tmp_path) -> AsyncIterator[Person]:
    axe = (MODULES / "axe-core" / "axe.min.js").read_text("utf-8")
    async with chromium.opened(browser) as (page, watch):
        yield Person(page, axe, Path(os.environ.get("SHOTS") or tmp_path))
        left = [line for line in watch.amiss if "the server responded with a status of 4" not in line]
        assert left == []


@pytest.mark.requirement("C.shown-pages")
async def test_with_the_keyboard_the_first_admin_looks_after_the_account(site, server, person):
    await person.page.goto(await first_admin_link(site.identity, base_url=server.url))
    await person.look_at("first-admin")
    await person.write(name="ann", password=PASSWORD, again=PASSWORD)
    await person.press_enter("Hello, ann")
    await site.connect("ann", account="ann@team")
    await site.connect("ann", provider="google", reason="invalid_grant", health=Health.NEEDS_REAUTH)
    await site.signed_in("ann")

    await person.page.reload()
    await person.reach("Make an API key")
    await person.page.keyboard.press("Enter")
    await person.look_at("account")
    await person.write(**{"key-name": "report"})
    await person.press_enter("Your new API key")
    await person.look_at("key")
    await person.follow("Back to your account", "Hello, ann")
    await person.follow("Disconnect Slack ann@team", "Disconnect Slack?")
    await person.look_at("disconnect")
    await person.follow("Keep it", "Hello, ann")
    await person.follow("Change your password", "Change your password")
    await person.look_at("password")
    new = "a new and longer password"
    await person.write(current=PASSWORD, password=new, again=new)
    await person.press_enter("Hello, ann")
    await person.follow("Admin", "Admin")
    await person.look_at("admin")
    await person.follow("Your account", "Hello, ann")
    await person.follow("Sign out", "Sign in")
    await person.page.go_back()  # W-19: what was seen is asked for again, and nobody is there to see it
    await person.reads("Sign in")


@pytest.mark.requirement("C.shown-pages")
async def test_with_the_keyboard_a_person_lets_a_program_in(site, server, person):
    login = site.identity.login
    await person.page.goto(f"{server.url}/sign-in")
    await person.reads("Nobody has an account here yet")
    await person.look_at("nobody")
    await site.add("ann")
    asked = await login.start(address="203.0.113.9", agent="report.py/1.0")
    await person.page.goto(f"{server.url}{path_of(asked['login_url'])}")
    await person.write(name="ann", password="wrong wrong wrong")
    await person.page.keyboard.press("Enter")
    await person.page.get_by_role("alert").wait_for()
    await person.look_at("sign-in")
    await person.write(password=PASSWORD)
    await person.press_enter("Sign in a program?")
    assert asked["code"] in await person.page.inner_text("article")
    await person.look_at("program")
    await person.follow("Yes, sign in that program", "Your program is signed in")
    await person.look_at("done")
    assert await login.check(asked["key"], timeout=0)
