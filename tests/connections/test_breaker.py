"""How many at once, and none while the provider does not answer."""

import asyncio

import pytest

from tests.connections.kit import Dice
from valetkey.connections import breaker
from valetkey.connections.breaker import AT_ONCE, OPENS_AFTER, Breakers
from valetkey.errors import ProviderUnavailable
from valetkey.model.events import BreakerMoved
from valetkey.testing.clock import ManualClock
from valetkey.testing.recorder import KeepingRecorder


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def recorder():
    return KeepingRecorder()


@pytest.fixture
def one(clock, recorder):
    return Breakers(clock=clock, entropy=Dice(0.5), recorder=recorder).of("slack")


async def turn(one):
    async with one.turn():
        pass


@pytest.mark.requirement("B1.limit")
async def test_only_so_many_have_their_turn_at_once_and_the_others_follow_in_order(one):
    running, order, full, go = set(), [], asyncio.Event(), asyncio.Event()

    async def work(number):
        async with one.turn():
            running.add(number)
            order.append(number)
            assert len(running) <= AT_ONCE
            if len(running) == AT_ONCE:
                full.set()
            await go.wait()
            running.discard(number)

    tasks = [asyncio.create_task(work(number)) for number in range(AT_ONCE + 5)]
    await full.wait()
    assert order == list(range(AT_ONCE))
    go.set()
    await asyncio.gather(*tasks)
    assert order == list(range(AT_ONCE + 5))


@pytest.mark.requirement("rel.waits-end")
async def test_who_gives_up_waiting_takes_no_place(one):
    go = asyncio.Event()

    async def hold():
        async with one.turn():
            await go.wait()

    holders = [asyncio.create_task(hold()) for _ in range(AT_ONCE)]
    waiters = [asyncio.create_task(turn(one)) for _ in range(3)]
    await asyncio.sleep(0.01)
    for waiter in waiters[:2]:
        waiter.cancel()
    await asyncio.gather(*waiters[:2], return_exceptions=True)
    go.set()
    await asyncio.gather(*holders, waiters[2])
    async with asyncio.timeout(1):
        await asyncio.gather(*(turn(one) for _ in range(AT_ONCE)))


@pytest.mark.requirement("B1.limit")
async def test_who_waits_too_long_is_told(one, monkeypatch):
    monkeypatch.setattr(breaker, "PATIENCE", 0.01)
    async with asyncio.timeout(5):
        turns = [one.turn() for _ in range(AT_ONCE)]
        for each in turns:
            await each.__aenter__()
        with pytest.raises(ProviderUnavailable, match="Call again"):
            await turn(one)
        for each in turns:
            await each.__aexit__(None, None, None)
    await turn(one)


@pytest.mark.requirement("B1.breaker", "rel.retry-after")
async def test_after_failures_in_a_row_nobody_asks_until_one_probe_may(one, clock, recorder):
    for _ in range(OPENS_AFTER - 1):
        one.failed()
    await turn(one)
    one.failed()
    assert recorder.events == (BreakerMoved(provider="slack", open=True),)
    with pytest.raises(ProviderUnavailable, match="Try again later") as told:
        await turn(one)
    # 15 s, of which the dice take a quarter off.
    assert told.value.retry_after == pytest.approx(11.25)
    clock.advance(11.25)
    async with one.turn():
        with pytest.raises(ProviderUnavailable):
            await turn(one)
        one.succeeded()
    await turn(one)
    assert recorder.events[1:] == (BreakerMoved(provider="slack", open=False),)


@pytest.mark.requirement("B1.breaker")
async def test_a_probe_that_fails_pauses_for_longer_and_says_nothing_new(one, clock, recorder):
    for _ in range(OPENS_AFTER):
        one.failed()
    for expected in (22.5, 45, 90, 180, 225, 225):
        clock.advance(300)
        async with one.turn():
            one.failed()
        with pytest.raises(ProviderUnavailable) as told:
            await turn(one)
        assert told.value.retry_after == pytest.approx(expected)
    assert len(recorder.events) == 1


async def test_a_probe_that_ended_without_asking_leaves_the_next_one_its_turn(one, clock):
    for _ in range(OPENS_AFTER):
        one.failed()
    clock.advance(60)
    await turn(one)
    await turn(one)


async def test_a_success_in_between_begins_the_count_anew(one):
    for _ in range(3):
        for _ in range(OPENS_AFTER - 1):
            one.failed()
        one.succeeded()
    await turn(one)


@pytest.mark.requirement("B1.breaker")
async def test_providers_do_not_pause_each_other(clock, recorder):
    breakers = Breakers(clock=clock, entropy=Dice(), recorder=recorder)
    for _ in range(OPENS_AFTER):
        breakers.of("slack").failed()
    with pytest.raises(ProviderUnavailable):
        await turn(breakers.of("slack"))
    await turn(breakers.of("google"))
