"""Calls of a chat travel the road with what the session was given, and nothing of it comes back."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from tests.connections.sessions import (
    ANY,
    API_KEY,
    BASIC,
    BEARER,
    CUSTOM,
    OTHER,
    OWNER,
    ROOM,
    STRANGER,
    URL,
    TokenEndpoint,
    client,
    made,
    put,
)
from valetkey.connections.session import SessionCredential, SessionKind
from valetkey.errors import Denied
from valetkey.identity.verifiers.vouched import CHAT, HOST, in_chat
from valetkey.model.calls import Call, Lent, Presented, ToolResult
from valetkey.model.needs import PUBLIC, Needs
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock
from valetkey.wiring.chat import chat_road
from valetkey.wiring.system import System

OWN = Needs(((ANY,), ()))


class Refused(Exception):
    """A 401, as the tool of an operation raises it."""

    status_code = 401

    def __str__(self) -> str:
        return "HTTP 401 Unauthorized: not you"


class Upstream:
    """A tool that remembers what each call carried; answers, or raises, what ``does`` gives for it."""

    name, description, deadline = "t", "a tool", 5.0
    schema: Mapping[str, Any] = {"type": "object"}

    def __init__(self, needs: Needs = OWN, does: Callable[[dict[str, str]], object] = dict) -> None:
        self.needs = needs
        self.carried: list[tuple[str, dict[str, str]]] = []
        self._does = does

    def bind(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        return arguments

    async def run(self, lent: Lent, arguments: Mapping[str, object]) -> object:
        headers = {name: value.reveal() for loan in lent.loans for name, value in loan.headers.items()}
        self.carried.append((lent.connected.allowed.call.conversation, headers))
        await asyncio.sleep(0)
        return self._does(headers)


@pytest.fixture
def endpoint() -> TokenEndpoint:
    return TokenEndpoint()


@pytest.fixture
def system(endpoint: TokenEndpoint) -> Iterator[System]:
    system = made(ManualClock(), endpoint)
    yield system
    system.close()


async def travel(system: System, tool: Upstream, *, who: str = "ann", room: str = ROOM) -> ToolResult:
    road = chat_road(system, offered={"t"}, marked=())
    presented = Presented(scheme=HOST, value=in_chat(who, workspace=CHAT))
    call = Call(tool="t", needs=tool.needs, entrance="chat", conversation=room, deadline=5.0)
    return await road.travel(presented, tool, call)


def codings(value: str) -> list[str]:
    return [
        value,
        base64.b64encode(value.encode()).decode(),
        value.encode().hex(),
        quote(value, safe=""),
        json.dumps(value),
        "".join(f"&#{ord(char)};" for char in value),
    ]


@pytest.mark.requirement("fault.echo")
@pytest.mark.parametrize("given", [BEARER, BASIC, API_KEY, CUSTOM, client()], ids=lambda given: given.kind.value)
@pytest.mark.parametrize("needs", [OWN, PUBLIC], ids=["lent", "public"])
async def test_what_the_session_was_given_is_starred_in_what_any_tool_says(
    system: System, given: SessionCredential, needs: Needs
) -> None:
    put(system, given)
    await travel(system, Upstream())  # fetches the token, where one is
    held = [secret.reveal() for secret in system.sessions.secrets(ROOM)]
    assert held

    def echo(_: dict[str, str]) -> object:
        return {"headers": [text for value in held for text in codings(value)], "note": held[0]}

    result = await travel(system, Upstream(needs, echo))
    told = json.dumps(result.value, ensure_ascii=False)
    assert "***" in told
    for value in held:
        bare = value.split(" ")[-1]
        assert not any(text in told for text in codings(bare)), bare


async def test_a_session_s_own_secrets_do_not_star_the_results_of_another(system: System) -> None:
    put(system, BEARER)
    result = await travel(system, Upstream(PUBLIC, lambda _: "tok-11112222"), who="bob", room=OTHER)
    assert result.value == "tok-11112222"


@pytest.mark.requirement("seed003.isolation", "X-23")
async def test_two_sessions_at_once_never_carry_each_other_s(system: System) -> None:
    put(system, BEARER)
    system.sessions.put(OTHER, STRANGER, API_KEY, ttl=60, token_hosts=[])
    tool = Upstream()
    calls = [travel(system, tool, who=who, room=room) for _ in range(50) for who, room in _pairs()]
    await asyncio.gather(*calls)
    mine = {"Authorization": "Bearer tok-11112222"}
    expected = {ROOM: [mine] * 50, OTHER: [{"X-Key": "key-33334444"}] * 50}
    by_room = {room: [headers for where, headers in tool.carried if where == room] for room in (ROOM, OTHER)}
    assert by_room == expected
    # A session id alone is no key: who names another's gets nothing.
    await travel(system, tool, who="bob", room=ROOM)
    assert tool.carried[-1] == (ROOM, {})


def _pairs() -> list[tuple[str, str]]:
    return [("ann", ROOM), ("bob", OTHER)]


@pytest.mark.requirement("fault.oauth-race", "X-19")
async def test_a_refused_token_is_fetched_once_more_and_the_call_repeated_once(
    system: System, endpoint: TokenEndpoint
) -> None:
    put(system, client())

    def judge(headers: dict[str, str]) -> object:
        if headers["Authorization"] == "Bearer tok-1-secret":
            raise Refused
        return "in"

    tool = Upstream(does=judge)
    results = await asyncio.gather(*(travel(system, tool) for _ in range(5)))
    assert [result.value for result in results] == ["in"] * 5
    assert len(endpoint.requests) == 2
    assert len(tool.carried) == 10


@pytest.mark.requirement("X-19")
async def test_an_api_that_refuses_every_token_is_not_asked_for_ever(system: System, endpoint: TokenEndpoint) -> None:
    put(system, client())

    def never(_: dict[str, str]) -> object:
        raise Refused

    tool = Upstream(does=never)
    for _ in range(3):
        result = await travel(system, tool)
        assert result.failed
        assert "HTTP 401 Unauthorized: not you" in str(result.value)
    assert (len(endpoint.requests), len(tool.carried)) == (2, 4)


async def test_a_pasted_token_that_is_refused_is_told_and_stays(system: System) -> None:
    put(system, BEARER)

    def never(_: dict[str, str]) -> object:
        raise Refused

    tool = Upstream(does=never)
    assert (await travel(system, tool)).failed
    assert len(tool.carried) == 1
    assert system.sessions.kind(ROOM) is SessionKind.BEARER_TOKEN


@pytest.mark.requirement("d32.chat")
async def test_what_the_session_has_opens_no_tool_that_the_chat_does_not_offer(system: System) -> None:
    put(system, BEARER)
    tool = Upstream()
    road = chat_road(system, offered=set(), marked=())
    presented = Presented(scheme=HOST, value=in_chat("ann", workspace=CHAT))
    with pytest.raises(Denied):
        await road.travel(presented, tool, Call(tool="t", needs=OWN, entrance="chat", conversation=ROOM))
    assert tool.carried == []


@pytest.mark.requirement("fault.after-disconnect")
async def test_a_session_that_ends_during_a_call_gets_no_second_one(system: System, endpoint: TokenEndpoint) -> None:
    put(system, client())

    def ends(_: dict[str, str]) -> object:
        system.sessions.forget(ROOM)
        raise Refused

    tool = Upstream(does=ends)
    assert (await travel(system, tool)).failed
    assert (len(tool.carried), len(endpoint.requests)) == (1, 1)


@pytest.mark.requirement("X-23")
async def test_what_another_owner_of_the_same_conversation_puts_is_theirs(system: System) -> None:
    put(system, BEARER)
    system.sessions.put(ROOM, STRANGER, API_KEY, ttl=60, token_hosts=[])
    tool = Upstream()
    await travel(system, tool)
    assert tool.carried == [(ROOM, {})]
    assert OWNER != STRANGER


async def test_a_token_url_of_the_client_s_choice_gets_nothing_but_the_client_s_own(
    system: System, endpoint: TokenEndpoint
) -> None:
    put(system, BEARER)
    put(system, client())
    await travel(system, Upstream())
    (request,) = endpoint.requests
    assert request.url == URL
    assert b"11112222" not in request.body
    assert "authorization" not in request.headers
    assert not any(Secret("tok-11112222").matches(value) for value in request.headers.values())
