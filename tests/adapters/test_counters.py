"""Counts within a period: of one process, and of all that share a Valkey."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.ports import free_port
from tests.real.valkey import Valkey, running
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.local_messages import LocalCounters
from valetkey.adapters.redis_client import RedisClient
from valetkey.adapters.redis_messages import RedisCounters
from valetkey.adapters.system import SystemClock
from valetkey.ports.messages import Counters
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with running() as valkey:
        yield valkey


@pytest.fixture
def emptied(server: Valkey) -> Valkey:
    server.tell("FLUSHALL")
    return server


class Process:
    """What one process has, as far as counters go."""

    def __init__(self, url: str, clock: ManualClock | SystemClock | None = None, *, deadline: float = 0.2) -> None:
        self._home = HomeLoop()
        self.client = RedisClient(Secret(url), setting="redis_url", home=self._home, deadline=1.0)
        self.counters = RedisCounters(self.client, clock=clock or SystemClock(), deadline=deadline)

    async def add(self, key: str = "k", amount: int = 1, *, period: float = 60) -> int:
        return await self.counters.add(key, amount, period=period)

    async def close(self) -> None:
        await asyncio.to_thread(self.client.close)
        await asyncio.to_thread(self._home.close)


@pytest.fixture(params=["local", "valkey"])
async def counters(request: pytest.FixtureRequest, emptied: Valkey) -> AsyncIterator[Counters]:
    if request.param == "local":
        yield LocalCounters(ticks=SystemClock().monotonic)
        return
    process = Process(emptied.url)
    yield process.counters
    await process.close()


async def test_counts_add_up_for_each_key(counters):
    assert [await counters.add("a", period=60) for _ in range(3)] == [1, 2, 3]
    assert await counters.add("a", 5, period=60) == 8
    assert await counters.add("b", 2, period=60) == 2
    for odd in ("", " ", "a\nb", "\0", "\ud800", "é" * 5000):
        assert [await counters.add(odd, period=60) for _ in range(2)] == [1, 2]


async def test_the_first_count_begins_a_period_that_later_ones_do_not_stretch(counters):
    began = time.monotonic()
    assert await counters.add("k", period=0.3) == 1
    counts = [1]
    while counts == sorted(counts):
        counts.append(await counters.add("k", period=0.3))
        await asyncio.sleep(0.02)
        assert time.monotonic() - began < 5
    *period, new = counts
    assert period == [*range(1, len(counts))]
    # What is shared may begin a new period a moment before this process does: its first count is one more of the old.
    assert new <= 2
    assert time.monotonic() - began >= 0.28


async def test_an_amount_of_nothing_only_looks_and_begins_no_period(counters):
    assert await counters.add("k", 0, period=60) == 0
    assert counters.left("k") is None
    assert await counters.add("k", 3, period=60) == 3
    assert await counters.add("k", 0, period=60) == 3
    assert 59 < counters.left("k") <= 60


async def test_looking_after_a_period_finds_nothing_of_it():
    clock = ManualClock()
    counters = LocalCounters(ticks=clock.monotonic)
    await counters.add("k", 3, period=10)
    clock.advance(10)
    assert await counters.add("k", 0, period=10) == 0
    counters.end_in("k", 5)  # others count, this process did not yet
    assert await counters.add("k", 0, period=10) == 0
    assert await counters.add("k", period=10) == 1
    assert counters.left("k") == 5


async def test_counts_from_many_tasks_are_all_counted(counters):
    sums = await asyncio.gather(*(counters.add("k", period=60) for _ in range(100)))
    assert max(sums) == 100


def test_counts_from_many_threads_are_all_counted():
    counters = LocalCounters(ticks=SystemClock().monotonic)
    start = threading.Barrier(4)

    def count() -> None:
        start.wait()
        for _ in range(500):
            counters.count("k", 1, period=60)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.count("k", 1, period=60) == 2001


async def test_keys_whose_period_is_over_take_no_room():
    clock = ManualClock()
    counters = LocalCounters(ticks=clock.monotonic)
    for number in range(5000):
        clock.advance(1)
        await counters.add(str(number), period=10)
    assert len(counters._counts) < 1100
    assert await counters.add("4999", period=10) == 2


@pytest.mark.requirement("B2.counters")
async def test_processes_count_together(emptied):
    one, other = Process(emptied.url), Process(emptied.url)
    assert [await one.add(), await other.add(), await one.add()] == [1, 2, 3]
    await one.close()
    await other.close()


async def test_who_only_looks_sees_what_others_counted_and_for_how_long(emptied):
    one, other = Process(emptied.url), Process(emptied.url)
    await one.add(amount=3)
    assert await other.add(amount=0) == 3
    assert 59 < (other.counters.left("k") or 0) <= 60
    assert emptied.tell("EXISTS", "{valetkey}:count:other") == b":0"
    assert await other.add("other", 0) == 0
    assert emptied.tell("EXISTS", "{valetkey}:count:other") == b":0"
    await one.close()
    await other.close()


@pytest.mark.requirement("B2.counters")
async def test_a_period_ends_at_once_for_all(emptied):
    clock = ManualClock()
    one, late = Process(emptied.url, clock), Process(emptied.url, clock)
    await one.add(period=60)
    clock.advance(50)  # the server's own clock stands at the beginning of its period
    emptied.tell("PEXPIRE", "{valetkey}:count:k", "10000")
    await late.add(period=60)
    _, end = late.counters._local._counts["k"]
    assert 9 < end - clock.monotonic() <= 10
    await one.close()
    await late.close()


@pytest.mark.requirement("B2.counters")
async def test_while_the_server_is_away_each_counts_by_itself_and_goes_back_to_it(emptied, caplog):
    clock = ManualClock()
    one, other = Process(emptied.url, clock), Process(emptied.url, clock)
    assert [await one.add(), await other.add()] == [1, 2]
    emptied.kill()
    assert [await one.add(), await one.add()] == [2, 3]
    assert await other.add() == 2
    assert [record.getMessage() for record in caplog.records if "by itself" not in record.getMessage()] == []
    assert len(caplog.records) == 2  # each says so once
    emptied.start()
    assert await one.add() == 4  # not asked yet
    clock.advance(5)
    assert await one.add() == 5  # the server is empty: what this process knows is the least
    assert await other.add() == 3
    assert await one.add(amount=9) == 14
    for _ in range(20):
        await other.add()
    assert await one.add() > 20  # and together again
    await one.close()
    await other.close()


@pytest.mark.requirement("R-19.counts")
async def test_emptying_the_server_gives_nobody_his_limit_back(emptied):
    """R-19."""
    process = Process(emptied.url)
    for _ in range(5):
        await process.add()
    emptied.tell("FLUSHALL")
    assert await process.add() == 6
    await process.close()


@pytest.mark.requirement("R-19.counts")
async def test_a_server_that_stands_still_holds_nobody_up(emptied):
    process = Process(emptied.url, deadline=0.2)
    await process.add()
    with emptied.held():
        began = time.monotonic()
        sums = await asyncio.gather(*(process.add() for _ in range(30)))
        assert time.monotonic() - began < 1
        assert sorted(sums) == list(range(2, 32))
        began = time.monotonic()
        for _ in range(10):  # nor does it cost each one the deadline
            await process.add()
        assert time.monotonic() - began < 1
    await process.close()


async def test_a_home_loop_that_is_busy_holds_nobody_up(emptied):
    process = Process(emptied.url, deadline=0.1)
    await process.add()
    free = threading.Event()

    async def block() -> None:
        free.wait(10)

    process._home.spawn(block)
    began = time.monotonic()
    assert await process.add() == 2
    assert time.monotonic() - began < 1
    free.set()
    await process.close()


async def test_nothing_raises_without_a_server_or_after_closing():
    process = Process(f"redis://127.0.0.1:{free_port()}/0")
    assert [await process.add(), await process.add()] == [1, 2]
    await process.close()
    assert await process.add() == 3
    await process.close()


async def test_a_count_that_lost_its_end_gets_one(emptied):
    emptied.tell("SET", "{valetkey}:count:k", "7")
    process = Process(emptied.url)
    assert await process.add() == 8
    assert int(emptied.tell("PTTL", "{valetkey}:count:k")[1:]) > 0
    emptied.tell("SET", "{valetkey}:count:k", "no number")
    assert await process.add() == 2
    await process.close()
