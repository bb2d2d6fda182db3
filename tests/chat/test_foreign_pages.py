"""Pages of other sites, and what a browser or a middleware adds by itself: none of it acts for its visitor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from starlette.requests import HTTPConnection
from websockets.exceptions import InvalidStatus

from tests.chat.live import live
from tests.chat.test_links import ADA, Browser, asked, chatting
from valetkey.ports.agents import ToolCall
from valetkey.testing.oauth_server import GOOGLE, OAuthServer


@pytest.fixture
def google() -> Iterator[OAuthServer]:
    with OAuthServer(dialect=GOOGLE, title="Google") as running:
        yield running


@pytest.mark.requirement("d15.link")
async def test_a_foreign_page_is_not_the_program_of_this_machine_whose_link_anybody_here_may_follow(
    google: OAuthServer,
) -> None:
    """A page of anywhere could open a chat on this machine, and send its visitor to that chat's link."""
    async with chatting(google, cors_origins=["*"]) as chat:
        client = await chat.open(origin="https://evil.example")
        url = (await asked(chat, client))["url"]
        victim = Browser(chat, ADA, **{"sec-fetch-site": "cross-site", "referer": "https://evil.example/"})
        assert (await victim.get(url)).status_code == 403


@pytest.mark.requirement("d15.link")
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_no_page_of_another_site_leads_to_the_link_of_a_program_of_this_machine(
    google: OAuthServer, site: str
) -> None:
    async with chatting(google) as chat:
        url = (await asked(chat, await chat.open()))["url"]
        assert (await Browser(chat, ADA, **{"sec-fetch-site": site}).get(url)).status_code == 403
        assert (await Browser(chat, ADA, **{"sec-fetch-site": "none"}).get(url)).status_code == 200


@pytest.mark.requirement("W-01")
async def test_of_a_foreign_page_no_sign_in_counts_that_a_browser_adds_by_itself() -> None:
    """HTTP Basic is remembered by browsers and sent with WebSockets of any page, as cookies are."""

    def user(given: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> str:
        return given.username

    async with live(cors_origins=["*"], auth_dependency=user) as chat:
        with pytest.raises(InvalidStatus):
            await chat.open(origin="https://evil.example", headers={"authorization": "Basic YWRhOnB3"})


class _ReadsCookies:
    """A middleware as Starlette's SessionMiddleware and AuthenticationMiddleware are: it reads the cookie before us."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in {"http", "websocket"}:
            user = HTTPConnection(scope).cookies.get("app")
            scope["session"] = {"user": user} if user else {}
            if user:
                scope.setdefault("state", {})["user"] = user
        await self._app(scope, receive, send)


@pytest.mark.requirement("W-01")
async def test_where_cookies_do_not_count_neither_does_what_a_middleware_made_of_them() -> None:
    """cors_origins ["*"]: "then no cookie counts" (docs/chat.md), but scope["session"] and scope["user"] do."""
    app = FastAPI()
    app.add_middleware(_ReadsCookies)

    def user(connection: HTTPConnection) -> str | None:
        found: str | None = connection.session["user"]
        return found

    async with live(app, cors_origins=["*"], auth_dependency=user) as chat:
        assert (await chat.open(**chat.browser("app=ada"))).id, "a page of our own"
        with pytest.raises(InvalidStatus):
            await chat.open(origin="https://evil.example", cookie="app=ada")


async def test_where_nobody_asks_who_it_is_a_page_of_anywhere_is_refused_what_a_middleware_found() -> None:
    app = FastAPI()
    app.add_middleware(_ReadsCookies)
    async with live(app, cors_origins=["*"]) as chat:
        assert (await chat.open(origin="https://any.example")).id
        with pytest.raises(InvalidStatus):
            await chat.open(origin="https://any.example", cookie="app=ada")


@pytest.mark.requirement("W-01")
@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Basic YWRhOnB3"}, {"authorization": "Negotiate YII="}, {"cookie": "valetkey=vks_1"}],
    ids=["basic", "negotiate", "our session"],
)
async def test_under_a_star_nothing_signs_in_that_a_browser_sends_by_itself(headers: dict[str, str]) -> None:
    async with live(cors_origins=["*"]) as chat:
        with pytest.raises(InvalidStatus) as refused:
            await chat.open(origin="https://any.example", headers=headers)
        assert refused.value.response.status_code == 403


@pytest.mark.requirement("W-01")
async def test_a_page_of_anywhere_neither_brings_nor_changes_the_browsers_cookie() -> None:
    async with live(cors_origins=["*"]) as chat:
        wire = await chat.raw(origin="https://any.example", additional_headers={"cookie": ADA})
        assert wire.response is not None
        assert "set-cookie" not in wire.response.headers
        (seat,) = chat.plugin.session_manager.seats()
        assert (seat.session.browser, seat.session.brought) == ("", False)


@pytest.mark.requirement("W-01")
async def test_a_usual_port_says_nothing_of_whose_page_it_is() -> None:
    async with live(cors_origins=["https://friend.example:443"], public_base_url="https://chat.example") as chat:
        for origin in ("https://friend.example", "https://chat.example", "https://chat.example:443"):
            assert (await chat.open(origin=origin, named="chat.example:443")).id, origin


CURRENT: ContextVar[str] = ContextVar("current", default="")


class _Remembers(_ReadsCookies):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            CURRENT.set(HTTPConnection(scope).cookies.get("app", ""))
        await super().__call__(scope, receive, send)


async def test_a_call_of_a_tool_is_nobody_whom_a_cookie_of_the_handshake_named() -> None:
    """It has what the app's lifespan left for its requests, and nothing that a middleware made of the handshake."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        yield {"database": "rows"}

    app, acted = FastAPI(lifespan=lifespan), list[tuple[Any, ...]]()
    app.add_middleware(_Remembers)

    @app.post("/pay")
    async def pay(request: Request) -> str:
        acted.append((getattr(request.state, "user", None), CURRENT.get(), request.state.database))
        return "paid"

    async with live(app) as chat:
        client = await chat.open(**chat.browser("app=ada"))
        chat.model.pieces = [ToolCall(id="1", tool="pay_pay_post", arguments={})]
        await client.send(type="chat", message="pay")
        await client.until("ai_response")
        assert set(acted) == {(None, "", "rows")}
