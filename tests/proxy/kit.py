"""A server, a provider that is an OAuth server and a recording API beside it, and accounts there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2

from tests.rpc import place as rpc
from valetkey.adapters.serving import Listener
from valetkey.model.caller import OURS, Owner
from valetkey.model.connections import Credential, Grant
from valetkey.model.needs import Need, Needs
from valetkey.model.services import Registered
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserInfo, create_scope
from valetkey.secret import Secret
from valetkey.services.sight import Who
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build
from valetkey.wiring.via import open_loans

PROVIDER = """
title = "Ledger"
docs = "https://ledger.example/docs"
origins = ["{api}"]

[handlers.ledger-oauth2]
kind = "oauth2"
default = true
scoped = true
variables = {{ LEDGER_TOKEN = "access_token" }}

[handlers.ledger-oauth2.oauth2]
authorize = "{oauth.authorize_url}"
token = "{oauth.token_url}"
revoke = "{oauth.revoke_url}"
"""

Reply = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Seen:
    """One request as the API got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Api:
    """The provider's API: it records what comes, and answers as its path says, or as a test says."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Authorization headers that are answered with 401."""
    replies: dict[str, Reply] = field(default_factory=dict)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode()
        target = scope["raw_path"].decode() + (f"?{query}" if query else "")
        self.seen.append(Seen(scope["method"], target, headers, body))
        reply = self.replies.get(scope["path"])
        if headers.get("authorization") in self.refused:
            await answer(send, 401, b"who is this? " + headers["authorization"].encode())
        elif reply is not None:
            await reply(scope, receive, send)
        else:
            await answer(send, 200, b'{"ok": true}', (b"content-type", b"application/json"))


async def answer(send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


def replying(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Reply:
    async def reply(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, status, body, *headers)

    return reply


@dataclass(kw_only=True)
class Proxied:
    """All of it."""

    here: rpc.Place
    api: Api
    oauth: OAuthServer
    loans: Any
    clock: Any

    def owner(self, name: str) -> Owner:
        return Owner(workspace=f"ws-user-{name}", issuer=OURS, subject=name)

    async def account(
        self, name: str, token: str, *, refresh: str = "", profile: str = "default", scopes: tuple[str, ...] = ("read",)
    ) -> None:
        """Somebody's account at the provider, connected before."""
        system = self.here.identity.system
        handler = system.handling.find("ledger-oauth2", None)
        grant = Grant(
            credential=Credential(access_token=Secret(token), refresh_token=Secret(refresh) if refresh else None),
            scopes=frozenset(scopes),
            expires_at=system.clock.now() + 36_000,
        )
        await system.keeper.keep(grant, handler, self.owner(name), profile=profile, asked=frozenset(scopes))

    async def browser(self, name: str, roles: tuple[str, ...] = ()) -> httpx2.AsyncClient:
        """A browser in which somebody is signed in."""
        scope = create_scope({f"ws-user-{name}": "a", **({"*": "a"} if roles else {})})
        user = UserInfo(id=name, roles=list(roles), scope=scope)
        secret, _ = await self.here.identity.tokens.issue(TokenKind.SESSION, user, self.owner(name))
        jar = httpx2.AsyncClient(base_url=self.here.base_url, trust_env=False)
        jar.cookies.set("valetkey", secret.reveal(), domain="127.0.0.1")
        return jar

    async def connect_account(self, jar: httpx2.AsyncClient, link: str) -> httpx2.Response:
        """Follow the link of AuthRequired, and say yes at the provider."""
        sent = await submit(jar, link, await jar.get(link), answer="yes")
        back = await asyncio.to_thread(self.oauth.approve, sent.headers["location"])
        done = await jar.get(back)
        return await jar.get(urljoin(back, done.headers["location"])) if done.is_redirect else done

    async def say(self, jar: httpx2.AsyncClient, link: str, answer: str) -> httpx2.Response:
        """Answer the question behind a link."""
        return await submit(jar, link, await jar.get(link), answer=answer)

    async def lent(self, name: str = "bob", **about: Any) -> Any:
        """What a service of theirs is lent for a call of theirs; it has ``told`` and ``end``."""
        return await self.loans.lend(service_of(name, **about), await self.who(name))

    async def who(self, name: str) -> Who:
        """Somebody who calls with a token of theirs."""
        caller = await self.here.caller(await self.here.token(name))
        return Who(caller=caller, workspace=f"ws-user-{name}")

    async def ticket(self, name: str = "bob", **about: Any) -> str:
        """The ticket of such a loan."""
        return str((await self.lent(name, **about)).told["via"]["ledger"]["token"])

    async def via(self, token: str, path: str = "/", *, method: str = "GET", **more: Any) -> httpx2.Response:
        """A request to the provider's API through the proxy."""
        async with httpx2.AsyncClient(base_url=self.here.base_url, trust_env=False) as client:
            headers = {"authorization": f"Bearer {token}", **more.pop("headers", {})}
            return await client.request(method, f"/via/ledger{path}", headers=headers, **more)


def service_of(registrant: str, *, scopes: tuple[str, ...] = ("read",), name: str = "sums") -> Registered:
    """A service that somebody runs in their own workspace."""
    return Registered(
        workspace=f"ws-user-{registrant}",
        client="worker",
        id=name,
        name="Sums",
        visibility="public",
        registrant=(OURS, registrant),
        needs=Needs(((Need(provider="ledger", scopes=frozenset(scopes)),),)),
    )


async def submit(jar: httpx2.AsyncClient, url: str, page: httpx2.Response, **fields: str) -> httpx2.Response:
    assert page.status_code == 200, page.text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    found = re.search(r'<form method="post" action="([^"]+)"', page.text)
    assert found, page.text
    target = urljoin(url, found[1].replace("&amp;", "&"))
    return await jar.post(target, data={**hidden, **fields}, headers={"sec-fetch-site": "same-origin"})


def link_in(text: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+/(?:connect|approve)/[\w-]+", text)
    assert found, text
    return found[0]


def write(api: Api, oauth: OAuthServer, *sections: str) -> None:
    """The provider and the settings, into the current folder."""
    folder = Path("valetkey_providers")
    folder.mkdir(exist_ok=True)
    (folder / "ledger.toml").write_text(PROVIDER.format(api=api.url, oauth=oauth), "utf-8")
    client = f'[auth.ledger]\nclient_id = "{oauth.client.id}"\nclient_secret = "{oauth.client.secret}"\n'
    text = "\n".join(['[session]\nsession_type = "in_memory"', client, *sections])
    Path("valetkey.toml").write_text(text, "utf-8")
    Path("valetkey.toml").chmod(0o600)


@asynccontextmanager
async def proxied(*sections: str, clock: Any = None, **options: Any) -> AsyncIterator[Proxied]:
    """A server with that provider; ``sections`` go into its valetkey.toml."""
    api = Api()
    listener = Listener(api, host="127.0.0.1", port=0, setting="none")
    await listener.start()
    api.port = listener.port
    try:
        with OAuthServer(auto_approve=False) as oauth:
            write(api, oauth, *sections)
            system = build.build(Config.load(Path.cwd(), {}), clock=clock)
            try:
                async with rpc.place(system=system, clock=clock, **options) as here:
                    loans = open_loans(here.identity, base_url=lambda: here.base_url)
                    here.services.relay.lend = loans.lend
                    yield Proxied(here=here, api=api, oauth=oauth, loans=loans, clock=system.clock)
                    await loans.settle()
            finally:
                await asyncio.to_thread(system.close)
    finally:
        await listener.stop()


__all__ = [
    "Api",
    "ManualClock",
    "Proxied",
    "Seen",
    "Who",
    "answer",
    "link_in",
    "proxied",
    "replying",
    "service_of",
    "submit",
]
