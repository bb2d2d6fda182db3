"""A clock wound by hand."""

import asyncio
import threading

import pytest

from valetkey.ports.world import Clock
from valetkey.testing.clock import ManualClock


def test_it_stands_still_until_advanced():
    wound = ManualClock(1000.0)
    clock: Clock = wound
    assert (clock.now(), clock.monotonic()) == (1000.0, 0.0)
    wound.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (1002.5, 2.5)


def test_it_is_not_advanced_backwards():
    clock = ManualClock()
    with pytest.raises(ValueError, match="jump"):
        clock.advance(-1)


def test_a_jump_moves_the_wall_clock_only():
    clock = ManualClock(1000.0)
    clock.jump(-3600)
    assert (clock.now(), clock.monotonic()) == (-2600.0, 0.0)


async def test_sleepers_wake_in_the_order_of_their_time():
    clock = ManualClock()
    order = []

    async def sleep(seconds):
        await clock.sleep(seconds)
        order.append(seconds)

    tasks = [asyncio.create_task(sleep(seconds)) for seconds in (30, 10, 20, 40, 10.5)]
    await clock.sleepers(5)
    clock.advance(30)
    await asyncio.gather(*tasks[:3], tasks[4])
    assert order == [10, 10.5, 20, 30]
    assert not tasks[3].done()
    clock.advance(10)
    await tasks[3]


async def test_nobody_wakes_early():
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(10))
    await clock.sleepers()
    clock.advance(9.999)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    clock.advance(0.001)
    await task


@pytest.mark.parametrize("seconds", [0, -1])
async def test_no_time_is_no_wait(seconds):
    await ManualClock().sleep(seconds)


async def test_a_cancelled_sleeper_is_nobody():
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(10))
    await clock.sleepers()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    waiting = asyncio.create_task(clock.sleepers())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    clock.advance(10)


def test_it_wakes_sleepers_of_other_loops_and_threads():
    clock = ManualClock()
    woken = []

    async def sleep(seconds):
        await clock.sleep(seconds)
        woken.append(seconds)

    threads = [threading.Thread(target=asyncio.run, args=(sleep(seconds),)) for seconds in (1, 2)]
    for thread in threads:
        thread.start()
    asyncio.run(clock.sleepers(2))
    clock.advance(1)
    threads[0].join(10)
    assert woken == [1]
    clock.advance(1)
    threads[1].join(10)
    assert woken == [1, 2]


def test_a_sleeper_whose_loop_ended_is_passed_over():
    clock = ManualClock()

    async def leave_one_asleep():
        asyncio.get_running_loop().create_task(clock.sleep(5))
        await clock.sleepers()

    asyncio.run(leave_one_asleep())
    clock.advance(5)
    assert clock.monotonic() == 5
