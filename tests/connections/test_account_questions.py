"""Whose account it is, and what a token that is not wanted takes with it."""

import asyncio

import pytest

from tests.connections.devices import DeviceServer, program
from tests.connections.test_oauth2_handler import connect, flow
from tests.oauth.fakes import REVOKE_URL, Wire, answer, tokens
from tests.web.links_kit import Site
from tests.web.test_device_pages import OURS, held
from valetkey.errors import AuthRefused
from valetkey.model.connections import Credential, Grant
from valetkey.model.needs import Need
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build


@pytest.mark.requirement("L-11")
async def test_another_account_is_asked_about_where_the_provider_names_it_but_has_no_subject(monkeypatch):
    server = DeviceServer(ManualClock())
    system = program(server)
    build.use(system)
    try:
        site = Site.__new__(Site)
        site.system = system
        handler = system.handling.find("github-oauth2")
        first = Grant(
            credential=Credential(access_token=Secret("at-alice"), client_id="me"), scopes=frozenset(), account="alice"
        )
        await system.keeper.keep(first, handler, OURS, profile="default", asked=frozenset())

        async def finish(flow: object, private: object, answer: object) -> Grant:
            return Grant(credential=Credential(access_token=Secret("at-bob")), scopes=frozenset(), account="bob")

        monkeypatch.setattr(handler, "finish", finish)
        began, _ = await system.connecting.again(OURS, Need(provider="github", handler="github-oauth2"), "default")
        state = system.interactions.payload(began)["state"]
        await system.answering.answered("github", [("state", state), ("code", "c")])
        kept = await held(site)
        assert kept is not None
        assert kept.account == "alice"
    finally:
        await asyncio.to_thread(build.use, None)


async def test_a_token_that_is_not_wanted_is_not_revoked_where_that_ends_the_connected_account_too():
    wire = Wire(tokens(scope="read write", refresh_token="rt-new"), answer({}))
    with pytest.raises(AuthRefused, match="more than was asked for"):
        await connect(wire, flow("read"), revocation_ends_all=True)
    assert [request.url for request in wire.requests if request.url == REVOKE_URL] == []
