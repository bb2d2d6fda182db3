"""What is pasted is tried first, and a connection says whose it is: on the form, the result, the command line."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.road.forms import Form, open_form, over_http
from tests.road.support import Ports, client_section, get, read, write_settings
from valetkey import AuthProvider, Pocket, function_tool
from valetkey.cli.main import main
from valetkey.errors import AuthRefused
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build

SERVICE = """
title = "My service"
origins = ["https://my-service.example"]
[handlers.my-service-token]
kind = "token"
default = true
variables = {{ MY_SERVICE_TOKEN = "access_token" }}
fields = [{{ name = "access_token", label = "Token" }}]
userinfo = {{ url = "{server.userinfo_url}", account = ["name"], subject = "sub" }}
"""


@pytest.fixture
def service(ports: Ports, monkeypatch):
    monkeypatch.delenv("VALETKEY_AUTH__VERIFY_ACCOUNTS")
    with OAuthServer(users={"ada": "Ada Lovelace"}) as server:
        Path("valetkey_providers").mkdir()
        Path("valetkey_providers/my_service.toml").write_text(SERVICE.format(server=server), "utf-8")
        write_settings(ports, client_section("google", server, userinfo_url=server.userinfo_url))
        yield server


async def good_token(server: OAuthServer) -> str:
    """One that the server gave to Ada; a Google account is connected on the way."""
    pocket = Pocket(tools=[read])
    (prompt,) = await pocket.initialize_tool_auth()
    page = await asyncio.to_thread(get, server.approve(prompt.url))
    assert "Ada Lovelace" in page.body
    await pocket.wait_tool_auth()
    return server.issued[0]


async def form(ports: Ports) -> tuple[Pocket, Form]:
    @function_tool(auth_provider=AuthProvider("my_service"))
    def use(**kwargs):
        """Tell how long the token is."""
        return len(kwargs["MY_SERVICE_TOKEN"])

    pocket = Pocket(tools=[use])
    (prompt,) = await pocket.initialize_tool_auth()
    return pocket, await asyncio.to_thread(open_form, over_http(prompt.url, ports))


@pytest.mark.requirement("F.pasted-tried")
@pytest.mark.requirement("F.whose-account")
async def test_a_refused_token_is_asked_for_again_and_a_good_one_says_whose_it_is(service, ports, capsys):
    token = await good_token(service)
    pocket, asked = await form(ports)
    wrong = await asyncio.to_thread(asked.send, access_token="canary-wrong-token-77")
    assert "My service does not accept this token (invalid_token). Copy it again." in wrong.body
    assert 'name="access_token"' in wrong.body
    assert "canary-wrong-token-77" not in wrong.body
    store = build.default().stores.connections
    assert await store.get(owner_of("default"), "my_service", "default") is None

    right = await asyncio.to_thread(asked.send, access_token=token)
    assert right.status == 200
    assert "My service</bdi> is connected" in right.body
    assert "Ada Lovelace" in right.body
    assert "could not be checked" not in right.body
    assert await pocket.ainvoke("use", {}) == str(len(token))
    row = await store.get(owner_of("default"), "my_service", "default")
    assert row is not None
    assert row.account == "Ada Lovelace"
    listed = await asyncio.to_thread(lambda: main(["connections", "list", "--json"]))
    assert listed == 0
    assert {each["account"] for each in json.loads(capsys.readouterr().out)} == {"Ada Lovelace"}


@pytest.mark.requirement("F.pasted-tried")
async def test_an_outage_keeps_what_was_pasted_and_says_that_it_was_not_checked(service, ports):
    pocket, asked = await form(ports)
    service.fail_next(status=503, at="userinfo")
    kept = await asyncio.to_thread(asked.send, access_token="never-seen")
    assert "My service</bdi> is connected" in kept.body
    assert "It could not be checked: My service answered with 503. It is kept as it was given." in kept.body
    assert await pocket.ainvoke("use", {}) == str(len("never-seen"))


@pytest.mark.requirement("F.pasted-tried")
async def test_the_form_of_one_link_tries_ten_and_no_more(service, ports):
    pocket, asked = await form(ports)
    for number in range(10):
        page = await asyncio.to_thread(asked.send, access_token=f"guess-{number}")
        assert "does not accept" in page.body
    sent = len(service.requests)
    page = await asyncio.to_thread(asked.send, access_token="guess-11")
    assert "none of 10 tries" in page.body
    assert len(service.requests) == sent
    with pytest.raises(AuthRefused, match="none of 10 tries"):
        await pocket.wait_tool_auth()


@pytest.mark.requirement("F.pasted-tried")
async def test_nobody_is_asked_where_settings_say_so(service, ports):
    write_settings(ports, "[auth]\nverify_accounts = false")
    pocket, asked = await form(ports)
    kept = await asyncio.to_thread(asked.send, access_token="never-seen")
    assert "could not be checked" not in kept.body
    assert await pocket.ainvoke("use", {}) == str(len("never-seen"))
    assert service.requests == []


@pytest.mark.requirement("F.whose-account")
async def test_an_issuer_that_settings_name_is_asked_where_its_metadata_says(service, ports):
    section = f'[auth.google]\nclient_id = "{service.client.id}"\nclient_secret = "{service.client.secret}"\n'
    write_settings(ports, f'{section}issuer = "{service.url}"\n')
    await good_token(service)
    row = await build.default().stores.connections.get(owner_of("default"), "google", "default")
    assert row is not None
    assert row.account == "Ada Lovelace"
