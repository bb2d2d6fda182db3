"""Wake-ups over a real Valkey: between processes, while it is away, and after it came back."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

import pytest
from redis.asyncio import Redis

from tests.ports import free_port
from tests.real.valkey import Valkey, running
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.redis_client import RedisClient
from valetkey.adapters.redis_messages import MOST_PENDING, RedisWakeups
from valetkey.adapters.system import SystemClock
from valetkey.secret import Secret

WORKER = Path(__file__).parent.parent / "stores" / "redis_worker.py"
CHANNEL = "{valetkey}:wake:0"


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with running() as valkey:
        yield valkey


class Process:
    """What one process has, as far as wake-ups go."""

    def __init__(self, url: str, name: str) -> None:
        self.home = HomeLoop()
        self.client = RedisClient(Secret(url), setting="redis_url", home=self.home, deadline=1.0)
        self.wakeups = RedisWakeups(self.client, home=self.home, clock=SystemClock(), source=name)

    async def close(self) -> None:
        for close in (self.wakeups.close, self.client.close, self.home.close):
            await asyncio.to_thread(close)


@asynccontextmanager
async def processes(url: str, *names: str) -> AsyncIterator[list[Process]]:
    made = [Process(url, name) for name in names]
    yield made
    for each in made:
        await each.close()


async def subscribed(process: Process) -> None:
    """Wait until what others say is heard: each subscription wakes all, for what was missed."""
    async with asyncio.timeout(10), process.wakeups.listen("none") as hints:
        await hints.wait()


@pytest.fixture
async def pair(server) -> AsyncIterator[list[Process]]:
    """Two that hear each other."""
    async with processes(server.url, "one", "other") as made:
        for each in made:
            await subscribed(each)
        yield made


async def test_a_hint_reaches_another_process_s_listeners_of_that_topic(pair):
    one, other = pair
    async with other.wakeups.listen("a") as hints, other.wakeups.listen("b") as elsewhere:
        quiet = asyncio.create_task(elsewhere.wait())
        for _ in range(5):
            wait = asyncio.create_task(hints.wait())
            await asyncio.sleep(0)
            one.wakeups.wake("a")
            async with asyncio.timeout(5):
                await wait
        assert not quiet.done()
        quiet.cancel()


async def test_this_process_s_listeners_need_no_server():
    async with processes(f"redis://127.0.0.1:{free_port()}/0", "alone") as (alone,), alone.wakeups.listen("a") as hints:
        for _ in range(3):
            alone.wakeups.wake("a")
            async with asyncio.timeout(5):
                await hints.wait()


async def test_one_s_own_words_wake_nobody_twice(pair, server):
    one, other = pair
    async with one.wakeups.listen("a") as mine, other.wakeups.listen("a") as theirs:
        one.wakeups.wake("a")
        async with asyncio.timeout(5):
            await mine.wait()
            await theirs.wait()  # it went to the server and back
            other.wakeups.wake("b")
        again = asyncio.create_task(mine.wait())
        await subscribed_again(server, one)
        assert not again.done()
        again.cancel()


async def subscribed_again(server: Valkey, process: Process) -> None:
    """Wait until the process has heard all that was said so far."""
    async with process.wakeups.listen("mark") as mark, Redis.from_url(server.url) as stranger:
        await stranger.publish(CHANNEL, json.dumps({"from": "stranger", "topics": ["mark"]}))
        async with asyncio.timeout(5):
            await mark.wait()


async def test_what_is_no_message_of_ours_is_passed_over_and_more_in_one_is_too(pair, server):
    one, _ = pair
    async with one.wakeups.listen("a") as hints, Redis.from_url(server.url) as stranger:
        wait = asyncio.create_task(hints.wait())
        for junk in (b"", b"\xff", b"[", b"1", b"{}", b'{"from": 1, "topics": 7}', b"[" * 100_000, b"a" * 1_000_000):
            await stranger.publish(CHANNEL, junk)
        await subscribed_again(server, one)
        assert not wait.done()
        newer = {"from": "tomorrow", "topics": ["a"], "more": {"deep": [1]}}
        await stranger.publish(CHANNEL, json.dumps(newer))
        async with asyncio.timeout(5):
            await wait


async def test_databases_of_one_server_do_not_hear_each_other(server):
    async with processes(server.url, "one") as (one,), processes(server.url[:-1] + "1", "far") as (far,):
        await subscribed(one)
        await subscribed(far)
        async with one.wakeups.listen("a") as hints:
            wait = asyncio.create_task(hints.wait())
            far.wakeups.wake("a")
            await asyncio.to_thread(far.wakeups.close)  # with its last words
            await subscribed_again(server, one)
            assert not wait.done()
            wait.cancel()


@pytest.mark.requirement("B2.wakeups")
async def test_messages_hold_topics_and_nothing_else(pair, server):
    one, _ = pair
    async with Redis.from_url(server.url) as stranger, stranger.pubsub() as ear:
        await ear.subscribe(CHANNEL)
        assert await ear.get_message(timeout=5)
        one.wakeups.wake("row 1")
        message = await ear.get_message(timeout=5)
    assert message is not None
    assert json.loads(message["data"]) == {"from": f"one-{os.getpid()}", "topics": ["row 1"]}


@pytest.mark.requirement("B2.wakeups")
async def test_waking_never_waits_and_what_is_too_much_is_dropped(server):
    async with processes(server.url, "one") as (one,):
        await subscribed(one)
        with server.held():
            began = time.monotonic()
            threads = [threading.Thread(target=shout, args=(one, number)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                await asyncio.to_thread(thread.join)
            assert time.monotonic() - began < 5
            (here,) = one.wakeups._processes.values()
            assert len(here.pending) <= MOST_PENDING


def shout(process: Process, number: int) -> None:
    for count in range(5000):
        process.wakeups.wake(f"{number} {count}")


@pytest.mark.requirement("R-19")
async def test_the_server_may_die_and_come_back_and_only_hints_are_lost(caplog):
    """R-19."""
    caplog.set_level(logging.WARNING)
    with running() as server:
        async with processes(server.url, "one", "other") as (one, other):
            for each in (one, other):
                await subscribed(each)
            async with other.wakeups.listen("a") as hints:
                for _ in range(2):
                    server.kill()
                    one.wakeups.wake("lost")
                    other.wakeups.wake("a")
                    async with asyncio.timeout(5):
                        await hints.wait()  # within the process as before
                    missed = asyncio.create_task(hints.wait())
                    await asyncio.sleep(0)
                    await asyncio.to_thread(server.start)
                    async with asyncio.timeout(20):
                        await missed  # whoever listens looks for what was missed
                    await heard(one, hints)
        told = [record.getMessage() for record in caplog.records]
        away = [text for text in told if "processes do not hear of each other's changes at once" in text]
        back = [text for text in told if text.endswith("is back.")]
        assert len(told) == len(away) + len(back)
        assert 2 <= len(away) <= 4  # each says so once for each time
        assert 2 <= len(back) <= len(away)


async def heard(one: Process, hints: object) -> None:
    """Wake until it is heard; the two come back one after the other."""
    async with asyncio.timeout(20):
        heard = asyncio.create_task(hints.wait())  # type: ignore[attr-defined]
        while not heard.done():
            one.wakeups.wake("a")
            await asyncio.wait([heard], timeout=0.1)


@pytest.mark.requirement("R-19")
async def test_a_subscription_whose_server_went_silent_is_made_anew(monkeypatch):
    monkeypatch.setattr("valetkey.adapters.redis_messages.QUIET", 0.2)
    with running() as server:
        async with processes(server.url, "one") as (one,):
            await subscribed(one)
            async with one.wakeups.listen("a") as hints:
                with server.held():
                    (here,) = one.wakeups._processes.values()
                    async with asyncio.timeout(10):
                        while "subscribe" not in here.failures:  # noqa: ASYNC110 - it is another thread's
                            await asyncio.sleep(0.02)
                async with asyncio.timeout(20):
                    await hints.wait()


async def test_nobody_is_spoken_to_before_the_first_use(server):
    process = Process(server.url, "one")
    assert process.home._thread is None
    process.wakeups.close()
    process.client.close()
    assert process.home._thread is None


async def test_after_closing_a_later_use_begins_anew(server):
    process = Process(server.url, "one")
    await subscribed(process)
    await process.close()
    await subscribed(process)
    await process.close()


async def test_last_words_are_said_before_the_end(server):
    async with processes(server.url, "ear") as (ear,):
        await subscribed(ear)
        async with ear.wakeups.listen("a") as hints:
            for number in range(5):
                passing = Process(server.url, f"passing {number}")
                passing.wakeups.wake("a")
                await passing.close()
                async with asyncio.timeout(5):
                    await hints.wait()


@contextmanager
def worker(task: str, url: str) -> Iterator[tuple[IO[str], IO[str]]]:
    """A process with its task, by what it is told and says; none is left behind."""
    process = subprocess.Popen(
        [sys.executable, str(WORKER), task, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            yield process.stdin, process.stdout
            process.stdin.write("end\n")
            process.stdin.flush()
            assert process.wait(20) == 0
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.requirement("B2.wakeups")
def test_two_processes_wake_each_other(server):
    with worker("listen", server.url) as (_, heard), worker("wake", server.url) as (tell, said):
        assert heard.readline() == "listening\n"
        assert said.readline() == "ready\n"
        for _ in range(3):
            tell.write("wake\n")
            tell.flush()
            assert heard.readline() == "woken\n"
