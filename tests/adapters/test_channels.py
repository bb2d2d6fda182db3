"""A channel between instances: the same of one in the process and of one over a real Valkey."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.ports import free_port
from tests.real.valkey import Valkey, running
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.local_channel import LocalBus
from valetkey.adapters.redis_channel import RedisChannel
from valetkey.adapters.redis_client import RedisClient
from valetkey.adapters.system import SystemClock
from valetkey.errors import StoreUnavailable
from valetkey.ports.messages import Channel
from valetkey.secret import Secret


class End:
    """One end of a channel, and what it was told."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.heard: list[bytes] = []
        self.backs = 0
        self.news = asyncio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Heard from here on."""
        async with self.channel.open(self._take, back=self._back):
            await self.until(lambda: self.backs > 0)
            yield

    async def until(self, what: Callable[[], bool], seconds: float = 10) -> None:
        """Wait for it."""
        async with asyncio.timeout(seconds):
            while not what():
                self.news.clear()
                await self.news.wait()

    def _take(self, data: bytes) -> None:
        self.heard.append(data)
        self.news.set()

    def _back(self) -> None:
        self.backs += 1
        self.news.set()


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with running() as valkey:
        yield valkey


@asynccontextmanager
async def over(url: str) -> AsyncIterator[Callable[[str], Channel]]:
    """Channels over that server, on this loop as a server's are."""
    made: list[RedisClient] = []
    homes: list[HomeLoop] = []

    def one(name: str) -> Channel:
        home = HomeLoop()
        home.adopt(asyncio.get_running_loop())
        client = RedisClient(Secret(url), setting="redis_url", home=home, deadline=1.0)
        made.append(client)
        homes.append(home)
        return RedisChannel(client, clock=SystemClock(), name=name)

    yield one
    for client in made:
        await asyncio.to_thread(client.close)


@pytest.fixture(params=["local", "valkey"])
async def make(request: Any) -> AsyncIterator[Callable[[str], Channel]]:
    """Makes channels on one bus."""
    if request.param == "local":
        yield LocalBus().channel
    else:
        async with over(request.getfixturevalue("server").url) as one:
            yield one


@pytest.fixture
async def three(make: Any) -> AsyncIterator[list[End]]:
    """Three that hear each other."""
    async with AsyncExitStack() as stack:
        ends = [End(make(name)) for name in ("one", "two", "three")]
        for end in ends:
            await stack.enter_async_context(end.open())
        yield ends


async def test_what_is_published_reaches_all_others_in_order_and_not_oneself(three):
    one, two, other = three
    told = [bytes([number % 251]) * number for number in (1, 0, 2, 70_000, 300_000, 5)]
    for data in told:
        await one.channel.publish(data)
    await two.channel.publish(b"end")
    for end in (two, other):
        await end.until(lambda end=end: len(end.heard) >= len(told))
        assert [data for data in end.heard if data != b"end"] == told
    await one.until(lambda: bool(one.heard))
    assert one.heard == [b"end"]


async def test_what_is_sent_reaches_that_one_alone_and_keeps_its_place_among_what_is_published(three):
    one, two, other = three
    for number in range(20):
        assert await one.channel.send(two.channel.instance, b"s%d" % number)
        await one.channel.publish(b"p%d" % number)
    await two.until(lambda: len(two.heard) == 40)
    assert two.heard == [each % number for number in range(20) for each in (b"s%d", b"p%d")]
    await other.until(lambda: len(other.heard) == 20)
    assert all(data.startswith(b"p") for data in other.heard)


async def test_instances_have_names_of_their_own(three):
    assert len({end.channel.instance for end in three}) == 3


async def test_to_one_that_is_not_there_nothing_is_sent(make, three):
    one = three[0]
    assert await one.channel.send("nobody", b"x") is False
    late = End(make("late"))
    async with late.open():
        assert await one.channel.send(late.channel.instance, b"x") is True
        await late.until(lambda: bool(late.heard))
    assert await one.channel.send(late.channel.instance, b"y") is False


async def test_a_channel_may_be_opened_again(make):
    end = End(make("one"))
    async with end.open():
        pass
    end.backs = 0
    async with end.open():
        other = make("two")
        await other.publish(b"x")
        await end.until(lambda: end.heard == [b"x"])


@pytest.mark.requirement("E4.outage")
async def test_when_the_server_is_away_senders_are_told_and_all_hear_again_when_it_is_back():
    with running() as server:
        async with over(server.url) as make:
            one, two = End(make("one")), End(make("two"))
            async with one.open(), two.open():
                await asyncio.to_thread(server.kill)
                with pytest.raises(StoreUnavailable):
                    await one.channel.publish(b"lost")
                with pytest.raises(StoreUnavailable):
                    await one.channel.send(two.channel.instance, b"lost")
                await asyncio.to_thread(server.start)
                await two.until(lambda: two.backs == 2, 20)
                await one.channel.publish(b"found")
                await two.until(lambda: two.heard == [b"found"])


async def test_a_server_that_went_silent_is_listened_to_anew(monkeypatch, caplog):
    monkeypatch.setattr("valetkey.adapters.redis_channel.QUIET", 0.2)
    with running() as server:
        async with over(server.url) as make:
            one = End(make("one"))
            async with one.open():
                with server.held():
                    async with asyncio.timeout(10):
                        while not caplog.records:  # noqa: ASYNC110 - the log wakes nobody
                            await asyncio.sleep(0.02)
                await one.until(lambda: one.backs == 2, 20)


async def test_what_is_no_message_of_ours_is_handed_on_and_breaks_nothing(server):
    async with over(server.url) as make, Redis.from_url(server.url) as stranger:
        one = End(make("one"))
        async with one.open():
            for junk in (b"", b"\xff", b"\x05ab", bytes(1000)):
                await stranger.publish("{valetkey}:mesh:0", junk)
            await one.until(lambda: len(one.heard) == 4)


def test_a_forked_child_is_another_instance():
    home = HomeLoop()
    client = RedisClient(Secret(f"redis://127.0.0.1:{free_port()}/0"), setting="redis_url", home=home)
    channel = RedisChannel(client, clock=SystemClock(), name="one")
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, channel.instance.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() not in ("", channel.instance)
