"""A person at the chat's page, in a real Chromium."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from tests.real import browser as chromium
from tests.real.node import MODULES, find_node, install

UI = "/bedrock-chat/ui"
ENVIRONMENT = dict(os.environ)  # as the session was started: npm needs the real one
SHOTS = os.environ.get("SHOTS", "")


@cache
def axe() -> str:
    """The source of axe-core."""
    install(find_node(), ENVIRONMENT)
    return (MODULES / "axe-core" / "axe.min.js").read_text("utf-8")


@dataclass
class Person:
    """One browser with one page."""

    page: chromium.Page
    watch: chromium.Watch
    shown: list[str] = field(default_factory=list)

    async def open(self, origin: str) -> None:
        await self.page.goto(f"{origin}{UI}")
        await self.badge("Connected")

    async def badge(self, text: str) -> None:
        await self.page.locator("#badge", has_text=text).wait_for()

    async def sign_in(self, kind: str, **fields: str) -> None:
        """Fill in the panel, and send it by Enter."""
        if not await self.page.locator("#sign-in[open]").count():
            await self.page.click("#open-sign-in")
        await self.page.select_option("#auth-type", kind)
        for name, value in fields.items():
            await self.page.fill(f"#auth-{name}", value)
        await self.page.keyboard.press("Enter")
        await self.page.locator("#sign-in").wait_for(state="hidden")

    async def skip(self) -> None:
        await self.page.click("#auth-skip")

    async def ask(self, text: str) -> None:
        await self.page.fill("#message", text)
        await self.page.keyboard.press("Enter")

    async def reads(self, text: str) -> None:
        await self.page.locator("#log").get_by_text(text).last.wait_for()

    async def text(self) -> str:
        return await self.page.inner_text("#log")

    async def look_at(self, name: str, *, widths: tuple[int, ...] = (chromium.DESKTOP, 360)) -> None:
        """By day and by night it fits, and axe finds nothing serious on it."""
        schemes: tuple[chromium.Scheme, ...] = ("light", "dark")
        for width, scheme in zip(widths, schemes, strict=False):
            await self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            await self.page.set_viewport_size({"width": width, "height": 800})
            if SHOTS:
                await self.page.screenshot(path=Path(SHOTS) / f"{name}-{scheme}-{width}.png")
            assert await chromium.overflow(self.page) == 0, (name, width)
            assert await chromium.found_by_axe(self.page, axe()) == [], (name, scheme)


@asynccontextmanager
async def browser() -> AsyncIterator[chromium.Browser]:
    """A Chromium; without one the test is skipped."""
    found = chromium.find_chromium()
    if found is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium (the Debian package)")
    async with chromium.launched(found) as running:
        yield running


@asynccontextmanager
async def somebody(running: chromium.Browser) -> AsyncIterator[Person]:
    """Somebody with a fresh profile; whatever is amiss on their page fails the test."""
    async with chromium.opened(running) as (page, watch):
        yield Person(page, watch)
        assert watch.amiss == []
