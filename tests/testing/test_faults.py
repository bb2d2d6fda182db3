"""A TCP proxy that cuts, delays and garbles: each fault does what it says, and only that."""

import asyncio
import contextlib

import pytest

from valetkey.testing.clock import ManualClock
from valetkey.testing.faults import Blackhole, Cut, Delay, Drip, FaultProxy, Garble, Pass, Refuse

LONG = b"0123456789"


class Echo:
    """A server that answers each line with what it is told to, and remembers the lines."""

    def __init__(self):
        self.port = 0
        self.lines = []
        self.heard = asyncio.Event()
        self.writers = []

    async def serve(self, reader, writer):
        self.writers.append(writer)
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                self.lines.append(line)
                self.heard.set()
                writer.write(LONG)
                await writer.drain()
        writer.close()


@pytest.fixture
async def echo():
    server = Echo()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()
    for writer in server.writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def calling(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(reader, writer):
    writer.write(b"hello\n")
    return await reader.readexactly(len(LONG))


async def test_bytes_pass_both_ways(echo):
    async with FaultProxy(echo.port) as proxy, calling(proxy) as (reader, writer):
        assert await ask(reader, writer) == LONG
        assert await ask(reader, writer) == LONG
        writer.write_eof()
        assert await reader.read() == b""
    assert echo.lines == [b"hello\n"] * 2
    assert proxy.accepted == 1


async def test_a_large_answer_passes_whole():
    whole = bytes(range(256)) * 20_000

    async def send(reader, writer):
        writer.write(whole)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(send, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with FaultProxy(port) as proxy, calling(proxy) as (reader, _):
            assert await reader.read() == whole


async def test_a_delay_holds_an_answer_as_long_as_the_clock_says(echo):
    clock = ManualClock()
    async with FaultProxy(echo.port, Delay(seconds=3), clock=clock) as proxy, calling(proxy) as pair:
        asked = asyncio.create_task(ask(*pair))
        await clock.sleepers()
        assert echo.lines == [b"hello\n"]
        clock.advance(2.9)
        assert not asked.done()
        clock.advance(0.2)
        assert await asked == LONG


async def test_a_drip_gives_one_byte_at_a_time(echo):
    clock = ManualClock()
    async with FaultProxy(echo.port, Drip(seconds=1), clock=clock) as proxy, calling(proxy) as (reader, writer):
        writer.write(b"hello\n")
        for expected in LONG[:4]:
            await clock.sleepers()
            clock.advance(1)
            assert await reader.read(100) == bytes([expected])
        await clock.sleepers()
        await proxy.use(Pass())
        assert await reader.readexactly(6) == LONG[4:]


async def test_delays_are_real_seconds_by_default(echo):
    async with FaultProxy(echo.port, Delay(seconds=0.01)) as proxy, calling(proxy) as pair:
        assert await ask(*pair) == LONG


@pytest.mark.parametrize("after", [0, 1, 9, 10])
async def test_an_answer_is_cut_after_so_many_bytes(echo, after):
    async with FaultProxy(echo.port, Cut(after=after)) as proxy, calling(proxy) as (reader, writer):
        writer.write(b"hello\n")
        assert await reader.read() == LONG[:after]
    assert echo.lines == [b"hello\n"]


async def test_an_answer_may_be_cut_by_a_reset(echo):
    async with FaultProxy(echo.port, Cut(after=0, reset=True)) as proxy, calling(proxy) as (reader, writer):
        writer.write(b"hello\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_a_request_may_be_cut_before_it_arrives(echo):
    async with FaultProxy(echo.port, Cut(after=3, side="request")) as proxy, calling(proxy) as (reader, writer):
        writer.write(b"hello\n")
        assert await reader.read() == b""
        await proxy.use(Pass())
    assert echo.lines in ([], [b"hel"])


async def test_a_cut_counts_from_when_it_was_set(echo):
    async with FaultProxy(echo.port) as proxy, calling(proxy) as (reader, writer):
        assert await ask(reader, writer) == LONG
        await proxy.use(Cut(after=4))
        writer.write(b"again\n")
        assert await reader.read() == LONG[:4]
        async with calling(proxy) as (next_reader, next_writer):
            next_writer.write(b"new\n")
            assert await next_reader.read() == LONG[:4]


async def test_garbled_bytes_are_other_bytes(echo):
    async with FaultProxy(echo.port, Garble()) as proxy, calling(proxy) as pair:
        garbled = await ask(*pair)
        assert len(garbled) == len(LONG)
        assert all(seen != sent for seen, sent in zip(garbled, LONG, strict=True))
    assert echo.lines == [b"hello\n"]


async def test_a_black_hole_takes_all_and_gives_nothing(echo):
    async with FaultProxy(echo.port, Blackhole()) as proxy, calling(proxy) as (reader, writer):
        writer.write(b"lost\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        await proxy.use(Pass())
        assert await ask(reader, writer) == LONG
    assert echo.lines == [b"hello\n"]


async def test_refusing_resets_what_is_open_and_takes_nothing_new(echo):
    async with FaultProxy(echo.port) as proxy, calling(proxy) as (reader, writer):
        port = proxy.port
        assert await ask(reader, writer) == LONG
        await proxy.use(Refuse())
        with pytest.raises(ConnectionResetError):
            await reader.read()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await proxy.use(Pass())
        assert proxy.port == port
        async with calling(proxy) as pair:
            assert await ask(*pair) == LONG


async def test_it_may_refuse_from_the_start(echo):
    async with FaultProxy(echo.port, Refuse()) as proxy:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)


async def test_a_server_that_is_down_looks_like_a_reset():
    async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    async with FaultProxy(port) as proxy, calling(proxy) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_nothing_is_left_when_it_ends(echo):
    before = asyncio.all_tasks()
    async with FaultProxy(echo.port, Delay(seconds=600)) as proxy, calling(proxy) as (_, writer):
        writer.write(b"hello\n")
        await echo.heard.wait()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    for _ in range(5):
        await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - before if "FaultProxy" in repr(task.get_coro())}
    assert left == set()
