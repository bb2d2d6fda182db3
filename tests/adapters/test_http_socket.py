"""The stream under the HTTP client: what waits is bounded, and an end is told on both ways."""

import asyncio

import pytest

from valetkey.adapters.http_socket import MOST_HELD, TcpStream


class Transport(asyncio.Transport):
    """Takes what is written, and notes what is asked of it."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.written = b""

    def is_closing(self):
        return False

    def pause_reading(self):
        self.asked.append("pause")

    def resume_reading(self):
        self.asked.append("resume")

    def write(self, data):
        self.written += data

    def abort(self):
        self.asked.append("abort")


@pytest.fixture
async def transport():
    return Transport()


@pytest.fixture
async def stream(transport):
    stream = TcpStream()
    stream.connection_made(transport)
    return stream


async def test_what_nobody_reads_is_not_taken_without_end(stream, transport):
    for _ in range(5):
        stream.data_received(b"x" * (MOST_HELD // 4))
    assert transport.asked == ["pause"]
    while len(await stream.read(65_536)) and stream._size > MOST_HELD // 2:
        assert transport.asked == ["pause"]
    assert transport.asked == ["pause", "resume"]


async def test_a_read_gives_at_most_as_much_as_was_asked_for(stream):
    stream.data_received(b"abcdef")
    assert [await stream.read(4), await stream.read(4)] == [b"abcd", b"ef"]


async def test_what_came_is_read_before_the_end(stream):
    stream.data_received(b"answer")
    stream.connection_lost(ConnectionResetError())
    assert await stream.read(100) == b"answer"
    with pytest.raises(OSError, match="broke off"):
        await stream.read(100)
    with pytest.raises(OSError, match="broke off"):
        await stream.write(b"more")


async def test_an_end_that_was_said_is_no_break(stream):
    reading = asyncio.ensure_future(stream.read(100))
    await asyncio.sleep(0)
    assert stream.eof_received()  # in the clear what is still to be sent may be
    assert await reading == b""


async def test_who_waits_to_send_hears_that_it_broke_off(stream, transport):
    stream.pause_writing()
    writing = asyncio.ensure_future(stream.write(b"request"))
    await asyncio.sleep(0)
    assert (transport.written, writing.done()) == (b"request", False)
    stream.connection_lost(None)
    with pytest.raises(OSError, match="broke off"):
        await writing


async def test_one_with_more_to_read_or_at_its_end_is_not_used_again(stream):
    stream._has_more = lambda: False  # the socket itself
    assert not stream.get_extra_info("is_readable")
    stream.data_received(b"what nobody asked for")
    assert stream.get_extra_info("is_readable")
    await stream.read(100)
    assert not stream.get_extra_info("is_readable")
    stream.eof_received()
    assert stream.get_extra_info("is_readable")
