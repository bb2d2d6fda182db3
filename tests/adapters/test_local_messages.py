"""Wake-ups within one process, between loops and threads."""

import asyncio
import threading
from unittest import mock

import pytest

from valetkey.adapters.local_messages import LocalWakeups
from valetkey.ports.messages import Wakeups


async def settle():
    """Let what was called soon arrive."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_hint_wakes_all_who_listen_to_the_topic_and_nobody_else():
    wakeups: Wakeups = LocalWakeups()
    async with wakeups.listen("a") as one, wakeups.listen("a") as two, wakeups.listen("b") as other:
        waits = [asyncio.create_task(listener.wait()) for listener in (one, two, other)]
        await settle()
        wakeups.wake("a")
        await asyncio.gather(*waits[:2])
        await settle()
        assert not waits[2].done()
        waits[2].cancel()


async def test_a_hint_between_two_waits_is_kept_and_several_are_one():
    wakeups = LocalWakeups()
    async with wakeups.listen("a") as listener:
        wakeups.wake("a")
        wakeups.wake("a")
        await settle()
        wakeups.wake("a")
        await settle()
        await listener.wait()
        again = asyncio.create_task(listener.wait())
        await settle()
        assert not again.done()
        wakeups.wake("a")
        await again


async def test_a_hint_from_before_listening_is_not_kept():
    wakeups = LocalWakeups()
    wakeups.wake("a")
    async with wakeups.listen("a") as listener:
        wait = asyncio.create_task(listener.wait())
        await settle()
        assert not wait.done()
        wait.cancel()


async def test_a_hint_comes_from_any_thread():
    wakeups = LocalWakeups()
    async with wakeups.listen("a") as listener:
        for _ in range(50):
            thread = threading.Thread(target=wakeups.wake, args=("a",))
            thread.start()
            await listener.wait()
            thread.join()


def test_a_hint_reaches_another_loop():
    wakeups = LocalWakeups()
    listening, woken = threading.Event(), threading.Event()

    async def listen():
        async with wakeups.listen("a") as listener:
            listening.set()
            await listener.wait()
            woken.set()

    thread = threading.Thread(target=asyncio.run, args=(listen(),))
    thread.start()
    assert listening.wait(10)

    async def wake():
        wakeups.wake("a")

    asyncio.run(wake())
    assert woken.wait(10)
    thread.join(10)


def test_a_listener_whose_loop_ended_is_dropped():
    wakeups = LocalWakeups()
    kept = []

    async def leave_it_open():
        context = wakeups.listen("a")
        await context.__aenter__()
        kept.append(context)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_it_open())
    wakeups.wake("a")  # arrives nowhere: the loop stands still
    loop.close()
    wakeups.wake("a")
    assert wakeups._listeners == {}


async def test_nothing_is_left_of_a_topic_that_nobody_listens_to():
    wakeups = LocalWakeups()
    async with wakeups.listen("a"):
        async with wakeups.listen("a"):
            pass
        assert set(wakeups._listeners) == {"a"}
    with pytest.raises(LookupError):
        async with wakeups.listen("b"):
            raise LookupError
    assert wakeups._listeners == {}


def test_a_loop_that_stands_still_gathers_no_queue_of_hints():
    wakeups = LocalWakeups()
    loop = asyncio.new_event_loop()
    context = wakeups.listen("a")
    listener = loop.run_until_complete(context.__aenter__())
    with mock.patch.object(loop, "call_soon_threadsafe", wraps=loop.call_soon_threadsafe) as calls:
        for _ in range(1000):
            wakeups.wake("a")
    assert calls.call_count == 1
    loop.run_until_complete(listener.wait())
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()
