"""A server of several people over memory, with its pages, and people who sign in to it."""

import asyncio
import html
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.web.asgi import Answer, drive, scope_of
from tests.web.links_kit import settings
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.account import AccountPages
from valetkey.entrypoints.web.admin import AdminPages
from valetkey.entrypoints.web.first import FirstAdminPages
from valetkey.entrypoints.web.forms import Forms
from valetkey.entrypoints.web.guard import Guard
from valetkey.entrypoints.web.login import LOGIN_PAGE, LoginPages
from valetkey.entrypoints.web.password import PasswordPages
from valetkey.model.connections import Connection, Credential
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.settings.sections import Identity as IdentitySettings
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build
from valetkey.wiring.identity import Identity, open_identity

BASE = "http://localhost:9527"
PASSWORD = "correct horse battery staple"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass
class Jar:
    """One browser: it keeps cookies, follows no redirect by itself, and sends forms as our own pages do."""

    app: Any
    base_url: str = BASE
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, url: str, **headers: str) -> Answer:
        return await self._send("GET", url, b"", headers)

    async def post(self, url: str, fields: Mapping[str, str], **headers: str) -> Answer:
        shown = {"sec_fetch_site": "same-origin", "content_type": "application/x-www-form-urlencoded", **headers}
        return await self._send("POST", url, urlencode(fields).encode(), shown)

    async def submit(
        self, url: str, shown: Answer, *, form: str = "", headers: Mapping[str, str] | None = None, **fields: str
    ) -> Answer:
        """Send the page's form whose action ends so, with these answers."""
        forms = re.findall(r'<form method="post" action="([^"]*)".*?</form>', shown.text, re.DOTALL)
        (action,) = {action for action in forms if action.endswith(form)}
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown.text)
        values = {name: html.unescape(value) for name, value in hidden}
        return await self.post(urljoin(url, html.unescape(action)), {**values, **fields}, **(headers or {}))

    async def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        base = urlsplit(self.base_url)
        parts = urlsplit(url)
        given = {"host": base.netloc, "user-agent": FIREFOX}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        kept = [f"{name}={value}" for name, value in self.cookies.items()]
        given["cookie"] = "; ".join([*kept, *([given["cookie"]] if "cookie" in given else [])])
        scope = scope_of(method, parts.path, query=parts.query, headers=given.items(), scheme=base.scheme)
        answer = await drive(self.app, scope, body)
        for name, value in answer.headers:
            if name == "set-cookie":
                for key, morsel in SimpleCookie(value).items():
                    self.cookies[key] = morsel.value
                    if morsel["max-age"] == "0":
                        del self.cookies[key]
        return answer


class People:
    """The identity of one server, its pages as an ASGI app, and browsers."""

    def __init__(self, identity: Identity, clock: Any, base_url: str) -> None:
        self.identity = identity
        self.clock = clock
        self.base_url = base_url
        forms = Forms(base_url=base_url, entropy=identity.system.entropy)
        self.login = LoginPages(identity, forms, base_url=base_url)

        async def index(request: Request) -> Response:
            return await self.login.index(request, request.query_params.get("key", ""))

        self.routes = [
            *self.login.routes(),
            *AccountPages(identity, forms, base_url=base_url).routes(),
            *PasswordPages(identity, forms, base_url=base_url).routes(),
            *AdminPages(identity, forms, base_url=base_url).routes(),
            *FirstAdminPages(identity, forms, base_url=base_url).routes(),
            Route(LOGIN_PAGE, index, methods=["GET"]),
        ]
        inner = Starlette(routes=self.routes, exception_handlers=page.exception_handlers())
        self.app = Guard(inner, base_url=base_url, entropy=identity.system.entropy)

    async def add(self, name: str, *roles: str) -> None:
        await self.identity.accounts.add(name, Secret(PASSWORD), roles=roles)

    def browser(self) -> Jar:
        """A fresh one, where nobody is signed in."""
        return Jar(self.app, self.base_url)

    async def signed_in(self, name: str, *roles: str) -> Jar:
        """A browser in which somebody signed in, who is given an account where they have none."""
        if not any(account.name == name for account in await self.identity.accounts.list()):
            await self.add(name, *roles)
        jar = self.browser()
        answer = await sign_in(jar, name)
        assert answer.status == 303, answer.text
        return jar

    async def connect(self, name: str, provider: str = "slack", **about: Any) -> Connection:
        """An account of somebody's, connected."""
        system = self.identity.system
        account = await self.identity.accounts.get(name)
        assert account is not None
        owner = self.identity.accounts.owner_of(account)
        row: dict[str, Any] = {"owner": owner, "provider": provider, "generation": 1}
        connection_id = system.entropy.bytes(16).hex()
        credential = Credential(access_token=Secret("xoxb-secret"))
        row["sealed"] = system.sealer.seal_credential(credential, connection_id=connection_id, **row)
        row |= {"handler": f"{provider}-token", "profile": "default", "scopes": frozenset({"channels:read"})}
        connection = Connection(**{**row, "id": connection_id, **about})
        assert await system.stores.connections.insert(connection)
        return connection


async def sign_in(jar: Jar, name: str, password: str = PASSWORD) -> Answer:
    """Open the sign-in page, and send its form."""
    return await jar.submit("/sign-in", await jar.get("/sign-in"), name=name, password=password)


@asynccontextmanager
async def people(*, base_url: str = BASE, clock: ManualClock | None = None) -> AsyncIterator[People]:
    """Open a server's rooms over memory."""
    settings()
    system = build.build(Config.load(Path.cwd(), {}, **{"auth.verify_accounts": False}), clock=clock)
    build.use(system)
    yield People(open_identity(system, IdentitySettings(), base_url=base_url), system.clock, base_url)
    await asyncio.to_thread(build.use, None)
