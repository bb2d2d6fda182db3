"""Links to connect an account for a chat: the browser that chats may follow one, and nobody to whom it is sent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import urlencode, urljoin, urlsplit

import httpx2
import pytest
from fastapi import Cookie

from tests.chat.live import Client, Live, eventually, live
from tests.road.support import client_section, read
from valetkey.entrypoints.chat.handshake import cookie_name
from valetkey.entrypoints.chat.links import link_for
from valetkey.model.caller import CHAT_USERS
from valetkey.model.interactions import Phase
from valetkey.ports.agents import ToolCall
from valetkey.testing.oauth_server import GOOGLE, OAuthServer

PATH = "/bedrock-chat/ws"
NAME = cookie_name(secure=False)
ADA, BOB = (f"{NAME}={letter * 43}" for letter in "ab")
FAR = {"x-real-ip": "203.0.113.7"}


@pytest.fixture
def google() -> Iterator[OAuthServer]:
    with OAuthServer(dialect=GOOGLE, title="Google") as running:
        yield running


@asynccontextmanager
async def chatting(google: OAuthServer, **settings: Any) -> AsyncIterator[Live]:
    """A chat whose only tool needs an account of Google."""
    async with live(tools=[read], toml=client_section("google", google), **settings) as chat:
        chat.model.pieces = [ToolCall(id="one", tool="read")]
        yield chat


async def asked(chat: Live, client: Client) -> dict[str, Any]:
    """The frame in which the tool asks for its account."""
    await client.send(type="chat", message="read my calendar")
    return await client.until("auth_required")


class Browser:
    """A browser of few lines, with cookies of its own."""

    def __init__(self, chat: Live, cookie: str = "", **headers: str) -> None:
        self._base = chat.url
        self._headers = headers
        self._cookies = dict([cookie.split("=", 1)]) if cookie else {}

    async def get(self, url: str, *, follow: bool = True) -> httpx2.Response:
        return await self._send("GET", url, follow=follow)

    async def submit(self, shown: httpx2.Response) -> httpx2.Response:
        """Say yes on a page, and give the redirect that answers it."""
        form = re.search(r'<form method="post" action="([^"]+)"', shown.text)
        assert form, shown.text
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown.text))
        url = urljoin(str(shown.url), form[1].replace("&amp;", "&"))
        return await self._send("POST", url, {**fields, "answer": "yes"}, follow=False)

    async def _send(
        self, method: str, url: str, form: dict[str, str] | None = None, *, follow: bool
    ) -> httpx2.Response:
        url = urljoin(self._base, url)
        headers = {**self._headers, "cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if form is not None:
            headers |= {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
        async with httpx2.AsyncClient(trust_env=False) as client:
            answer = await client.request(method, url, headers=headers, content=urlencode(form or {}))
        for name, value in answer.headers.multi_items():
            if name == "set-cookie":
                key, _, rest = value.partition("=")
                self._cookies[key] = rest.partition(";")[0]
        if follow and answer.status_code == 303:
            return await self.get(urljoin(url, answer.headers["location"]))
        return answer


@pytest.mark.requirement("d15.auth-required", "D.callbacks")
async def test_the_browser_that_chats_connects_its_account_and_the_turn_goes_on(google: OAuthServer) -> None:
    async with chatting(google) as chat:
        client = await chat.open(**chat.browser(ADA))
        frame = await asked(chat, client)
        assert frame["url"].startswith(f"{chat.url}/bedrock-chat/link/")
        browser = Browser(chat, ADA)
        shown = await browser.get(frame["url"])
        assert shown.status_code == 200, shown.text
        assert "Google" in shown.text
        sent = await browser.submit(shown)
        assert sent.status_code == 303, sent.text
        callback = await asyncio.to_thread(google.approve, sent.headers["location"])
        assert (await browser.get(callback)).status_code == 200
        ready = await client.until("connection_ready")
        assert ready["request_id"] == frame["request_id"]
        chat.model.pieces = ["done"]
        answer = await client.until("ai_response")
        assert answer["tool_results"][0]["name"] == "read"
        assert "error" not in answer["tool_results"][0]


@pytest.mark.requirement("d15.link")
async def test_whoever_else_opens_the_link_is_told_what_to_do_and_it_stays_the_owners(google: OAuthServer) -> None:
    async with chatting(google) as chat:
        client = await chat.open(**chat.browser(ADA))
        url = (await asked(chat, client))["url"]
        direct = url.replace("/link/", "/connect/")
        for browser in (Browser(chat, BOB), Browser(chat), Browser(chat, BOB, **FAR)):
            for link in (url, direct):
                shown = await browser.get(link)
                assert shown.status_code == 403, link
                assert "personal" in shown.text
                assert "Google" not in shown.text
                assert not [name for name in browser._cookies if "claim" in name]
        assert (await Browser(chat, ADA).get(url)).status_code == 200
        assert (await Browser(chat, BOB).get(direct)).status_code == 403


@pytest.mark.requirement("d15.link")
async def test_what_the_owners_browser_was_given_does_not_travel_with_the_link(google: OAuthServer) -> None:
    """The owner follows the link as far as the provider, and sends somebody else what their address bar shows."""
    async with chatting(google) as chat:
        client = await chat.open(**chat.browser(ADA))
        url = (await asked(chat, client))["url"]
        ada, bob = Browser(chat, ADA), Browser(chat, BOB)
        sent = await ada.submit(await ada.get(url))
        callback = await asyncio.to_thread(google.approve, sent.headers["location"])
        assert (await bob.get(callback)).status_code == 403
        interactions = chat.plugin.chat.system.interactions
        row = await interactions.get(urlsplit(url).path.rpartition("/")[2])
        assert row is not None
        assert row.phase in {Phase.CLAIMED, Phase.OPEN}


@pytest.mark.parametrize("path", ["0" * 64, "x", "../connect/x", "%2e%2e"])
async def test_a_link_that_is_none_is_not_found(google: OAuthServer, path: str) -> None:
    async with chatting(google) as chat:
        assert (await Browser(chat, ADA).get(f"/bedrock-chat/link/{path}")).status_code == 404


@pytest.mark.requirement("d15.link")
async def test_on_this_machine_a_program_without_cookies_sends_the_first_browser(google: OAuthServer) -> None:
    async with chatting(google) as chat:
        client = await chat.open()
        url = (await asked(chat, client))["url"]
        assert (await Browser(chat, BOB, **FAR).get(url)).status_code == 403, "a proxy speaks for somebody else"
        first, second = Browser(chat, ADA), Browser(chat, BOB)
        assert (await first.get(url)).status_code == 200
        assert (await second.get(url)).status_code == 403
        assert (await first.get(url.replace("/link/", "/connect/"))).status_code == 200


@pytest.mark.requirement("d15.link")
@pytest.mark.parametrize(
    ("about", "settings"),
    [
        ({"headers": FAR}, {"toml": '[server]\ntrusted_proxies = ["127.0.0.1"]\n'}),
        ({"named": "chat.example"}, {"public_base_url": "https://chat.example"}),
    ],
    ids=["the socket came past a proxy", "the address is public"],
)
async def test_where_others_could_come_no_browser_is_the_first(
    google: OAuthServer, about: dict[str, Any], settings: dict[str, Any]
) -> None:
    toml = client_section("google", google) + settings.pop("toml", "")
    async with live(tools=[read], toml=toml, **settings) as chat:
        chat.model.pieces = [ToolCall(id="one", tool="read")]
        client = await chat.open(**about)
        path = urlsplit((await asked(chat, client))["url"]).path
        assert (await Browser(chat, ADA).get(path)).status_code == 403
        named = {"host": "chat.example"} if "public_base_url" in settings else {}
        assert (await Browser(chat, ADA, **named).get(path)).status_code == 403


@pytest.mark.requirement("d15.link")
async def test_a_page_under_the_other_name_of_this_machine_can_connect_too(google: OAuthServer) -> None:
    async with chatting(google) as chat:
        there = f"localhost:{chat.port}"
        client = await chat.open(named=there, origin=f"http://{there}", cookie=ADA)
        url = (await asked(chat, client))["url"]
        assert urlsplit(url).hostname == "127.0.0.1", "where the provider sends back to"
        assert (await Browser(chat, BOB).get(url)).status_code == 200


@pytest.mark.requirement("d15.link")
async def test_a_user_of_the_apps_sign_in_opens_it_wherever_they_are_signed_in(google: OAuthServer) -> None:
    async def user(app: Annotated[str, Cookie()] = "") -> str | None:
        return app or None

    async with chatting(google, auth_dependency=user) as chat:
        client = await chat.open(**chat.browser("app=ada"))
        session = chat.plugin.session_manager.get(client.id)
        assert session is not None
        assert session.owner.workspace == CHAT_USERS
        url = (await asked(chat, client))["url"]
        assert (await Browser(chat, "app=bob").get(url)).status_code == 403
        assert (await Browser(chat).get(url)).status_code == 403
        assert (await Browser(chat, "app=ada").get(url)).status_code == 200


@pytest.mark.requirement("d15.link")
async def test_a_link_of_a_user_of_the_app_is_not_another_users_of_the_same_browser(google: OAuthServer) -> None:
    """Ada signed out of the app, Bob signed in, in one browser: his account does not become hers."""

    async def user(app: Annotated[str, Cookie()] = "") -> str | None:
        return app or None

    async with chatting(google, auth_dependency=user) as chat:
        client = await chat.open(origin=chat.url, cookie=f"app=ada; {ADA}")
        url = (await asked(chat, client))["url"]
        browser = Browser(chat, ADA)
        browser._cookies["app"] = "bob"
        assert (await browser.get(url)).status_code == 403


@pytest.mark.requirement("D.own-users")
async def test_links_of_our_own_users_lead_where_they_sign_in(google: OAuthServer) -> None:
    async with chatting(google) as chat:
        client = await chat.open()
        session = chat.plugin.session_manager.get(client.id)
        assert session is not None
        url = f"{chat.url}/bedrock-chat/connect/{'a' * 64}"
        assert link_for(chat.plugin.chat, session, url) == url.replace("/connect/", "/link/")
        assert link_for(chat.plugin.chat, session, "https://elsewhere.example/x") == "https://elsewhere.example/x"
        owner = session.who.owner
        session.who.owner = type(owner)(workspace="ws-user-ada", issuer="valetkey", subject="ada")
        assert link_for(chat.plugin.chat, session, url) == url


@pytest.mark.requirement("fault.logout-residue")
async def test_whoever_goes_on_after_a_logout_has_no_account_of_who_was_there_before(google: OAuthServer) -> None:
    async with chatting(google) as chat:
        client = await chat.open()
        first = Browser(chat)
        frame = await asked(chat, client)
        sent = await first.submit(await first.get(frame["url"]))
        await first.get(await asyncio.to_thread(google.approve, sent.headers["location"]))
        chat.model.pieces = ["done"]
        await client.until("ai_response")
        await client.ask(type="logout")
        chat.model.pieces = [ToolCall(id="two", tool="read")]
        session = chat.plugin.session_manager.get(client.id)
        assert session is not None
        assert session.owner.subject != client.id, "from that very moment on"
        again = await asked(chat, client)
        assert again["request_id"] != frame["request_id"]
        await eventually(lambda: google.revocations)


@pytest.mark.requirement("fault.logout-residue")
async def test_when_the_session_has_ended_its_link_and_its_account_are_gone(google: OAuthServer) -> None:
    async with chatting(google) as chat:
        client = await chat.open()
        session = chat.plugin.session_manager.get(client.id)
        assert session is not None
        first = Browser(chat)
        url = (await asked(chat, client))["url"]
        sent = await first.submit(await first.get(url))
        await first.get(await asyncio.to_thread(google.approve, sent.headers["location"]))
        await client.until("connection_ready")
        connections = chat.plugin.chat.system.stores.connections
        assert len(await connections.of_owner(session.owner)) == 1
        await client.wire.close()
        await chat.gone(client.id)
        async with asyncio.timeout(10):
            while await connections.of_owner(session.owner):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        await eventually(lambda: google.revocations)
        assert (await first.get(url)).status_code in {403, 410}
