"""Limits: counted for each, told with the time that is left; and who fails too often is told of once (decision 29)."""

import pytest

from valetkey.adapters.local_messages import LocalCounters
from valetkey.errors import RateLimited
from valetkey.limits import FAILED_LOGINS_OF_ACCOUNT, SUSPICIOUS, Limit, Limits, Watch
from valetkey.testing.clock import ManualClock

THREE = Limit(name="three", most=3, period=60, text="Too many.")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def limits(clock: ManualClock) -> Limits:
    return Limits(LocalCounters(ticks=clock.monotonic))


async def test_so_many_are_let_on_and_the_next_is_told_when_to_come_again(limits, clock):
    for _ in range(3):
        await limits.take(THREE, "ann")
    clock.advance(12.5)
    with pytest.raises(RateLimited) as refused:
        await limits.take(THREE, "ann")
    assert (refused.value.retry_after, str(refused.value)) == (48, "Too many. Try again in 48 s.")
    await limits.take(THREE, "bob")
    clock.advance(47.5)
    await limits.take(THREE, "ann")


async def test_a_look_counts_nothing_and_refuses_what_a_further_one_would_be(limits, clock):
    for _ in range(10):
        await limits.look(THREE, "ann")
    for _ in range(3):
        await limits.count(THREE, "ann")
    clock.advance(59.9)
    with pytest.raises(RateLimited) as refused:
        await limits.look(THREE, "ann")
    assert refused.value.retry_after == 1
    clock.advance(0.1)
    await limits.look(THREE, "ann")


@pytest.mark.parametrize("name", ["x" * 100_000, "a\r\nb", "\ud800", "", "limit:three:ann"])
async def test_whatever_a_name_is_it_is_counted_by_itself(limits, name):
    for _ in range(3):
        await limits.take(THREE, name)
    with pytest.raises(RateLimited):
        await limits.take(THREE, name)
    await limits.take(THREE, f"{name}.")


async def test_two_limits_do_not_share_a_count(limits):
    for _ in range(3):
        await limits.take(THREE, "ann")
    await limits.take(FAILED_LOGINS_OF_ACCOUNT, "ann")


@pytest.mark.requirement("d29.suspicious")
async def test_the_twentieth_failure_within_five_minutes_is_told_once(clock):
    counters = LocalCounters(ticks=clock.monotonic)
    told: list[tuple[str, str, str]] = []
    instances = [Watch(Limits(counters), tell=lambda *what: told.append(what)) for _ in range(2)]
    for number in range(19):
        await instances[number % 2].failed(subject="ann", address=f"192.0.2.{number}")
    assert told == []
    for number in range(19, 60):
        await instances[number % 2].failed(subject="ann", address=f"192.0.2.{number}")
    assert told == [("subject", "ann", "20")]
    clock.advance(SUSPICIOUS.period)
    for _ in range(20):
        await instances[0].failed(address="192.0.2.1")
    assert told[1:] == [("address", "192.0.2.1", "20")]


async def test_where_nobody_is_known_nothing_is_counted(clock):
    counters = LocalCounters(ticks=clock.monotonic)
    told: list[tuple[str, str, str]] = []
    watch = Watch(Limits(counters), tell=lambda *what: told.append(what))
    for _ in range(30):
        await watch.failed()
    assert told == []
