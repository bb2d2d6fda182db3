"""The manager on the wire: what it takes, what it answers, and that it believes the server alone."""

import asyncio
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.services.office import Office, client_of
from valetkey.services import desk, frames
from valetkey.services.frames import Message
from valetkey.services.relay import Link, Stamp

MANAGER = "*/manager-i1"


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    made = Office()
    yield made
    await made.desk.close()
    made.end()


def call(
    link: Link, name: str, *args: Any, session: str = "s1", interval: float | None = None, **named: Any
) -> Message:
    given = [*args, named] if named else list(args)
    return Message(
        method=f"services.default.{name}" if "." not in name else name,
        to=MANAGER,
        sender=link.member.peer,
        session=session,
        args=frames.packed(given) if given else b"",
        with_kwargs=bool(named),
        promised=bool(session),
        star=interval is not None,
        interval=interval,
    )


async def answered(office: Office, link: Link, message: Message) -> tuple[str, Any]:
    """How a call ended, as its caller is told."""
    client, before = client_of(link), len(client_of(link).replies)
    await office.relay.take(link, message)
    await client.until(lambda: len(client.replies) > before)
    return client.replies[-1]


@pytest.mark.requirement("hypha.2.manager", "E2.functions")
async def test_a_client_gets_the_manager_and_calls_it(office: Office):
    link = await office.join()
    kind, found = await answered(office, link, call(link, "services.built-in.get_service", "default"))
    assert kind == "resolve"
    assert found["config"]["visibility"] == "public"
    needed = {
        *("register_service", "unregister_service", "get_service", "get_service_info", "list_services"),
        *("search_services", "list_clients", "ping_client", "generate_token", "parse_token", "revoke_token"),
        *("list_tokens", "create_workspace", "delete_workspace", "list_workspaces", "get_workspace_info"),
        *("subscribe", "unsubscribe", "echo", "log", "ping", "check_status", "set_env", "get_env", "get_summary"),
        *("cleanup", "register_service_type", "get_service_type", "list_service_types"),
    }
    functions = {name for name, each in found.items() if isinstance(each, dict) and each.get("_rtype") == "method"}
    assert functions == needed
    for name in needed:
        assert (found[name]["_rtarget"], found[name]["_rmethod"]) == (MANAGER, f"services.default.{name}")
    assert await answered(office, link, call(link, "echo", {"a": [1, b"x"]})) == ("resolve", {"a": [1, b"x"]})
    assert await answered(office, link, call(link, "echo", data=5)) == ("resolve", 5)
    assert await answered(office, link, call(link, "services.built-in.ping", "ping")) == ("resolve", "pong")
    kind, cache = await answered(office, link, call(link, "services.built-in.get_service", "built-in"))
    assert (kind, cache["message_cache"]["create"]["_rtarget"]) == ("resolve", MANAGER)


@pytest.mark.requirement("d.errors-later")
@pytest.mark.parametrize(
    ("name", "args", "named", "told"),
    [
        ("nothing", [], {}, "KeyError: The workspace manager has no function nothing."),
        ("__init__", [], {}, "KeyError: There is no such function"),
        ("services.default.echo.__class__", [], {}, "KeyError"),
        ("services.other.echo", [], {}, "KeyError: There is no function services.other.echo here."),
        ("services.built-in.get_service", ["calc"], {}, "KeyError: Service not found: calc"),
        ("get_service", [], {}, "TypeError: missing a required argument: 'service_id'"),
        ("echo", [1, 2, 3], {}, "TypeError: too many positional arguments"),
        ("echo", [], {"strange": 1}, "TypeError: got an unexpected keyword argument 'strange'"),
        ("get_service", ["calc"], {}, "KeyError: Service not found: ws-user-ada/*:calc@*"),
        ("get_env", ["A"], {}, "KeyError: Environment variable 'A' not found in workspace ws-user-ada"),
        ("list_clients", ["ws-user-bob"], {}, "PermissionError: Permission denied for workspace ws-user-bob"),
        ("register_service", [{"id": "two words"}], {}, "ValueError: A service's id is"),
        ("parse_token", ["x"], {}, "Unauthenticated: "),
    ],
)
async def test_what_cannot_be_done_is_told_as_the_error_it_is(
    office: Office, name: str, args: list[Any], named: dict[str, Any], told: str
):
    link = await office.join()
    kind, text = await answered(office, link, call(link, name, *args, **named))
    assert (kind, text[: len(told)]) == ("reject", told)


@pytest.mark.requirement("hypha.4.1")
async def test_the_caller_is_whom_the_server_knows_and_not_what_the_call_says(office: Office):
    root = await office.who("root", roles=("admin",))
    link = await office.join("c1", "bob")
    said = {"ws": "ws-user-ada", "user": root.user, "from": "ws-user-ada/c1"}
    for named in ("who", "context"):
        more: dict[str, Any] = {named: said}
        kind, found = await answered(office, link, call(link, "get_summary", **more))
        assert (kind, found["name"]) == ("resolve", "ws-user-bob")
    kind, text = await answered(office, link, call(link, "get_summary", said))
    assert (kind, text) == ("reject", "TypeError: too many positional arguments")


async def test_who_comes_from_another_instance_is_refused(office: Office):
    link = await office.join()
    link.stamp = Stamp(workspace="ws-user-ada", user=link.who.user)  # as such a message has it
    told = "PermissionError: The workspace manager is for clients of this server."
    assert await answered(office, link, call(link, "get_env")) == ("reject", told)


@pytest.mark.requirement("W-20.services")
async def test_what_goes_wrong_inside_is_told_in_the_log_alone(
    office: Office, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    link = await office.join()

    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("postgresql://user:secret@host")

    monkeypatch.setattr(office.tokens, "list", broken)
    with caplog.at_level(logging.ERROR, "valetkey"):
        kind, text = await answered(office, link, call(link, "list_tokens"))
    assert (kind, text) == ("reject", "RemoteException: The server could not do that now. Its log says more.")
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text + text


async def test_a_service_that_is_asked_for_too_long_is_a_timeout(office: Office):
    link = await office.join()
    await office.register(link)
    office.calls.raw[link.member.peer] = TimeoutError()
    kind, text = await answered(office, link, call(link, "get_service", "calc"))
    assert (kind, text.partition(":")[0]) == ("reject", "TimeoutError")


@pytest.mark.requirement("hypha.2.heartbeats")
async def test_a_call_that_lasts_beats_and_ends_with_its_answer(office: Office, monkeypatch: pytest.MonkeyPatch):
    link, go = await office.join(), asyncio.Event()

    async def slow(*_: Any, **__: Any) -> list[Any]:
        await go.wait()
        return []

    monkeypatch.setattr(office.tokens, "list", slow)
    await office.relay.take(link, call(link, "list_tokens", interval=5))
    for count in (1, 2):
        await office.clock.sleepers(1)
        office.clock.advance(5)
        await client_of(link).until(lambda count=count: len(client_of(link).heard) >= count)  # type: ignore[misc]
    assert [each.method for each in client_of(link).heard] == ["s1.heartbeat"] * 2
    go.set()
    await client_of(link).until(lambda: bool(client_of(link).replies))
    await asyncio.sleep(0)
    assert "_beat" not in {getattr(task.get_coro(), "__name__", "") for task in asyncio.all_tasks()}
    assert client_of(link).replies == [("resolve", [])]
    assert len(client_of(link).heard) == 3


async def test_one_client_has_so_many_calls_under_way_and_others_go_on(office: Office, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(desk, "MOST_AT_ONCE", 2)
    flood, other, go = await office.join("c1"), await office.join("c2"), asyncio.Event()

    async def slow(*_: Any, **__: Any) -> list[Any]:
        await go.wait()
        return []

    monkeypatch.setattr(office.tokens, "list", slow)
    for number in range(3):
        await office.relay.take(flood, call(flood, "list_tokens", session=f"s{number}"))
    assert [text for _, text in client_of(flood).replies] == ["RateLimited: 2 calls of this client are under way."]
    assert await answered(office, other, call(other, "ping")) == ("resolve", "pong")
    go.set()
    await client_of(flood).until(lambda: len(client_of(flood).replies) == 3)
    assert await answered(office, flood, call(flood, "ping")) == ("resolve", "pong")


async def test_a_call_that_wants_no_answer_gets_none(office: Office):
    link = await office.join()
    for name in ("ping", "nothing", "services.built-in.ping", "services.built-in.get_service"):
        await office.relay.take(link, call(link, name, session=""))
    assert await answered(office, link, call(link, "ping")) == ("resolve", "pong")
    assert len(client_of(link).heard) == 1


@pytest.mark.requirement("hypha.2.events", "W-06.services", "E2.events")
async def test_events_are_told_to_those_of_the_workspace_who_asked(office: Office):
    ada, bob, near = await office.join("c1", "ada"), await office.join("c1", "bob"), await office.join("c2", "ada")
    wanted = ["service_added", "service_removed", "client_connected", "client_disconnected"]
    for link in (ada, bob):
        assert await answered(office, link, call(link, "subscribe", wanted)) == ("resolve", True)
    await office.register(near)
    await office.manager.unregister_service("calc", who=near.who)
    await office.register(near, "built-in")
    late = await office.join("c3", "ada")
    office.relay.detach(late)
    told = [(each["type"], each["data"]["id"]) for each in client_of(ada).events]
    assert told == [
        ("service_added", "ws-user-ada/c2:calc"),
        ("service_removed", "ws-user-ada/c2:calc"),
        ("client_connected", "c3"),
        ("client_disconnected", "c3"),
    ]
    assert client_of(ada).events[-1] == {
        "type": "client_disconnected",
        "from": "ws-user-ada/i1",
        "to": "ws-user-ada/*",
        "data": {"id": "c3", "workspace": "ws-user-ada"},
    }
    assert client_of(bob).events == client_of(near).events == []
    ada.knows("ws-user-bob/c1")
    office.relay.detach(bob)
    assert client_of(ada).events[-1]["data"] == {"id": "c1", "workspace": "ws-user-bob"}


async def test_a_client_that_goes_takes_its_services_along_for_those_who_asked(office: Office):
    ada, near = await office.join("c1"), await office.join("c2")
    await office.register(near)
    await office.manager.subscribe("service_removed", who=ada.who)
    office.relay.detach(near)
    assert [each["data"]["id"] for each in client_of(ada).events] == ["ws-user-ada/c2:calc"]


@pytest.mark.requirement("hypha.2.events", "E2.events")
async def test_who_unsubscribed_or_left_is_told_no_more(office: Office):
    ada = await office.join()
    await office.manager.subscribe("client_connected", who=ada.who)
    assert await office.manager.unsubscribe(["client_connected"], who=ada.who) is True
    await office.join("c2")
    await office.manager.subscribe("client_connected", who=ada.who)
    office.relay.detach(ada)
    back = await office.join()  # the same address: it has not asked yet
    await office.join("c3")
    assert client_of(ada).events == client_of(back).events == []
    for wrong in ("no_such_event", [], 5, ["client_connected", 5]):
        kind, text = await answered(office, back, call(back, "subscribe", wrong))
        assert (kind, text.partition(":")[0]) == ("reject", "ValueError")


async def test_a_peer_that_takes_no_events_is_left_alone(office: Office):
    ada = await office.join()
    await office.manager.subscribe("client_connected", who=ada.who)
    heard = client_of(ada)
    ada.peer = cast("Any", SimpleNamespace(deliver=heard.deliver))
    await office.join("c2")
    assert (heard.heard, heard.events) == ([], [])
