"""What one client may cost: floods, messages that are none, sockets that nobody reads, too many of them."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.rpc.place import Place, Raw, packed, place, until, wind
from valetkey.entrypoints.rpc.outbox import STANDSTILL
from valetkey.services import guard
from valetkey.services.peers import BAD_WITHIN, MOST_BAD
from valetkey.settings.sections import Rate
from valetkey.testing.clock import ManualClock

MIB = 1_048_576


async def alive(raw: Raw) -> bool:
    await raw.say({"type": "ping"})
    while await raw.hear() != {"type": "pong"}:
        pass
    return True


async def pair(here: Place) -> tuple[Raw, Raw]:
    """Two clients of one workspace."""
    token = await here.token("ada")
    return await here.raw("c1", token=token), await here.raw("c2", token=token)


@pytest.mark.requirement("W-07.readers", "E.shown-hostile", "d29.calls")
async def test_a_flood_is_slowed_down_and_nobody_else_is() -> None:
    clock = ManualClock()
    async with place(clock=clock, limits={"message_rate": Rate(per_second=10, burst=5)}) as here:
        flood, other = await here.raw("c1"), await here.raw("c2")
        for _ in range(25):
            await flood.say({"type": "ping"})
        for _ in range(5):
            assert await flood.hear() == {"type": "pong"}
        answered = asyncio.ensure_future(flood.hear())
        assert await alive(other)
        assert not answered.done()
        await clock.sleepers(3)
        clock.advance(0.1)
        assert await answered == {"type": "pong"}
        rest = asyncio.ensure_future(_hear(flood, 19))
        for _ in range(25):
            clock.advance(0.1)
            for _ in range(20):
                await asyncio.sleep(0)
        assert await rest == [{"type": "pong"}] * 19  # slowed, and nothing of it is lost


async def _hear(raw: Raw, count: int) -> list[Any]:
    return [await raw.hear() for _ in range(count)]


@pytest.mark.requirement("W-07", "E.shown-hostile")
async def test_a_message_over_a_mebibyte_ends_its_socket_and_one_of_it_does_not() -> None:
    async with place() as here:
        one, two = await pair(here)
        other = await here.raw("b1")
        frame = {"type": "method", "to": two.peer, "method": "services.x.f"}
        bare = packed(frame, {"args": [b""]})
        await one.socket.send(packed(frame, {"args": [bytes(MIB - len(bare) - 3)]}))
        (first, *_) = await two.hear()  # in pieces, as it is too long for one
        assert first["method"] == "services.built-in.message_cache.create"
        await one.socket.send(bytes(MIB + 1))
        assert (await one.ended())[0] == 1009
        assert await alive(other)
        assert (await _first(two, "services.built-in.message_cache.process"))[0]["from"] == one.peer


async def _first(raw: Raw, method: str) -> Any:
    while (got := await raw.hear())[0]["method"] != method:
        pass
    return got


@pytest.mark.requirement("W-07", "E.shown-hostile")
async def test_a_message_of_endless_fragments_ends_its_socket() -> None:
    async with place() as here:
        raw, other = await here.raw("c1"), await here.raw("c2")
        begin = Frame(Opcode.BINARY, b"", fin=False).serialize(mask=True)
        empty = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True)
        raw.socket.transport.write(begin + empty * 5000)
        assert (await raw.ended())[0] == 1009
        assert await alive(other)


@pytest.mark.requirement("W-08", "E.shown-hostile")
@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"garbage",
        packed({"type": "method"}),
        packed([]),
        packed({"type": "method", "to": "x/y", "method": "m"}, {}, {}),
        b"\xdf\xff\xff\xff\xff",
        b"\x81" * 100_000,
        "{",
        "[" * 100_000,
        '{"type": "unknown"}',
        '{"type": ["ping"]}',
        "null",
    ],
)
async def test_what_is_no_message_is_counted_and_does_nothing(frame: Any) -> None:
    async with place() as here:
        raw, other = await pair(here)
        for _ in range(MOST_BAD - 1):
            await raw.socket.send(frame)
        assert await alive(raw)
        await raw.socket.send(frame)
        assert (await raw.ended())[0] == 1008
        assert await alive(other)


@pytest.mark.parametrize("frame", ["{", b"garbage"])
async def test_now_and_then_something_that_is_no_message_ends_no_socket(frame: Any) -> None:
    async with place(clock=ManualClock()) as here:
        raw = await here.raw("c1")
        for _ in range(3):
            for _ in range(MOST_BAD - 1):
                await raw.socket.send(frame)
            assert await alive(raw)
            here.clock.advance(BAD_WITHIN)
        for _ in range(MOST_BAD):
            await raw.socket.send(frame)
        assert (await raw.ended())[0] == 1008


@pytest.mark.requirement("W-08")
async def test_text_that_is_not_utf8_ends_its_socket_alone() -> None:
    async with place() as here:
        raw, other = await pair(here)
        raw.socket.transport.write(Frame(Opcode.TEXT, b"\xff\xfe{").serialize(mask=True))
        assert (await raw.ended())[0] == 1007
        assert await alive(other)


@pytest.mark.requirement("W-07")
async def test_compression_is_not_taken_and_pings_are_answered_one_by_one() -> None:
    async with place() as here:
        raw = await here.open_raw(compression="deflate")
        assert raw.socket.protocol.extensions == []
        await raw.say({"client_id": "c1"})
        await raw.hear()
        pongs = [await raw.socket.ping(struct.pack("!I", number)) for number in range(500)]
        async with asyncio.timeout(10):
            await asyncio.gather(*pongs)
        assert await alive(raw)


@pytest.mark.requirement("W-07.readers", "E1.unread")
async def test_a_client_that_does_not_read_is_cut_and_nobody_else_is_held_up() -> None:
    clock = ManualClock()
    limits = {"max_queue": MIB, "max_message_whole": MIB, "idle_timeout": 1e6}
    async with place(clock=clock, limits=limits) as here:
        one, two = await pair(here)
        other = await here.raw("c3", token=await here.token("ada"))
        two.socket.transport.pause_reading()
        sending = asyncio.ensure_future(_pour(one, two.peer))
        box: Any = here.link(two.peer).peer
        await until(lambda: box.size > MIB and box.stands)
        assert box.size <= 3 * MIB
        assert await alive(other)
        left = asyncio.ensure_future(here.gone(two.peer))
        assert STANDSTILL - 1 <= await wind(clock, STANDSTILL + 5, left) <= STANDSTILL + 2
        await left
        sending.cancel()
        assert await alive(other)
        assert here.services.relay.link(one.peer) is not None


async def _pour(raw: Raw, peer: str) -> None:
    """Send without end."""
    while True:
        try:
            await raw.send(peer, "services.built-in.x", bytes(200_000))
        except ConnectionClosed:
            return


@pytest.mark.requirement("W-07.readers", "E1.unread")
async def test_a_sender_waits_for_a_slow_reader_and_nothing_is_lost() -> None:
    limits = {"max_queue": MIB, "max_message_whole": 64 * MIB}
    async with place(limits=limits) as here:
        one, two = await pair(here)
        count = 100  # 20 MB through a queue of 1 MB

        async def send() -> None:
            for number in range(count):
                await one.send(two.peer, f"services.built-in.m{number}", bytes(200_000))

        two.socket.transport.pause_reading()
        sending = asyncio.ensure_future(send())
        box: Any = here.link(two.peer).peer
        await until(lambda: box.size > MIB and box.stands)
        for _ in range(500):
            await asyncio.sleep(0)
        assert box.size < MIB + 300_000  # the sender is not read any more
        two.socket.transport.resume_reading()
        got = [(await two.hear())[0]["method"] for _ in range(count)]
        await sending
        assert got == [f"services.built-in.m{number}" for number in range(count)]


@pytest.mark.requirement("W-07", "E1.caps")
async def test_unfinished_messages_of_nobody_known_leave_room_for_others() -> None:
    cache = "services.built-in.message_cache."
    async with place(limits={"max_message_whole": MIB}) as here:
        one, two = await pair(here)
        for number in range(17):
            bad = await here.raw(f"b{number}")
            to = f"{bad.info['workspace']}/nobody"
            await bad.send(to, cache + "create", "k", False, True)
            for index in range(4):
                await bad.send(to, cache + "set", "k", index, bytes(MIB // 4), False)
            assert await alive(bad)
        assert "resolve" in await one.call(two.peer, cache + "create", "k", False, True, session="s1")
        got = await one.call(two.peer, cache + "set", "k", 0, bytes(250_000), False, session="s2")
        assert "resolve" in got, got


@pytest.mark.parametrize("method", ["a." * 511 + "a", "a." * 70 + "2222222222222222222222#f", "s1.real.f"])
async def test_names_that_no_function_has_cost_nothing_and_end_their_senders_socket(method: str) -> None:
    async with place() as here:
        bad, other = await here.raw("bad"), await here.raw("other")
        with suppress(ConnectionClosed):
            for _ in range(MOST_BAD):
                await bad.send(f"{bad.info['workspace']}/x", method)
        assert (await bad.ended())[0] == 1008
        assert await alive(other)


def test_a_name_has_so_many_parts_and_no_more() -> None:
    assert not guard.is_callback("a." * 64 + "2222222222222222222222")
    assert guard.is_callback("a." * 20 + "2222222222222222222222")


@pytest.mark.requirement("E1.caps", "d29.calls")
async def test_a_workspace_and_a_user_have_so_many_clients_and_no_more() -> None:
    async with place(limits={"max_clients_per_workspace": 2}) as here:
        token = await here.token("ada")
        first = await here.raw("c1", token=token)
        await here.raw("c2", token=token)
        assert "has 2 clients" in (await here.raw("c3", token=token)).info["message"]
        again = await here.raw("c1", reconnection_token=first.info["reconnection_token"])
        assert again.info["type"] == "connection_info"
        assert (await here.raw("c3", token=await here.token("bob"))).info["type"] == "connection_info"
        await again.socket.close()
        await here.gone(again.peer)
        assert (await here.raw("c3", token=token)).info["type"] == "connection_info"


@pytest.mark.parametrize("known", [True, False])
async def test_one_user_or_address_has_so_many_connections(known: bool) -> None:
    async with place(limits={"max_connections_per_user": 2}) as here:
        token = await here.token("ada", workspaces={"ws-user-ada": "a", "ws-user-bob": "rw"}) if known else None
        await here.raw("b1", token=await here.token("bob"))
        await here.raw("c1", token=token)
        last = await here.raw("c2", token=token, workspace="ws-user-bob" if known else None)
        assert "You have 2 connections" in (await here.raw("c3", token=token)).info["message"]
        await last.socket.close()
        await here.gone(last.peer)
        assert (await here.raw("c3", token=token)).info["type"] == "connection_info"


async def test_an_address_opens_so_many_sockets_in_a_second() -> None:
    serving = {"rate": Rate(per_second=1, burst=3)}
    async with place(clock=ManualClock(), serving=serving) as here:
        host = {"host": f"127.0.0.1:{here.listener.port}"}
        assert [await here.knock(host) for _ in range(4)] == [101, 101, 101, 429]
        here.clock.advance(1)
        assert await here.knock(host) == 101


async def test_sockets_count_among_the_connections_of_the_server() -> None:
    async with place() as here:
        server: Any = here.listener._server
        server.config.limit_concurrency = 2
        await here.raw("c1")
        await here.raw("c2")
        assert await here.knock({"host": f"127.0.0.1:{here.listener.port}"}) == 503
