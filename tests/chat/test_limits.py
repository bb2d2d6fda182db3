"""How much one client may ask of a chat: sizes, frames, messages, sessions; and what goes over plain text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from typing import Any

import pytest
from starlette.requests import HTTPConnection
from starlette.types import Message
from websockets.exceptions import ConnectionClosed

from tests.chat.live import SECRET, eventually, live
from valetkey.connections.session_place import PAST
from valetkey.entrypoints.chat import outbox as outboxes
from valetkey.entrypoints.chat import socket as chat_socket
from valetkey.entrypoints.chat.attempts import MOST
from valetkey.entrypoints.chat.handshake import is_shielded
from valetkey.entrypoints.chat.history import LARGE, OF_MESSAGE
from valetkey.entrypoints.chat.outbox import WAITING, Outbox
from valetkey.entrypoints.chat.seats import Seat
from valetkey.entrypoints.chat.session import ChatSession
from valetkey.identity.verifiers.vouched import CHAT, in_chat
from valetkey.ports.world import Visit
from valetkey.scrub import Scrubber
from valetkey.testing.clock import ManualClock


@pytest.mark.requirement("fault.no-limits", "W-07")
async def test_a_frame_may_have_as_many_bytes_as_are_set_and_none_more() -> None:
    async with live(max_frame_size=1000) as chat:
        client = await chat.open()
        head = json.dumps({"type": "nope", "x": ""})
        whole = json.dumps({"type": "nope", "x": "x" * (1000 - len(head))})
        assert len(whole) == 1000
        assert (await client.ask(whole))["message"] == "Unknown message type: nope"
        await client.send(whole + " ")
        assert (await client.closed())[0] == 1009
        wide = await chat.open()
        await wide.send('{"type": "nope", "x": "' + "é" * 500 + '"}')
        assert (await wide.closed())[0] == 1009, "bytes are counted, not characters"
        await chat.gone(wide.id)
        assert len(chat.plugin.session_manager) == 0
        assert (await chat.open()).id


@pytest.mark.requirement("W-07")
async def test_far_more_than_that_and_a_bomb_of_compressed_frames_cost_the_socket_alone() -> None:
    async with live() as chat:
        for size in (1_048_577, 20_000_000):  # the second one is over what the server itself takes
            client = await chat.open(compression="deflate")
            with contextlib.suppress(ConnectionClosed):
                await client.send("[" + " " * size + "]")
            assert (await client.closed())[0] == 1009
        fragments = await chat.open()
        with contextlib.suppress(ConnectionClosed):
            await fragments.wire.send("x" * 100 for _ in range(20_000))
        assert (await fragments.closed())[0] == 1009
        assert (await (await chat.open()).ask(type="ping"))["type"] == "pong"


@pytest.mark.requirement("W-08")
async def test_text_that_is_no_utf8_ends_the_socket_and_not_the_server() -> None:
    async with live() as chat:  # RFC 6455 §8.1: such a connection has to be failed
        client = await chat.open()
        await client.wire.send(b"\xff\xfe", text=True)
        assert (await client.closed())[0] == 1007
        assert (await (await chat.open()).ask(type="ping"))["type"] == "pong"


@pytest.mark.requirement("fault.no-limits", "W-07")
async def test_too_many_frames_end_the_socket() -> None:
    async with live() as chat:
        client = await chat.open()
        with contextlib.suppress(ConnectionClosed):
            for _ in range(chat_socket.BURST + 1):
                await client.send(type="ping")
        code, before = await client.closed()
        assert code == 1008
        assert [frame["type"] for frame in before] == ["pong"] * chat_socket.BURST
        slow = await chat.open()
        for _ in range(chat_socket.BURST + 20):
            assert (await slow.ask(type="ping"))["type"] == "pong"
            chat.clock.advance(1 / chat_socket.PER_SECOND)


@pytest.mark.requirement("fault.no-limits", "fault.dead-settings", "d14.rate")
@pytest.mark.parametrize("rate", ["2/minute", "2 per minute"])
async def test_messages_are_counted_by_visitor_and_the_wait_is_told(rate: str) -> None:
    async with live(rate_limit=rate) as chat:
        client = await chat.open()
        for _ in range(2):
            await client.ask(type="chat", message="hello")
            await client.until("ai_response")
        assert (await client.ask(type="chat", message="hello"))["message"] == "Rate limit exceeded, try again in 60 s"
        assert (await client.ask(type="ping"))["type"] == "pong"
        again = await chat.open()
        frame = await again.ask(type="chat", message="hello")
        assert frame["message"] == "Rate limit exceeded, try again in 60 s", "a new socket begins no new count"
        chat.clock.advance(45)
        assert (await client.ask(type="chat", message="x"))["message"] == "Rate limit exceeded, try again in 15 s"
        chat.clock.advance(16)
        assert (await client.ask(type="chat", message="hello"))["type"] == "typing"


@pytest.mark.requirement("fault.dead-settings")
async def test_users_are_counted_each_by_themselves() -> None:
    async def user(connection: Any = None) -> str:
        return next(names)

    names = iter(["ada", "bob", "ada"])
    async with live(rate_limit="1/hour", auth_dependency=user) as chat:
        ada, bob, ada_again = [await chat.open() for _ in range(3)]
        for client in (ada, bob):
            await client.ask(type="chat", message="hello")
            await client.until("ai_response")
        assert "Rate limit exceeded" in (await ada_again.ask(type="chat", message="hello"))["message"]


@pytest.mark.requirement("fault.no-limits", "d14.codes")
async def test_when_all_places_are_taken_nobody_else_loses_theirs() -> None:
    async with live(max_sessions=2) as chat:
        first, second = await chat.open(), await chat.open()
        wire = await chat.raw()
        with pytest.raises(ConnectionClosed) as closed:
            await wire.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        for client in (first, second):
            assert (await client.ask(type="ping"))["type"] == "pong"
        assert (await chat.get("/bedrock-chat/health")).json()["status"] == "unhealthy"
        await first.wire.close()
        await chat.gone(first.id)
        assert (await chat.open()).id


@pytest.mark.requirement("fault.no-limits")
async def test_one_address_has_its_share_and_this_machine_is_no_address() -> None:
    toml = '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
    async with live(max_sessions_per_address=2, toml=toml) as chat:
        for _ in range(3):
            assert (await chat.open()).id
        there: dict[str, Any] = {"headers": {"x-forwarded-for": "203.0.113.7"}}
        first, _ = await chat.open(**there), await chat.open(**there)
        wire = await chat.raw(additional_headers=there["headers"])
        with pytest.raises(ConnectionClosed) as closed:
            await wire.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        assert (await chat.open(headers={"x-forwarded-for": "203.0.113.8"})).id
        await first.wire.close()
        await chat.gone(first.id)
        assert (await chat.open(**there)).id


@pytest.mark.requirement("d18.plain-ws")
async def test_credentials_go_over_no_plain_text_from_elsewhere() -> None:
    far: dict[str, Any] = {"headers": {"x-forwarded-for": "203.0.113.7"}}
    async with live() as chat:
        client = await chat.open(**far)
        frame = await client.ask(type="auth", token=SECRET)
        assert frame["type"] == "error"
        assert "unencrypted" in frame["message"]
        assert not chat.plugin.chat.system.sessions.secrets(client.id)
        assert (await (await chat.open()).ask(type="auth", token=SECRET))["type"] == "auth_configured"
    async with live(allow_insecure_transport=True) as chat:
        client = await chat.open(**far)
        assert (await client.ask(type="auth", token=SECRET))["type"] == "auth_configured"
    async with live(public_base_url="https://chat.example") as chat:
        client = await chat.open(named="chat.example", **far)
        assert "unencrypted" in (await client.ask(type="auth", token=SECRET))["message"], "past the proxy"
        far["headers"]["x-forwarded-proto"] = "https"
        client = await chat.open(named="chat.example", **far)
        assert (await client.ask(type="auth", token=SECRET))["type"] == "auth_configured", "a proxy ends TLS"


@pytest.mark.requirement("d18.plain-ws")
@pytest.mark.parametrize(
    ("peer", "headers", "trusted", "shielded"),
    [
        ("203.0.113.9", {}, [], False),
        ("203.0.113.9", {}, ["10.0.0.0/8"], False),
        ("10.1.2.3", {"x-forwarded-for": "203.0.113.9"}, [], False),
        ("10.1.2.3", {"x-forwarded-for": "203.0.113.9"}, ["10.0.0.0/8"], True),
        ("127.0.0.1", {"x-forwarded-for": "203.0.113.9"}, [], True),
    ],
)
def test_plain_text_is_a_proxys_only_where_one_is_trusted_or_on_this_machine(
    peer: str, headers: dict[str, str], trusted: list[str], *, shielded: bool
) -> None:
    raw = [(b"host", b"chat.example"), *((name.encode(), value.encode()) for name, value in headers.items())]
    scope = {"type": "websocket", "scheme": "ws", "headers": raw, "client": (peer, 5555), "path": "/"}
    connection = HTTPConnection({**scope, "query_string": b""})
    assert is_shielded(connection, "https://chat.example", trusted) is shielded
    assert not is_shielded(connection, "http://chat.example", trusted)


@pytest.mark.requirement("fault.no-limits", "W-07")
async def test_a_socket_signs_in_a_few_times_a_minute() -> None:
    async with live() as chat:
        client = await chat.open()
        for number in range(MOST):
            frame = await client.ask(type="auth", token=f"token-number-{number}")
            assert frame["type"] == "auth_configured"
            assert (await client.ask(type="auth"))["message"] == "Bearer token required", "which costs nothing"
        frame = await client.ask(type="auth", token="one-too-many")
        assert (frame["type"], frame["message"]) == ("error", "Too many sign-ins, try again in 60 s")
        assert len(chat.plugin.chat.system.sessions.secrets(client.id)) == PAST + 1
        chat.clock.advance(59.5)
        assert (await client.ask(type="auth", token="a-new-token"))["message"] == "Too many sign-ins, try again in 1 s"
        chat.clock.advance(0.5)
        assert (await client.ask(type="auth", token="a-new-token"))["type"] == "auth_configured"


@pytest.mark.requirement("fault.no-limits", "W-07")
async def test_what_one_visitor_says_to_be_searched_long_lets_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text that could be a code of each letter: it is searched beside the loop, and not all of it is kept."""
    searched: list[tuple[bool, int]] = []
    spans = Scrubber.spans

    def noted(self: Scrubber, text: str) -> list[tuple[int, int]]:
        searched.append((threading.current_thread() is threading.main_thread(), len(text)))
        return spans(self, text)

    async with live() as chat:
        client = await chat.open(max_size=None)
        await client.ask(type="auth", token=SECRET)
        monkeypatch.setattr(Scrubber, "spans", noted)
        await client.send(type="chat", message="%61" * 20_000)
        await client.until("ai_response")
        await client.ask(type="auth", token="another-token-0123")
        await client.send(type="history")
        said = (await client.until("history"))["messages"]
        assert OF_MESSAGE < len(said[0]["content"]) < OF_MESSAGE + 100
    assert sum(not here and size > LARGE for here, size in searched) >= 4
    assert [size for here, size in searched if here and size > LARGE] == []


@pytest.mark.requirement("fault.no-limits", "W-07")
async def test_a_reader_that_does_not_read_is_dropped_and_costs_no_more_than_a_few_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The peer's window is shut: the server can send no more than what its buffers hold."""
    monkeypatch.setattr(outboxes, "_FAREWELL", 0.05)
    async with live() as chat:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", chat.port, limit=1024, family=socket.AF_INET, local_addr=("127.0.0.1", 0)
        )
        taken = writer.get_extra_info("socket")
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.write(
            b"GET /bedrock-chat/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        await eventually(lambda: len(chat.plugin.session_manager) == 1)
        (seat,) = chat.plugin.session_manager.seats()
        seat.outbox._patience = 0.05
        frame = "x" * 100_000
        for _ in range(200):
            if seat.outbox.muted:
                break
            await seat.outbox.put(frame)
        assert seat.outbox.muted
        assert seat.ended is not None
        assert seat.ended[0] == 1013
        await chat.gone(seat.session.id)
        writer.close()


@pytest.mark.requirement("W-07")
async def test_only_so_many_wait_for_a_slow_reader() -> None:
    sent: list[Message] = []
    go = asyncio.Event()
    told: list[str] = []

    async def send(message: Message) -> None:
        await go.wait()
        sent.append(message)

    outbox = Outbox(send, dropped=lambda: told.append("dropped"))
    waiting = [asyncio.create_task(outbox.put(str(number))) for number in range(WAITING)]
    await asyncio.sleep(0)
    assert told == []
    await outbox.put("one too many")
    assert told == ["dropped"]
    go.set()
    await asyncio.gather(*waiting)
    await outbox.close(1013, "too slow")
    assert len([message for message in sent if message["type"] == "websocket.send"]) <= 1
    assert sent[-1] == {"type": "websocket.close", "code": 1013, "reason": "too slow"}
    await outbox.put("after the end")
    assert sent[-1]["type"] == "websocket.close"


@pytest.mark.requirement("W-05")
async def test_what_is_still_to_be_sent_when_we_close_is_not_sent() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    outbox = Outbox(send, dropped=lambda: None)
    session = ChatSession(id="s", who=in_chat("s", workspace=CHAT), visit=Visit(host="", scheme="http", client=None))
    seat = Seat(session=session, outbox=outbox, loop=asyncio.get_running_loop())
    seat.end(4401, "Your sign-in has ended.")
    seat.end(4408, "idle")
    await outbox.put("a piece of an answer")
    assert seat.ended == (4401, "Your sign-in has ended.", None)
    await outbox.close(4401, "é" * 100)
    assert [message["type"] for message in sent] == ["websocket.close"]
    assert len(sent[0]["reason"].encode()) <= 123, "RFC 6455 §5.5"


async def test_frames_go_out_whole_and_in_the_order_in_which_they_came() -> None:
    sent: list[str] = []

    async def send(message: Message) -> None:
        await asyncio.sleep(0)
        sent.append(message["text"])

    outbox = Outbox(send, dropped=lambda: None)
    await asyncio.gather(*(outbox.put(str(number)) for number in range(20)))
    assert sent == [str(number) for number in range(20)]


def test_a_bucket_is_filled_with_time() -> None:
    clock = ManualClock()
    bucket = chat_socket._Bucket(clock)
    assert all(bucket.take() for _ in range(chat_socket.BURST))
    assert not bucket.take()
    clock.advance(1)
    assert bucket.take()


@pytest.mark.requirement("W-07")
def test_frames_that_take_long_empty_a_bucket_and_one_that_waits_does_not() -> None:
    clock = ManualClock()
    bucket = chat_socket._Bucket(clock)
    assert bucket.take()
    clock.advance(30)  # as long as a turn took to end
    bucket.charge(30)
    assert bucket.take()
    frames = 0
    while bucket.take():
        frames += 1
        clock.advance(0.3)
        bucket.charge(0.3)
    assert frames < 10
    clock.advance(4)
    for _ in range(1000):
        assert bucket.take()
        clock.advance(0.04)
        bucket.charge(0.004)
