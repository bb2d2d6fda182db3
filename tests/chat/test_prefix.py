"""A chat behind a path, in another app, or beside an app that takes all paths: accounts are connected all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import HTMLResponse
from starlette.routing import NoMatchFound
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from tests.chat.live import Live, live
from tests.chat.test_links import ADA, Browser, asked
from tests.road.support import client_section, read
from valetkey import add_bedrock_chat
from valetkey.entrypoints.fastapi import mount_valetkey
from valetkey.ports.agents import ToolCall
from valetkey.testing.oauth_server import GOOGLE, OAuthServer
from valetkey.wiring import build

THEIRS = "the app's own page"


@pytest.fixture
def google() -> Iterator[OAuthServer]:
    with OAuthServer(dialect=GOOGLE, title="Google") as running:
        yield running


async def connects(chat: Live, google: OAuthServer, prefix: str) -> None:
    """A person follows the link, consents, and comes back; all of it below the prefix."""
    chat.model.pieces = [ToolCall(id="one", tool="read")]
    client = await chat.open(f"{prefix}/bedrock-chat/ws", **chat.browser(ADA))
    frame = await asked(chat, client)
    assert frame["url"].startswith(f"{chat.url}{prefix}/bedrock-chat/link/")
    browser = Browser(chat, ADA)
    shown = await browser.get(frame["url"])
    assert shown.status_code == 200, (str(shown.url), shown.text)
    assert THEIRS not in shown.text
    sent = await browser.submit(shown)
    callback = await asyncio.to_thread(google.approve, sent.headers["location"])
    assert callback.startswith(f"{chat.url}{prefix}/bedrock-chat/auth/google/oauth2/callback?")
    assert (await browser.get(callback)).status_code == 200
    await client.until("connection_ready")


def taking_off(prefix: str, app: Any) -> Any:
    """What a proxy does that hands on the rest of the path only; a request without the path never gets there."""

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"].startswith(f"{prefix}/"), scope["path"]
        await app({**scope, "path": scope["path"].removeprefix(prefix)}, receive, send)

    return proxy


@pytest.mark.filterwarnings("ignore:.*root_path")
@pytest.mark.parametrize("taken_off", [False, True])
async def test_the_links_of_an_app_with_a_root_path_lead_below_it(google: OAuthServer, *, taken_off: bool) -> None:
    app = FastAPI(root_path="/api")
    async with live(app, tools=[read], toml=client_section("google", google)) as chat:
        if taken_off:
            chat.server.config.loaded_app = taking_off("/api", app)
        await connects(chat, google, "/api")


async def test_the_links_of_an_app_in_another_app_lead_below_its_path(google: OAuthServer) -> None:
    inner, outer = FastAPI(), FastAPI()
    async with live(inner, tools=[read], toml=client_section("google", google)) as chat:
        outer.mount("/shop", inner)
        chat.server.config.loaded_app = outer  # what is served is the app around it
        await connects(chat, google, "/shop")


async def test_the_links_lead_below_the_path_that_the_server_was_told(google: OAuthServer) -> None:
    """``uvicorn --root-path``: the path is before each request's."""
    async with live(tools=[read], toml=client_section("google", google)) as chat:
        app = chat.server.config.loaded_app

        async def told(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "root_path": "/told"}, receive, send)

        chat.server.config.loaded_app = told
        await connects(chat, google, "/told")


def by_route(_: Path) -> FastAPI:
    app = FastAPI()

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str) -> HTMLResponse:
        return HTMLResponse(THEIRS)

    return app


def by_mount(folder: Path) -> FastAPI:
    app = FastAPI()
    (folder / "site").mkdir()
    (folder / "site/index.html").write_text(THEIRS)
    app.mount("/", StaticFiles(directory=folder / "site", html=True))
    return app


@pytest.mark.parametrize("made", [by_route, by_mount])
async def test_an_account_is_connected_where_the_app_takes_all_paths(
    made: Any, tmp_path: Path, google: OAuthServer
) -> None:
    async with live(made(tmp_path), tools=[read], toml=client_section("google", google)) as chat:
        await connects(chat, google, "")
        assert THEIRS in (await chat.get("/")).text


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("POCKET_SESSION__SESSION_TYPE", "in_memory")
    yield
    build.use(None)


@pytest.mark.usefixtures("plain")
def test_the_path_of_the_public_address_goes_before_the_apps_own_and_before_what_requests_say() -> None:
    app = FastAPI()
    mounted = mount_valetkey(app, prefix="keys", public_base_url="https://shop.example/api/")
    mounted.learn({"root_path": "/other"})
    assert mounted.base_url == mounted.system.links.pages == "https://shop.example/api/keys"
    for root_path in ("", "/api"):  # a proxy took the path off; the server was told of it, or was not
        with TestClient(app, base_url="https://shop.example", root_path=root_path) as client:
            found = client.get("/keys/account", follow_redirects=False)
            assert found.headers["location"] == "/api/keys/sign-in?next=/api/keys/account"


@pytest.mark.usefixtures("plain")
def test_a_path_is_learned_once_and_only_where_it_is_one() -> None:
    mounted = mount_valetkey(FastAPI())
    for path in ("", "/", "//evil.example", "/a/../b", "/a b", "/x?y", "no-slash"):
        mounted.learn({"root_path": path})
        assert mounted.base_url == "http://127.0.0.1:8000"
    issuer = mounted.identity.signer.issuer
    for path in ("/one/", "/two"):
        mounted.learn({"root_path": path})
        assert mounted.base_url == mounted.system.links.pages == "http://127.0.0.1:8000/one"
    assert mounted.identity.signer.issuer == issuer, "tokens that were issued stay good"


@pytest.mark.usefixtures("plain")
def test_names_of_the_apps_routes_are_found_behind_our_pages() -> None:
    app = FastAPI()

    @app.get("/{path:path}")
    def everything(path: str) -> str:
        return path

    add_bedrock_chat(app, model_id="offline")
    assert app.url_path_for("everything", path="x") == "/x"
    with pytest.raises(NoMatchFound):
        app.url_path_for("nothing")


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("path", ["ui", "static/chat.js", f"link/{'0' * 64}", "account"])
def test_browsers_stay_with_https_where_they_come_by_it(path: str) -> None:
    """RFC 6797 §6.1."""
    for address, told in (("https://shop.example", True), ("https://localhost", False), ("http://shop.example", False)):
        app = FastAPI()
        add_bedrock_chat(app, model_id="offline", public_base_url=address)
        with TestClient(app, base_url=address) as client:
            answer = client.get(f"/bedrock-chat/{path}", follow_redirects=False)
            assert ("strict-transport-security" in answer.headers) is told, (address, answer.status_code)
        build.use(None)
