"""A program with accounts at several providers, and requests to its callback server that must come to nothing."""

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.road.forms import over_http
from tests.road.support import Page, Ports, get, write_settings
from valetkey import AuthProvider, OAuthHandler, Pocket, function_tool, tool
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build

SECRET = "this-clients-secret"
# Every page of a refusal says one of these: where to go on (O-42).
NEXT_STEP = re.compile(r"(?i)new link|link from your program|back to (?:your|the) program")
INTERNALS = re.compile(r"Traceback|valetkey[./]\w|\.py\b|starlette|uvicorn|sqlite|[a-z]Error\b|Exception|\bNone\b|\b0x")
STRICT = {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}


def provider(server: OAuthServer, name: str, *, promised: bool) -> str:
    """A provider of the project; one that says who it is in each callback, where promised (RFC 9207 §3)."""
    return f"""
        title = "{name.title()}"
        [handlers.{name}-oauth2]
        kind = "oauth2"
        default = true
        variables = {{ {name.upper()}_TOKEN = "access_token" }}
        [handlers.{name}-oauth2.oauth2]
        authorize = "{server.authorize_url}"
        token = "{server.token_url}"
        issuer = "{server.issuer}"
        iss_in_callback = {str(promised).lower()}
    """


class Program:
    """Three accounts: at honest (iss promised), at plain (iss known, not promised) and at bare (no iss known)."""

    def __init__(self, server: OAuthServer, other: OAuthServer, ports: Ports, clock: ManualClock) -> None:
        self.server, self.other, self.ports, self.clock = server, other, ports, clock
        client = f"client_id = '{server.client.id}'\nclient_secret = '{SECRET}'"
        write_settings(ports, *(f"[auth.{name}]\n{client}" for name in ("honest", "plain", "other")))
        folder = Path("valetkey_providers")
        folder.mkdir()
        (folder / "honest.toml").write_text(provider(server, "honest", promised=True), "utf-8")
        (folder / "plain.toml").write_text(provider(server, "plain", promised=False), "utf-8")
        (folder / "other.toml").write_text(provider(other, "other", promised=True), "utf-8")
        build.use(build.build(Config.load(Path.cwd(), {}), clock=clock))
        self.system = build.default()
        self.pocket = Pocket(tools=[self._tool(name) for name in ("honest", "plain", "other")] + [self._bare()])

    def _tool(self, name: str):
        def use(**kwargs) -> int:
            """Use the account."""
            return len(kwargs[f"{name.upper()}_TOKEN"])

        use.__name__ = name
        return function_tool(auth_provider=AuthProvider(name), scopes=["mail.read"])(use)

    def _bare(self):
        handler = OAuthHandler(
            name="bare",
            client_id=self.server.client.id,
            client_secret=SECRET,
            scopes=["mail.read"],
            auth_url=self.server.authorize_url,
            token_url=self.server.token_url,
        )

        @tool(auth=handler)
        def bare(**kwargs) -> int:
            """Use the account."""
            return len(kwargs["BARE_TOKEN"])

        return bare

    async def link(self, name: str = "honest") -> str:
        told = await self.pocket.prepare_auth(name)
        assert told is not None
        return told.rpartition(" ")[2]

    async def callback(self, name: str = "honest", *, deny: bool = False) -> str:
        url = await self.link(name)
        server = self.other if name == "other" else self.server
        return over_http(server.deny(url) if deny else server.approve(url), self.ports)

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        file = self.system.folder / "valetkey.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            ask = "SELECT * FROM connections ORDER BY id", "SELECT * FROM interactions ORDER BY id"
            return {name: database.execute(name).fetchall() for name in ask}

    def accounts(self) -> int:
        return len(self.rows()["SELECT * FROM connections ORDER BY id"])

    @property
    def token_calls(self) -> int:
        requests = [*self.server.requests, *self.other.requests]
        return len([request for request in requests if request.path == "/token"])

    async def refused(self, url: str, status: int = 400, *, changes: bool = False, **more: Any) -> Page:
        """A request that must come to nothing: 4xx, a page that helps, no secret, no row changed, no token call."""
        before, calls = self.rows(), self.token_calls
        page = await asyncio.to_thread(lambda: get(url, **more))
        assert page.status == status, words(page)
        self.clean(page)
        assert self.token_calls == calls
        if not changes:
            assert self.rows() == before
        return page

    def clean(self, page: Page) -> None:
        assert NEXT_STEP.search(words(page)), words(page)
        assert not INTERNALS.search(words(page)), words(page)
        for secret in (SECRET, *self.server.codes, *self.other.codes):
            assert secret not in page.body
        assert {name: page.headers.get(name) for name in STRICT} == STRICT


def words(page: Page) -> str:
    """What a person reads."""
    return " ".join(re.sub(r"(?s)<style>.*?</style>|<[^>]*>", " ", page.body).split())


def changed(url: str, *more: tuple[str, str], **changes: str | None) -> str:
    """A URL with other values in its query (None: without it), and with further parameters behind."""
    parts = urlsplit(url)
    fields = [(name, value) for name, value in parse_qsl(parts.query) if name not in changes]
    fields += [(name, value) for name, value in changes.items() if value is not None]
    return parts._replace(query=urlencode([*fields, *more])).geturl()


def fields_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))
