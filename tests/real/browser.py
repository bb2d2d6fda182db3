"""A real Chromium, headless, that reaches loopback only and fails the test over anything amiss on a page."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    async_playwright,
)

FLAGS = (
    "--no-sandbox",  # tests run as root in a container; only pages of ours are opened
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost, EXCLUDE 127.0.0.1",
)
LOOPBACK = {"localhost", "127.0.0.1", "[::1]", "::1"}
PHONE = 390
DESKTOP = 1280

Scheme = Literal["light", "dark"]


def find_chromium() -> str | None:
    """The Debian package's browser."""
    return shutil.which("chromium")


@dataclass
class Watch:
    """What happened on the pages that should not; a test that expects one of them removes it."""

    amiss: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        context.on("console", self._console)
        context.on("weberror", lambda error: self.amiss.append(f"page error: {error.error}"))
        context.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.amiss.append(f"console {message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob", "about"} and (parts.hostname or "") not in LOOPBACK:
            self.amiss.append(f"request to {parts.scheme}://{parts.netloc}")


@asynccontextmanager
async def launched(chromium: str) -> AsyncIterator[Browser]:
    """A browser with a profile of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS), headless=True)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser, *, width: int = DESKTOP, scheme: Scheme = "light"
) -> AsyncIterator[tuple[Page, Watch]]:
    """A page in a fresh context; certificates that we made ourselves are taken."""
    context = await browser.new_context(
        ignore_https_errors=True, viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    context.set_default_timeout(10_000)
    watch = Watch()
    watch.over(context)
    try:
        yield await context.new_page(), watch
    finally:
        await context.close()


async def overflow(page: Page) -> int:
    """How many pixels the page is wider than its window."""
    found = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return max(0, int(found))


async def found_by_axe(page: Page, axe: str) -> list[str]:
    """What axe-core, whose source is given, finds serious or critical on the page."""
    await page.evaluate(axe)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert found["passes"]
    serious = [each for each in found["violations"] if each["impact"] in {"serious", "critical"}]
    return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in serious]


__all__ = [
    "DESKTOP",
    "PHONE",
    "Browser",
    "Error",
    "Page",
    "Watch",
    "find_chromium",
    "found_by_axe",
    "launched",
    "opened",
    "overflow",
]
