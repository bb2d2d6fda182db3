"""A provider of whom only the issuer is written down, against oidc-provider: discovered, registered, pushed."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.real.oidc import Oidc
from tests.real.road import NAME, OWNER, REFRESHING, SCOPE, Road, road_to
from tests.real.visitor import call
from tests.road.support import Page, get, write_settings
from valetkey import AuthProvider, OAuthHandler, function_tool, tool

pytestmark = pytest.mark.node


@pytest.fixture
def road(oidc) -> Iterator[Road]:
    with road_to(oidc) as road:
        yield road


REFRESHED = f"""
[handlers.{NAME}-oauth2]
kind = "oauth2"
default = true
variables = {{ {NAME.upper()}_TOKEN = "access_token" }}

[handlers.{NAME}-oauth2.oauth2]
issuer = "ISSUER"
refresh_scopes = ["openid", "offline_access"]
authorize_parameters = {{ prompt = "consent" }}
"""


def by_issuer(road: Road, settings: str = "", *, entry: str = 'issuer = "ISSUER"') -> None:
    """A file of two lines, and what settings say besides."""
    write_settings(road.ports, f"[auth.{NAME}]\n{settings}" if settings else "")
    folder = Path("valetkey_providers")
    folder.mkdir(exist_ok=True)
    (folder / f"{NAME}.toml").write_text('title = "Mailroom"\n' + entry.replace("ISSUER", road.oidc.issuer), "utf-8")
    road._open(function_tool(auth_provider=AuthProvider(NAME), scopes=[SCOPE]))


async def opened(road: Road) -> str:
    """Open the link; where the browser is sent on to."""
    link = await road.link()
    assert urlsplit(link).path == f"/proxy/auth/{NAME}/oauth2/start"
    page = await asyncio.to_thread(lambda: get(link, follow=False))
    assert page.status == 303, page.body
    return page.headers["location"]


async def connect(road: Road, login: str = "someone") -> Page:
    url = await opened(road)
    back = await asyncio.to_thread(lambda: road.oidc.consent(url, login=login))
    return await asyncio.to_thread(get, back)


async def test_the_issuer_alone_is_enough_for_a_whole_life(road, oidc):
    """Nobody registered us there, and nothing is asked before a flow begins."""
    by_issuer(road, entry=REFRESHED)
    assert await road.system.stores.clients.page() == []
    page = await connect(road, "ada")
    assert page.status == 200, page.body
    assert json.loads(await road.invoke())["sub"] == "ada"
    (client,) = await road.system.stores.clients.page()
    assert client.redirect_uri == road.redirect_uri
    assert (await road.credential()).client_id == client.client_id

    # A new process is the same client, and can refresh and revoke.
    road.begin()
    road.clock.advance(3601)
    assert json.loads(await road.invoke())["sub"] == "ada"
    assert oidc.refreshes == 1
    assert [each.client_id for each in await road.system.stores.clients.page()] == [client.client_id]
    assert await asyncio.to_thread(road.forget) is True
    assert await road.system.stores.connections.of_owner(OWNER) == []
    assert oidc.revocations
    assert oidc.errors == []


async def test_a_pushed_link_says_nothing_and_opens_as_often_as_it_is_loaded(road, oidc):
    by_issuer(road, f'client_id = "{Oidc.post.id}"\nclient_secret = "{Oidc.post.secret}"\n')
    first, second = await opened(road), await opened(road)
    names = [dict(parse_qsl(urlsplit(url).query)) for url in (first, second)]
    assert names[0]["request_uri"] != names[1]["request_uri"]
    for sent in names:
        assert sent.keys() == {"client_id", "request_uri"}
    link = await road.link()
    back = await asyncio.to_thread(lambda: oidc.consent(second))
    assert (await asyncio.to_thread(get, back)).status == 200
    assert json.loads(await road.invoke())["sub"] == "someone"
    for used in (link, link.replace("state=", "state=x")):  # answered, and never asked
        page = await asyncio.to_thread(partial(get, used, follow=False))
        assert page.status >= 400
        assert "location" not in page.headers


async def test_what_the_provider_does_not_take_is_a_page_that_says_what_to_do(road, oidc):
    by_issuer(road, f'client_id = "{Oidc.post.id}"\nclient_secret = "not the secret"\n')
    page = await asyncio.to_thread(get, await road.link())
    assert page.status >= 400
    assert f"auth.{NAME}.client_secret" in page.body
    assert "not the secret" not in page.body


async def test_an_inline_handler_by_its_issuer(road, oidc):
    write_settings(road.ports)
    made = OAuthHandler(
        name=NAME,
        issuer=oidc.issuer,
        client_id=Oidc.post.id,
        client_secret=Oidc.post.secret or "",
        scopes=[SCOPE, *REFRESHING],
        authorize_parameters={"prompt": "consent"},
    )
    road._open(tool(auth=made))
    assert (await connect(road, "bob")).status == 200
    assert json.loads(await road.invoke())["sub"] == "bob"
    before = await road.refresh_token()
    road.clock.advance(3601)
    assert json.loads(await road.invoke())["sub"] == "bob"
    assert await road.refresh_token() != before


async def test_a_client_that_the_provider_forgot_is_registered_anew_with_the_next_link(road, oidc):
    by_issuer(road)
    await opened(road)
    (client,) = await road.system.stores.clients.page()
    gone = call(f"{oidc.issuer}/admin/forget", method="POST", body=json.dumps({"client": client.client_id}).encode())
    assert gone.status == 200, gone.text
    page = await asyncio.to_thread(get, await road.link())
    assert page.status >= 400  # a flow that is open is not carried over to another client
    assert "new link" in page.body
    assert (await connect(road)).status == 200
    (newer,) = await road.system.stores.clients.page()
    assert newer.client_id != client.client_id
