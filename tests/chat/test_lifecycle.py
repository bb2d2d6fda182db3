"""How sessions end, and which may be gone back to; what is forgotten with them, and when."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tests.chat.live import SECRET, Client, Held, Live, eventually, live
from valetkey import UserInfo
from valetkey.entrypoints.chat.handshake import cookie_name
from valetkey.entrypoints.chat.plugin import add_bedrock_chat
from valetkey.model.caller import OURS, Owner
from valetkey.model.tokens import TokenKind
from valetkey.ports.agents import ToolCall

PATH = "/bedrock-chat/ws"
ADA, BOB = (f"{cookie_name(secure=False)}={letter * 43}" for letter in "ab")


def forgotten(chat: Live, session_id: str) -> bool:
    return not chat.plugin.chat.system.sessions.secrets(session_id)


async def seconds(chat: Live, session_id: str, most: int) -> None:
    """So many go by, or fewer, if the session is closed before."""
    for _ in range(most):
        await chat.clock.sleepers(1)
        chat.clock.advance(1)
        await asyncio.sleep(0.02)
        if chat.plugin.session_manager.get(session_id) is None:
            return


async def said(client: Client) -> list[str]:
    return [each["content"] for each in (await client.ask(type="history"))["messages"]]


async def talk(client: Client, text: str) -> None:
    await client.send(type="chat", message=text)
    assert (await client.until("ai_response"))["message"]


@pytest.mark.requirement("fault.expiry", "d14.codes", "design.session-credentials")
async def test_an_idle_session_is_told_and_closed_and_a_busy_one_is_not() -> None:
    async with live(session_timeout=100) as chat:
        idle, asking = await chat.open(), await chat.open()
        await idle.ask(type="auth", token=SECRET)
        with Held(chat):
            await asking.ask(type="chat", message="hello")
            await chat.model.asked.acquire()
            await chat.clock.sleepers(1)
            chat.clock.advance(101)
            code, frames = await idle.closed()
            assert code == 4408
            assert [list(frame) for frame in frames] == [["type", "message", "timestamp"]]
            assert frames[0]["type"] == "session_expired"
            await chat.gone(idle.id)
            assert forgotten(chat, idle.id)
            assert chat.plugin.session_manager.get(asking.id) is not None, "a turn runs there"
        assert (await asking.hear())["type"] == "ai_response"


@pytest.mark.requirement("d14.codes")
async def test_whoever_sends_something_is_not_idle() -> None:
    async with live(session_timeout=100) as chat:
        client = await chat.open()
        for _ in range(4):
            await chat.clock.sleepers(1)
            chat.clock.advance(60)
            assert (await client.ask(type="ping"))["type"] == "pong"


async def token_of(chat: Live) -> tuple[str, str]:
    """A token of ours, and its id."""
    identity = chat.plugin.chat.mounted.identity
    owner = Owner(workspace="ws-user-ada", issuer=OURS, subject="ada")
    secret, token = await identity.system.home.run(
        lambda: identity.tokens.issue(TokenKind.API_KEY, UserInfo(id="ada", roles=[]), owner, expires_in=600)
    )
    return secret.reveal(), token.id


@pytest.mark.requirement("d14.codes", "W-05")
@pytest.mark.parametrize("how", ["revoked", "expired", "blocked"])
async def test_when_a_users_token_ends_the_socket_is_closed_within_seconds_and_nothing_follows(how: str) -> None:
    async with live() as chat:
        identity = chat.plugin.chat.mounted.identity
        secret, token_id = await token_of(chat)
        client = await chat.open(headers={"authorization": f"Bearer {secret}"})
        other = await chat.open()
        await client.ask(type="auth", token=SECRET)
        session = chat.plugin.session_manager.get(client.id)
        assert session is not None
        caller = session.caller
        assert caller is not None
        with Held(chat):
            await client.ask(type="chat", message="hello")
            await chat.model.asked.acquire()
            if how == "revoked":
                await identity.system.home.run(lambda: identity.tokens.revoke(caller, token_id))
            elif how == "blocked":
                await identity.system.home.run(lambda: identity.blocks.add("user", "ada"))
            else:
                chat.clock.advance(600)
            await seconds(chat, client.id, 5)
            code, frames = await client.closed()
            assert (code, frames) == (4401, [])
        await chat.gone(client.id)
        assert forgotten(chat, client.id)
        assert (await other.ask(type="ping"))["type"] == "pong"


@pytest.mark.requirement("W-05")
async def test_a_user_of_the_apps_sign_in_who_is_blocked_is_closed_out_too() -> None:
    async with live(auth_dependency=lambda: "ada") as chat:
        identity = chat.plugin.chat.mounted.identity
        client = await chat.open()
        await chat.clock.sleepers(1)
        await identity.system.home.run(lambda: identity.blocks.add("user", "ada"))
        await seconds(chat, client.id, 5)
        assert await client.closed() == (4401, [])


@pytest.mark.requirement("seed003.cleanup", "fault.after-disconnect", "design.session-credentials")
async def test_a_disconnect_ends_the_turn_and_forgets_the_credentials_at_once() -> None:
    async with live() as chat:
        client = await chat.open()
        await client.ask(type="auth", token=SECRET)
        session = chat.plugin.session_manager.get(client.id)
        assert session is not None
        with Held(chat):
            await client.ask(type="chat", message="hello")
            await chat.model.asked.acquire()
            turn = session.turn
            assert turn is not None
            client.wire.transport.abort()  # no close frame: the other side is simply gone
            await chat.gone(client.id)
            await eventually(turn.done)
            assert turn.cancelled()
            assert forgotten(chat, client.id)


@pytest.mark.requirement("D.resume")
async def test_a_browser_goes_back_to_its_session_and_gives_its_credentials_again() -> None:
    async with live() as chat:
        first = await chat.open(**chat.browser(ADA))
        await first.ask(type="auth", token=SECRET)
        await talk(first, "remember me")
        await first.wire.close()
        await chat.gone(first.id)
        second = await chat.open(f"{PATH}?session_id={first.id}", **chat.browser(ADA))
        assert (second.id, second.first["resumed"]) == (first.id, True)
        assert any("Credentials" in note for note in second.first["notes"])
        assert await said(second) == ["remember me", "Here you are."]
        assert forgotten(chat, second.id)
        await talk(second, "and again")
        assert [message.text for message in chat.model.seen[-1]] == ["remember me", "Here you are.", "and again"]


@pytest.mark.requirement("fault.session-fixation", "D.resume", "W-06")
async def test_nobody_else_goes_back_to_it() -> None:
    async with live() as chat:
        first = await chat.open(**chat.browser(ADA))
        await talk(first, "a secret of ada's")
        await first.wire.close()
        await chat.gone(first.id)
        resume = f"{PATH}?session_id={first.id}"
        foreign: list[dict[str, Any]] = [
            chat.browser(BOB),
            chat.browser(),
            {},
            {"headers": {"cookie": ADA}},  # no page of ours sends that
        ]
        for about in foreign:
            client = await chat.open(resume, **about)
            assert client.first["resumed"] is False, about
            assert client.id != first.id
            assert client.first["notes"]
            assert await said(client) == []
        assert chat.plugin.session_manager.kept == 1
        odd = await chat.open(f"{PATH}?session_id=%27%20OR%201=1%20--", **chat.browser(ADA))
        assert odd.first["resumed"] is False


@pytest.mark.requirement("fault.session-fixation", "D.resume")
async def test_a_user_goes_back_from_another_browser_and_another_user_does_not() -> None:
    async def user(connection: Any = None) -> str:
        return next(names)

    names = iter(["ada", "bob", "ada", "bob"])
    async with live(auth_dependency=user) as chat:
        ada = await chat.open(**chat.browser(ADA))
        await talk(ada, "hello")
        await ada.wire.close()
        await chat.gone(ada.id)
        bob = await chat.open(f"{PATH}?session_id={ada.id}", **chat.browser(ADA))
        assert bob.first["resumed"] is False
        again = await chat.open(f"{PATH}?session_id={ada.id}", **chat.browser(BOB))
        assert (again.id, again.first["resumed"]) == (ada.id, True)
        taking = await chat.open(f"{PATH}?session_id={ada.id}", **chat.browser(BOB))
        assert taking.first["resumed"] is False, "an open session of somebody else's is not taken over either"
        assert (await again.ask(type="ping"))["type"] == "pong"


@pytest.mark.requirement("fault.session-fixation", "W-10")
async def test_a_session_that_is_open_elsewhere_is_taken_over_and_nothing_runs_twice() -> None:
    async with live() as chat:
        old = await chat.open(**chat.browser(ADA))
        await old.ask(type="auth", token=SECRET)
        with Held(chat):
            await old.ask(type="chat", message="once")
            await chat.model.asked.acquire()
            new = await chat.open(f"{PATH}?session_id={old.id}", **chat.browser(ADA))
            assert (new.id, new.first["resumed"]) == (old.id, True)
            assert (await old.closed())[0] == 4409
            assert forgotten(chat, new.id)
        assert len(chat.plugin.session_manager) == 1
        assert (await said(new))[0] == "once"
        assert len(chat.model.seen) == 1
        assert (await new.ask(type="ping"))["type"] == "pong"


@pytest.mark.requirement("D.resume")
async def test_what_is_kept_ends_too() -> None:
    async with live(session_timeout=100, max_sessions=3) as chat:
        ids = []
        for number in range(4):
            client = await chat.open(**chat.browser(ADA))
            await talk(client, str(number))
            await client.wire.close()
            await chat.gone(client.id)
            ids.append(client.id)
        assert chat.plugin.session_manager.kept == 3, "the oldest has gone"
        first = await chat.open(f"{PATH}?session_id={ids[0]}", **chat.browser(ADA))
        assert first.first["resumed"] is False
        await chat.clock.sleepers(1)
        chat.clock.advance(101)
        await eventually(lambda: chat.plugin.session_manager.kept == 0)


@pytest.mark.requirement("chat.crowd")
@pytest.mark.parametrize("count", [25, pytest.param(500, marks=pytest.mark.long)])
async def test_sessions_of_visitors_leave_nothing_behind(count: int) -> None:
    async with live() as chat:

        async def visit() -> None:
            client = await chat.open()
            await client.ask(type="auth", token=SECRET)
            await talk(client, "hello " * 500)
            await client.wire.close()
            chat.clients.remove(client.wire)
            await chat.gone(client.id)

        for _ in range(10):
            await visit()
        chat.model.seen.clear()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.take_snapshot()
        for _ in range(count):
            await visit()
        chat.model.seen.clear()
        gc.collect()
        grown = tracemalloc.take_snapshot().compare_to(before, "filename")
        tracemalloc.stop()
        ours = sum(each.size_diff for each in grown if "valetkey" in each.traceback[0].filename)
        assert ours < 40_000, [str(each) for each in grown[:5]]
        manager = chat.plugin.session_manager
        assert (len(manager), manager.kept, dict(manager._from)) == (0, 0, {})
        assert not chat.plugin.chat.system.sessions._places


@pytest.mark.requirement("chat.plugin-attributes")
async def test_at_the_end_of_the_app_sessions_are_closed_and_the_model_let_go() -> None:
    async with live() as chat:
        client = await chat.open()
        with Held(chat):
            await client.ask(type="chat", message="hello")
            await chat.model.asked.acquire()
            await chat.plugin.shutdown()
            assert (await client.closed())[0] == 1001
        assert chat.model.closed == 1
        await chat.plugin.shutdown()
        assert chat.model.closed == 1
        assert len(chat.plugin.session_manager) == 0
        assert asyncio.all_tasks() - {asyncio.current_task()} != set()


@pytest.mark.requirement("fault.after-disconnect")
async def test_when_the_server_ends_first_the_turn_ends_with_it() -> None:
    async with live() as chat:
        client = await chat.open()
        await client.ask(type="auth", token=SECRET)
        with Held(chat):
            await client.ask(type="chat", message="hello")
            await chat.model.asked.acquire()
            chat.server.should_exit = True
            code, _ = await client.closed()
            assert code in {1001, 1012}
            await chat.gone(client.id)
        await eventually(lambda: chat.model.closed == 1)
        assert forgotten(chat, client.id)


@pytest.mark.requirement("seed003.one-call")
@pytest.mark.parametrize("with_lifespan", [True, False], ids=["with its lifespan", "without"])
def test_it_works_in_the_test_client(*, with_lifespan: bool) -> None:
    app = FastAPI()
    plugin = add_bedrock_chat(app, model_id="offline")
    with TestClient(app) if with_lifespan else _plain(app) as client:
        for _ in range(2):
            with client.websocket_connect(PATH) as socket:
                assert socket.receive_json()["type"] == "connection_established"
                socket.send_json({"type": "auth", "token": SECRET})
                assert socket.receive_json()["type"] == "auth_configured", "the test client is this machine"
                socket.send_json({"message": "hello"})
                assert socket.receive_json()["type"] == "typing"
                assert socket.receive_json()["type"] == "ai_response"
            assert len(plugin.session_manager) == 0
        with client.websocket_connect(PATH) as one, client.websocket_connect(PATH) as two:
            assert one.receive_json()["session_id"] != two.receive_json()["session_id"]
    if with_lifespan:
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/nowhere"):
            pass


@pytest.mark.requirement("D.before-after")
def test_an_app_that_starts_again_has_a_chat_again() -> None:
    app = FastAPI()
    plugin = add_bedrock_chat(app, model_id="offline")
    models = set()
    for _ in range(2):
        with TestClient(app) as client, client.websocket_connect(PATH) as socket:
            socket.receive_json()
            socket.send_json({"message": "hello"})
            assert socket.receive_json()["type"] == "typing"
            assert socket.receive_json()["type"] == "ai_response"
            models.add(plugin.bedrock_client)
    assert len(models) == 2, "the one that was let go is not asked again"


@pytest.mark.requirement("fault.expiry")
async def test_without_a_lifespan_sessions_end_all_the_same() -> None:
    async with live(lifespan="off", session_timeout=100) as chat:
        client = await chat.open()
        await chat.clock.sleepers(1)
        chat.clock.advance(101)
        assert (await client.closed())[0] == 4408
        await chat.gone(client.id)
        await chat.clock.sleepers(1)
        chat.clock.advance(1)
        await eventually(lambda: not chat.plugin.session_manager._tickers)


def _plain(app: FastAPI) -> Any:
    class Plain:
        def __enter__(self) -> TestClient:
            return TestClient(app)

        def __exit__(self, *_: object) -> None:
            pass

    return Plain()


@pytest.mark.requirement("seed003.sessions")
async def test_two_sessions_side_by_side_see_nothing_of_each_other() -> None:
    async with live() as chat:
        clients = [await chat.open() for _ in range(2)]
        secrets = ["first-token-0123456789", "second-token-012345678"]
        for client, secret in zip(clients, secrets, strict=True):
            await client.ask(type="auth", token=secret)
            await talk(client, f"I am {client.id}")
        for client in clients:
            assert (await said(client))[0] == f"I am {client.id}"
        await clients[0].ask(type="logout")
        assert forgotten(chat, clients[0].id)
        assert not forgotten(chat, clients[1].id)


@pytest.mark.requirement("W-10", "R-26")
async def test_a_drop_in_the_middle_of_a_call_runs_nothing_twice_and_is_told_afterwards() -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    calls: list[str] = []

    async def order(what: str) -> str:
        """Order something."""
        calls.append(what)
        begun.set()
        await go.wait()
        calls.append("done")
        return "ordered"

    async with live(tools=[order]) as chat:
        client = await chat.open(**chat.browser(ADA))
        chat.model.pieces = [ToolCall(id="one", tool="order", arguments={"what": "tea"})]
        await client.send(type="chat", message="tea, please")
        await begun.wait()
        client.wire.transport.abort()
        await chat.gone(client.id)
        go.set()
        chat.model.pieces = ["It was interrupted."]
        again = await chat.open(f"{PATH}?session_id={client.id}", **chat.browser(ADA))
        assert again.first["resumed"] is True
        assert (await said(again))[0] == "tea, please"
        await talk(again, "what about my tea?")
        assert calls == ["tea"]
        results = [result.text for message in chat.model.seen[-1] for result in message.results]
        assert len(results) == 1, "the call that was begun is answered, once"


@pytest.mark.requirement("seed003.cleanup", "design.session-credentials")
@pytest.mark.parametrize("how", ["logout", "disconnect"])
async def test_credentials_are_gone_before_a_turn_that_takes_its_time_to_end(how: str) -> None:
    async with live() as chat:
        client = await chat.open()
        await client.ask(type="auth", token=SECRET)
        chat.model.lets_go.clear()
        with Held(chat):
            await client.ask(type="chat", message="hello")
            await chat.model.asked.acquire()
            if how == "logout":
                await client.send(type="logout")
            else:
                client.wire.transport.abort()
            async with asyncio.timeout(3):  # less than what a turn may take to end
                await eventually(lambda: forgotten(chat, client.id))
            chat.model.lets_go.set()
        await (client.until("logout_success") if how == "logout" else chat.gone(client.id))
        assert forgotten(chat, client.id)
        assert chat.model.given_up == 1


@pytest.mark.requirement("design.session-credentials")
async def test_replaced_credentials_take_the_turn_that_began_with_them_along() -> None:
    async with live() as chat:
        client = await chat.open()
        await client.ask(type="auth", token=SECRET)
        with Held(chat):
            await client.ask(type="chat", message="hello")
            await chat.model.asked.acquire()
            assert (await client.ask(type="auth", token=f"other-{SECRET}"))["type"] == "cancelled"
            assert (await client.until("auth_configured"))["auth_type"] == "bearer_token"
        await talk(client, "and now?")


@pytest.mark.requirement("design.session-credentials")
async def test_the_first_credentials_of_a_session_do_not_stop_its_turn() -> None:
    async with live() as chat:
        client = await chat.open()
        with Held(chat):
            await client.ask(type="chat", message="hello")
            await chat.model.asked.acquire()
            assert (await client.ask(type="auth", token=SECRET))["type"] == "auth_configured"
        assert (await client.until("ai_response"))["message"]
