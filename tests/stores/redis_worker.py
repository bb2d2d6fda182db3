"""A process of its own on one Valkey: run by tests with a task and the server's URL."""

import asyncio
import os
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.stores.values import ADA, CLOCK, a_connection, in_redis
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.redis_client import RedisClient
from valetkey.adapters.redis_messages import RedisWakeups
from valetkey.secret import Secret


def say(word: object) -> None:
    """One line to the test, at once."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def a_bus(url: str) -> tuple[RedisWakeups, HomeLoop, RedisClient]:
    """Wake-ups over that server, with a home loop of their own."""
    home = HomeLoop()
    client = RedisClient(Secret(url), setting="redis_url", home=home, deadline=1.0)
    return RedisWakeups(client, home=home, clock=CLOCK, source=f"test {os.getpid()}"), home, client


def listen(url: str) -> None:
    """Say each hint about the topic, until told to end."""
    wakeups, home, client = a_bus(url)

    async def hear() -> None:
        async with wakeups.listen("topic") as hints:
            await hints.wait()  # that the subscription stands
            say("listening")
            while True:
                await hints.wait()
                say("woken")

    async def until_told() -> None:
        hearing = asyncio.create_task(hear())
        await asyncio.to_thread(sys.stdin.readline)
        hearing.cancel()

    asyncio.run(until_told())
    wakeups.close()
    client.close()
    home.close()


def wake(url: str) -> None:
    """Wake the topic at each word."""
    wakeups, home, client = a_bus(url)
    say("ready")
    while sys.stdin.readline().strip() == "wake":
        wakeups.wake("topic")
    wakeups.close()
    client.close()
    home.close()


def fork(url: str) -> None:
    """Use a store and wake-ups, fork, and use them in both."""
    stores = in_redis(url, deadline=3)
    wakeups, home, client = a_bus(url)

    async def insert(number: int) -> tuple[bool, int]:
        done = await stores.connections.insert(a_connection(id=f"{number:032x}", profile=str(number)))
        return done, len(await stores.connections.of_owner(ADA))

    async def woken(then: Any) -> bool:
        async with asyncio.timeout(20), wakeups.listen("topic") as hints:
            await hints.wait()  # that the subscription stands: a hint for what was missed
            await then()
            await hints.wait()
        return True

    async def nothing() -> None:
        wakeups.wake("topic")

    say(("before", asyncio.run(insert(1)), asyncio.run(woken(nothing))))
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a program may fork with threads; this is about that
        child = os.fork()
    if not child:
        os.read(reading, 1)
        say(("child", asyncio.run(insert(2)), asyncio.run(woken(nothing))))
        wakeups.close()  # with what was still to be told
        sys.exit(0)  # the whole way out, with all that Python closes on it

    async def let_child_run() -> None:
        os.write(writing, b"x")
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        say(("ended", status))

    async def in_parent() -> bool:
        # Its subscription is the one from before the fork: it hears what the child says.
        async with asyncio.timeout(20), wakeups.listen("topic") as hints:
            await let_child_run()
            await hints.wait()
        return True

    say(("parent", asyncio.run(in_parent()), asyncio.run(insert(3))))
    wakeups.close()
    client.close()
    home.close()
    stores.close()


if __name__ == "__main__":
    {"listen": listen, "wake": wake, "fork": fork}[sys.argv[1]](sys.argv[2])
