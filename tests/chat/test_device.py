"""The device grant in a chat: the code is in the frame, and whose account came of it is asked where that is another."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.chat.kit import Room, call, token_of
from tests.connections.devices import DEVICE_CODE, PAGE, TOKENS, USER_CODE, DeviceServer, id_token, program
from tests.connections.test_device_flow import until
from valetkey.model.connections import Credential, Grant, Subject
from valetkey.model.needs import Need, Needs
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

GITHUB = Needs(((Need(provider="github", scopes=frozenset({"repo"})),),))


@pytest.fixture
def server() -> DeviceServer:
    return DeviceServer(ManualClock())


@pytest.fixture
def here(server: DeviceServer) -> Iterator[Room]:
    system = program(server)
    room = Room(system, server.clock)
    room.tool("issues", lambda lent, arguments: {"echo": token_of(lent)}, GITHUB)
    yield room
    system.close()


@pytest.mark.requirement("G-07")
async def test_the_frame_has_the_code_and_the_turn_goes_on_once_it_was_entered(here, server):
    here.model.answers = [call("issues"), "You have issues."]
    turn = here.start("go")
    asked = await here.frame("auth_required")
    assert (asked["user_code"], asked["verification_uri"], asked["provider_host"]) == (USER_CODE, PAGE, "github.com")
    server.answers = ["authorization_pending", TOKENS]
    await until(server.clock, lambda: bool(here.of("connection_ready")))
    await asyncio.wait_for(turn, 10)
    assert here.frames[-1]["message"] == "You have issues."
    assert len(here.of("auth_required")) == 1
    assert DEVICE_CODE not in repr(here.everything)
    for secret in (TOKENS["access_token"], TOKENS["refresh_token"]):
        assert secret not in repr(here.everything)


@pytest.mark.requirement("L-11")
async def test_another_account_is_asked_about_by_a_second_frame_and_the_turn_waits_for_the_answer(here, server):
    system = here.system
    whose = Subject(issuer="https://github.com", subject="alice", audience=frozenset({"me"}))
    grant = Grant(credential=Credential(access_token=Secret("at-alice"), subject=whose), scopes=frozenset())
    handler = system.handling.find("github-device")
    await system.keeper.keep(grant, handler, here.session.owner, profile="default", asked=frozenset())
    here.model.answers = [call("issues"), "Done."]
    turn = here.start("go")
    asked = await here.frame("auth_required")
    server.answers = [TOKENS | {"id_token": id_token("bob")}]
    await until(server.clock, lambda: len(here.of("auth_required")) == 2)
    again = here.of("auth_required")[1]
    assert again["request_id"] == asked["request_id"]
    assert "user_code" not in again
    assert "the GitHub account that you meant" in again["message"]
    assert not turn.done()
    row = await system.interactions.get(asked["request_id"])
    assert row is not None
    assert row.confirming
    await system.answering.decided(row, yes=True)
    await here.frame("connection_ready")
    await asyncio.wait_for(turn, 10)
    assert here.frames[-1]["message"] == "Done."
