"""R-13: the wall clock of one process is set on or back; and who read the steady clock too early."""

import asyncio
from pathlib import Path

import pytest

from tests.stores.values import NOW, a_connection
from valetkey.adapters.sql.connections import SqlConnections
from valetkey.adapters.sql.queues import SqlLeaders
from valetkey.adapters.sql.sqlite import SqliteDatabase
from valetkey.model.connections import Health

HOUR = 3600.0


@pytest.mark.requirement("B.shown-clock", "R-13")
@pytest.mark.node
@pytest.mark.parametrize("whose", ["the holder's", "the waiter's"])
@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["on", "back"])
def test_a_clock_that_is_set_during_a_refresh_makes_no_second_one(place, step, whose):
    account = place.account(ends_in=-2 * HOUR)
    holder, waiter = place.worker(), place.worker()
    place.oidc.lifetime(2 * 3600)
    place.oidc.hold(account.refresh_token, "after")
    calls = [holder.begin("call", owner="ann")]
    place.oidc.wait_held(account.refresh_token)
    (holder if whose == "the holder's" else waiter).do("step", seconds=step)
    calls.append(waiter.begin("call", owner="ann", callers=20))
    place.oidc.release(account.refresh_token)
    outcomes = holder.end(calls[0]) + waiter.end(calls[1])
    access, refresh = place.tokens()
    family = place.oidc.family(account.refresh_token)
    assert {outcome.get("token") for outcome in outcomes} == {access}
    assert (family.refreshes, family.alive, family.newest) == (1, True, refresh)


@pytest.mark.requirement("B.shown-clock", "R-13")
@pytest.mark.node
def test_a_clock_that_goes_back_does_not_freeze_the_back_off(place):
    account = place.account(ends_in=-2 * HOUR)
    worker = place.worker(scale=0.1)
    place.oidc.hold(account.refresh_token, "before")
    failed = worker.call("ann")
    assert failed["error"] in {"ProviderUnavailable", "ExchangeFailed"}
    assert place.held().health is Health.TRANSIENT
    place.oidc.grace(account.refresh_token, 60)  # the held one is handled, too
    place.oidc.release(account.refresh_token)
    worker.do("step", seconds=-HOUR)
    outcome = worker.call("ann")
    assert outcome["token"] == place.tokens()[0]
    assert place.held().health is Health.OK


class Ticks:
    """What a process read from the steady clock before it could write."""

    def __init__(self) -> None:
        self.told = 0.0

    def __call__(self) -> float:
        return self.told


@pytest.mark.requirement("rel.steady-clock")
@pytest.mark.parametrize("late", [0.001, 5.0, 30.0])
def test_who_read_the_steady_clock_before_another_took_the_lease_does_not_take_it_too(home: Path, late):
    faster, slower = Ticks(), Ticks()
    faster.told, slower.told = 1000.0, 1000.0 - late
    databases = [SqliteDatabase(home / "valetkey.db", ticks=ticks) for ticks in (faster, slower)]
    first, second = (SqlConnections(database) for database in databases)
    row = a_connection()

    async def work() -> list[bool]:
        await first.insert(row)
        taken = [
            await store.lease(row.id, generation=1, owner=name, attempt=name, now=NOW, ttl=20)
            for store, name in ((first, "faster"), (second, "slower"))
        ]
        return taken + [
            await SqlLeaders(database).lead("work", owner=name, ttl=60)
            for database, name in zip(databases, ("faster", "slower"), strict=True)
        ]

    assert asyncio.run(work()) == [True, False, True, False]
    for database in databases:
        database.close()


@pytest.mark.requirement("rel.steady-clock")
def test_a_lease_from_before_a_restart_of_the_machine_is_no_lease(home: Path):
    ticks = Ticks()
    ticks.told = 9000.0
    database = SqliteDatabase(home / "valetkey.db", ticks=ticks)
    store = SqlConnections(database)
    row = a_connection()

    async def work() -> list[bool]:
        await store.insert(row)
        taken = await store.lease(row.id, generation=1, owner="before", attempt="a", now=NOW, ttl=20)
        ticks.told = 3.0
        return [taken, await store.lease(row.id, generation=1, owner="after", attempt="b", now=NOW, ttl=20)]

    assert asyncio.run(work()) == [True, True]
    database.close()
