"""Counts over a database, for instances that share it and no Redis."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.stores.values import in_postgres, in_sqlite
from valetkey.adapters.sql.counters import SqlCounters
from valetkey.testing.clock import ManualClock

ODD = ("", " ", "a\nb", "\0", "\ud800", "é" * 5000, "'; DROP TABLE counters; --")


class Instance:
    """One process: its counters, its clock, and the database beneath."""

    def __init__(self, stores: Any) -> None:
        self.clock = ManualClock()
        self.database = stores.connections._database
        self.counters = SqlCounters(self.database, clock=self.clock)

    async def add(self, key: str = "k", amount: int = 1, *, period: float = 60) -> int:
        return await self.counters.add(key, amount, period=period)


@pytest.fixture(params=["sqlite", "postgres"])
def pair(request: pytest.FixtureRequest, sqlite_path: Path) -> Iterator[list[Instance]]:
    """Two processes over one database."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            made = [in_sqlite(sqlite_path), in_sqlite(sqlite_path)]
        else:
            url = request.getfixturevalue("postgres_database")
            made = [in_postgres(url), in_postgres(url)]
        for stores in made:
            stack.callback(stores.close)
        yield [Instance(stores) for stores in made]


@pytest.mark.requirement("C7.limits")
async def test_instances_count_together_each_key_by_itself(pair):
    one, other = pair
    assert [await one.add(), await other.add(), await one.add(amount=5), await other.add()] == [1, 2, 7, 8]
    for odd in ODD:
        assert [await one.add(odd), await other.add(odd)] == [1, 2]
    sums = await asyncio.gather(*(each.add("many") for each in pair for _ in range(20)))
    assert max(sums) == await one.add("many", 0) == 40


async def test_an_amount_of_nothing_only_looks_and_begins_no_period(pair):
    one, other = pair
    assert await one.add(amount=0) == 0
    assert await one.database.read(text("SELECT * FROM counters"), {}) in ([], ())
    assert one.counters.left("k") is None
    assert await other.add(amount=3) == 3
    assert await one.add(amount=0) == 3
    assert 0 < one.counters.left("k") <= 60


async def test_a_period_ends_for_all_and_is_not_stretched(pair):
    one, other = pair
    await one.add(amount=4)
    await other.add()
    back = "UPDATE counters SET ends_at = ends_at - 61"  # on PostgreSQL the server's own clock tells it
    await one.database.write((text(back), {}))
    for each in pair:
        each.clock.advance(61 if each.database.lease_clock() is None else 0)
    assert await other.add(amount=0) == 0 or other.database.lease_clock() is not None
    for each in pair:
        each.counters._local._counts.clear()
    assert [await other.add(), await one.add()] == [1, 2]


async def test_a_clock_that_was_set_back_keeps_nobody_out(pair):
    one, other = pair
    await one.add(amount=9)
    await one.database.write((text("UPDATE counters SET ends_at = ends_at + 1000"), {}))
    assert await other.add(amount=0) == 0
    assert [await other.add(), await other.add()] == [1, 2]
    other.counters._local._counts.clear()
    assert await other.add(amount=0) == 2


async def test_without_the_database_each_counts_by_itself_and_goes_back_to_it(pair, caplog):
    one, other = pair
    assert [await one.add(), await other.add()] == [1, 2]
    await one.database.write((text("ALTER TABLE counters RENAME TO away"), {}))
    assert [await one.add(), await one.add(), await one.add(amount=0)] == [2, 3, 3]
    assert len([record for record in caplog.records if "counts limits by itself" in record.getMessage()]) == 1
    await one.database.write((text("ALTER TABLE away RENAME TO counters"), {}))
    one.clock.advance(10)
    for _ in range(20):
        await other.add()
        other.clock.advance(0.1)
    assert await one.add() > 15


async def test_counts_whose_period_is_over_are_swept(pair):
    one, other = pair
    for number in range(5):
        await one.add(str(number))
    await one.database.write((text("UPDATE counters SET ends_at = 5"), {}))
    await other.add("young")
    assert await other.counters.sweep(before=5) == 0
    assert await other.counters.sweep(before=6) == 5
    assert await one.add("young", 0) == 1
