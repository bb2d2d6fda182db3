"""A server of several people in one process, and their browsers: each a jar of cookies of its own."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urljoin, urlsplit

import pytest
from starlette.applications import Starlette

from tests.road.support import client_section
from tests.web.asgi import Answer, drive, request_of, scope_of
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.forms import Forms
from valetkey.entrypoints.web.guard import Guard
from valetkey.entrypoints.web.links import link_routes
from valetkey.errors import Unauthenticated
from valetkey.identity.chain import Chain, Vouch
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.interactions.service import identify
from valetkey.model.audit import Entry
from valetkey.model.calls import SESSION, Presented
from valetkey.model.interactions import Interaction
from valetkey.model.users import UserInfo
from valetkey.policy.approvals import Approvals
from valetkey.policy.consents import Consents
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import GOOGLE, OAuthServer
from valetkey.wiring import build
from valetkey.wiring.system import System

BASE = "http://localhost:9527"
STATE_AND_SUCH = re.compile(r"state=|code_challenge|127\.0\.0\.1|Google|calendar")


def user(name: str, *, issuer: str = "valetkey") -> UserInfo:
    """Somebody for whom a verifier vouched."""
    found = UserInfo(id=f"local|{name}", roles=[])
    found._principal = (issuer, f"local|{name}")
    return found


class Sessions:
    """Vouches for the sessions that it gave out."""

    def __init__(self) -> None:
        self.given: dict[str, UserInfo] = {}

    def begin(self, who: UserInfo) -> str:
        value = f"vks_{len(self.given):022d}"
        self.given[value] = who
        return value

    async def verify(self, presented: Presented) -> Vouch | None:
        if presented.scheme != SESSION or not isinstance(presented.value, Secret):
            return None
        value = presented.value.reveal()
        if value not in self.given:
            raise Unauthenticated("This session has ended.")
        who = self.given[value]
        return Vouch(owner=owner_of(who), how=SESSION, user=who, token=value.removeprefix("vks_"))


class Noted:
    """An audit log in a list."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def note(self, entry: Entry) -> None:
        self.entries.append(entry)

    def tell(self, entry: Entry) -> None:
        self.entries.append(entry)

    def outcomes(self) -> list[str]:
        return [entry.outcome for entry in self.entries]


@dataclass
class Jar:
    """One browser: it follows no redirect by itself, and says that its requests are its own page's or a link's."""

    app: Any
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, url: str, *, method: str = "GET", **headers: str) -> Answer:
        return await self._send(method, url, b"", headers)

    async def post(self, url: str, fields: Mapping[str, str], **headers: str) -> Answer:
        shown = {"sec_fetch_site": "same-origin", "content_type": "application/x-www-form-urlencoded", **headers}
        return await self._send("POST", url, urlencode(fields).encode(), shown)

    async def submit(self, url: str, shown: Answer, **fields: str) -> Answer:
        """Send the form that a page has, with these answers."""
        found = re.search(r'<form method="post" action="([^"]+)"', shown.text)
        assert found, shown.text
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown.text))
        return await self.post(urljoin(url, found[1].replace("&amp;", "&")), {**hidden, **fields})

    async def claim(self, url: str) -> str:
        """Open a link of one's own, and continue; where that leads."""
        shown = await self.get(url)
        assert shown.status == 200, shown.text
        sent = await self.submit(url, shown, answer="yes")
        assert sent.status == 303, sent.text
        return urljoin(url, sent.header("location") or "")

    async def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(urljoin(BASE, url))
        assert parts.netloc == urlsplit(BASE).netloc, f"{url} is not ours"
        sent = [("host", parts.netloc), *((name.replace("_", "-"), value) for name, value in headers.items())]
        if self.cookies:
            sent.append(("cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        answer = await drive(self.app, scope_of(method, parts.path, query=parts.query, headers=sent), body)
        for name, value in answer.headers:
            if name == "set-cookie":
                for key, morsel in SimpleCookie(value).items():
                    self.cookies[key] = morsel.value
                    if morsel["max-age"] == "0":
                        del self.cookies[key]
        return answer


class Site:
    """The pages of links, over a system whose home is the test's loop."""

    def __init__(self, system: System, base: str = BASE) -> None:
        self.system = system
        self.sessions = Sessions()
        self.audit = Noted()
        self.forms = Forms(base_url=base, entropy=system.entropy)
        chain = Chain([self.sessions])
        self.approvals = Approvals(
            interactions=system.interactions,
            keyring=system.sealer.keyring,
            audit=self.audit,
            clock=system.clock,
            base_url=lambda: base,
        )
        self.kept: list[Any] = []
        self.consents = Consents(
            interactions=system.interactions,
            keyring=system.sealer.keyring,
            audit=self.audit,
            clock=system.clock,
            base_url=lambda: base,
            keep=self.keep,
            lifetime=30 * 86_400,
        )
        identity: Any = SimpleNamespace(
            system=system, chain=chain, audit=self.audit, approvals=self.approvals, consents=self.consents
        )
        self.identity = identity
        routes = link_routes(identity, self.forms, base_url=base, program="crew.py")
        app = Starlette(routes=routes, exception_handlers=page.exception_handlers())
        app.router.redirect_slashes = False
        self.app = Guard(app, base_url=base, entropy=system.entropy)

    async def keep(self, *yes: Any) -> None:
        self.kept.append(yes)

    def browser(self, who: UserInfo | None = None) -> Jar:
        """A browser of its own, in which somebody is signed in."""
        jar = Jar(self.app)
        if who is not None:
            jar.cookies["valetkey"] = self.sessions.begin(who)
        return jar

    def forged(self, jar: Jar, state: str) -> dict[str, str]:
        """A form's hidden field that fits this browser, as if it had been shown the page."""
        token = self.forms.issue(request_of(headers=[("host", "localhost:9527")]), state)
        jar.cookies[token.cookie] = token.nonce
        return {"csrf": token.value}

    async def row(self, url: str) -> Interaction:
        """The interaction of a link of ours, or of an address with its state."""
        state = parse_qs(urlsplit(url).query).get("state")
        found = await self.system.interactions.get(identify(state[0]) if state else url.rpartition("/")[2])
        assert found is not None
        return found


def sign_in_for(url: str) -> str:
    """Where somebody is sent who is not signed in."""
    return f"/sign-in?next={quote(urlsplit(url).path, safe='/')}"


def settings(*sections: str) -> None:
    """Write valetkey.toml for accounts in memory."""
    Path("valetkey.toml").write_text("\n".join(["[session]", 'session_type = "in_memory"', *sections]), "utf-8")
    Path("valetkey.toml").chmod(0o600)


@pytest.fixture
def google() -> Iterator[OAuthServer]:
    """The provider."""
    with OAuthServer(dialect=GOOGLE, title="Google") as running:
        yield running


@pytest.fixture
async def opened(server: OAuthServer) -> AsyncIterator[Site]:
    """The server of several people, on a clock that is wound by hand."""
    ledger = '[auth.ledger]\nclient_id = "me"\nclient_secret = "ledger-secret"\n'
    settings(client_section("google", server), client_section("zoom", server), ledger)
    system = build.build(Config.load(Path.cwd(), {}, **{"auth.verify_accounts": False}), clock=ManualClock())
    build.use(system)
    yield Site(system)
    await asyncio.to_thread(build.use, None)
