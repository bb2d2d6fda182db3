"""What every connection store does."""

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.stores.values import ADA, BOB, NOW, Stores, a_connection, fresh_id
from valetkey.adapters.memory import MemoryConnections
from valetkey.model.caller import Owner
from valetkey.model.connections import Health, Sealed


async def test_what_is_inserted_comes_back_whole(stores):
    put = a_connection(
        health=Health.TRANSIENT,
        reason="provider did not answer",
        lease_owner="process 1",
        lease_until=NOW + 20.25,
        attempt_id="attempt 1",
        attempt_started=NOW + 0.125,
        fail_count=3,
        next_try_at=NOW + 7.5,
        updated_at=NOW + 1,
    )
    assert await stores.connections.insert(put) is True
    assert await stores.connections.get(ADA, "slack", "default") == put
    assert await stores.connections.by_id(put.id) == put


async def test_what_is_unknown_stays_unknown(stores):
    put = a_connection(
        issued_at=None, expires_at=None, account=None, scopes=frozenset(), sealed=Sealed(b""), refreshable=False
    )
    await stores.connections.insert(put)
    assert await stores.connections.by_id(put.id) == put


async def test_what_is_not_there_is_none(stores):
    await stores.connections.insert(a_connection())
    assert await stores.connections.get(ADA, "slack", "work") is None
    assert await stores.connections.get(ADA, "google", "default") is None
    assert await stores.connections.get(BOB, "slack", "default") is None
    assert await stores.connections.by_id(fresh_id()) is None
    assert await stores.connections.of_owner(BOB) == []
    assert await stores.connections.delete(fresh_id()) is None


@pytest.mark.parametrize("part", ["workspace", "issuer", "subject"])
async def test_owners_that_differ_in_one_part_never_meet(stores, part):
    other = replace(ADA, **{part: "another"})
    mine, theirs = a_connection(owner=ADA), a_connection(owner=other)
    assert await stores.connections.insert(mine)
    assert await stores.connections.insert(theirs)
    assert await stores.connections.get(ADA, "slack", "default") == mine
    assert await stores.connections.get(other, "slack", "default") == theirs
    assert list(await stores.connections.of_owner(other)) == [theirs]


async def test_parts_of_an_owner_do_not_run_into_each_other(stores):
    one = Owner(workspace="a", issuer="bc", subject="d")
    await stores.connections.insert(a_connection(owner=one))
    assert await stores.connections.get(Owner(workspace="ab", issuer="c", subject="d"), "slack", "default") is None


async def test_an_owner_s_connections_come_ordered_by_provider_and_profile(stores):
    places = [("slack", "work"), ("google", "Z"), ("slack", "default"), ("google", "a"), ("google", "é")]
    for provider, profile in places:
        await stores.connections.insert(a_connection(provider=provider, profile=profile))
    await stores.connections.insert(a_connection(owner=BOB))

    everything = await stores.connections.of_owner(ADA)
    assert [(each.provider, each.profile) for each in everything] == [
        ("google", "Z"),
        ("google", "a"),
        ("google", "é"),
        ("slack", "default"),
        ("slack", "work"),
    ]
    at_slack = await stores.connections.of_owner(ADA, "slack")
    assert [each.profile for each in at_slack] == ["default", "work"]


async def test_an_account_is_inserted_once(stores):
    first = a_connection()
    assert await stores.connections.insert(first) is True
    assert await stores.connections.insert(a_connection()) is False
    assert await stores.connections.insert(a_connection(id=first.id, profile="work")) is False
    assert list(await stores.connections.of_owner(ADA)) == [first]


async def test_of_many_who_insert_one_account_at_once_one_does(stores):
    results = await asyncio.gather(*(stores.connections.insert(a_connection()) for _ in range(40)))
    assert results.count(True) == 1
    assert len(await stores.connections.of_owner(ADA)) == 1


async def test_save_replaces_every_column_of_the_generation_that_it_names(stores):
    old = a_connection()
    await stores.connections.insert(old)
    new = a_connection(
        id=old.id,
        handler="token",
        profile="work",
        scopes=frozenset({"admin"}),
        sealed=Sealed(b"another"),
        generation=2,
        issued_at=NOW + 10,
        expires_at=None,
        refreshable=False,
        account=None,
        health=Health.NEEDS_REAUTH,
        reason="revoked",
        fail_count=1,
        next_try_at=NOW + 9,
        updated_at=NOW + 10,
    )
    assert await stores.connections.save(new, generation=1) is True
    assert await stores.connections.by_id(old.id) == new
    assert await stores.connections.get(ADA, "slack", "work") == new
    assert await stores.connections.get(ADA, "slack", "default") is None
    assert list(await stores.connections.of_owner(ADA)) == [new]


@pytest.mark.requirement("d13.redis")
async def test_save_writes_nothing_where_the_generation_moved_on(stores):
    old = a_connection(generation=5)
    await stores.connections.insert(old)
    for generation in (4, 6):
        assert await stores.connections.save(replace(old, generation=7), generation=generation) is False
    assert await stores.connections.by_id(old.id) == old


@pytest.mark.requirement("B1.deletion", "L-13")
async def test_save_does_not_bring_back_what_was_deleted(stores):
    old = a_connection()
    await stores.connections.insert(old)
    await stores.connections.delete(old.id)
    assert await stores.connections.save(replace(old, generation=2), generation=1) is False
    assert await stores.connections.by_id(old.id) is None


async def test_save_does_not_take_another_connection_s_place(stores):
    default, work = a_connection(), a_connection(profile="work")
    await stores.connections.insert(default)
    await stores.connections.insert(work)
    assert await stores.connections.save(replace(work, profile="default", generation=2), generation=1) is False
    assert list(await stores.connections.of_owner(ADA)) == [default, work]


@pytest.mark.requirement("B2.suite")
async def test_of_many_who_save_one_generation_at_once_one_does(stores):
    row = a_connection()
    await stores.connections.insert(row)
    for generation in range(1, 6):
        rivals = [
            replace(row, generation=generation + 1, sealed=Sealed(b"%d by %d" % (generation, number)))
            for number in range(10)
        ]
        results = await asyncio.gather(*(stores.connections.save(rival, generation=generation) for rival in rivals))
        assert results.count(True) == 1
        assert await stores.connections.by_id(row.id) == rivals[results.index(True)]


async def test_deleting_gives_what_was_there_and_makes_room(stores):
    row = a_connection()
    await stores.connections.insert(row)
    assert await stores.connections.delete(row.id) == row
    assert await stores.connections.delete(row.id) is None
    assert await stores.connections.get(ADA, "slack", "default") is None
    assert await stores.connections.insert(a_connection()) is True


async def take(stores: Stores, connection_id: str, name: str, *, ttl: float = 60, generation: int = 1) -> bool:
    return await stores.connections.lease(
        connection_id, generation=generation, owner=name, attempt=f"{name}-1", now=NOW, ttl=ttl
    )


async def test_a_lease_leaves_its_attempt_in_the_row_and_nothing_else(stores):
    row = a_connection()
    await stores.connections.insert(row)
    assert await take(stores, row.id, "p1") is True
    held = await stores.connections.by_id(row.id)
    assert held.lease_until > 0
    assert replace(held, lease_until=0.0) == replace(row, lease_owner="p1", attempt_id="p1-1", attempt_started=NOW)
    assert (await stores.connections.get(ADA, "slack", "default")).lease_owner == "p1"


async def test_a_lease_is_taken_once_until_it_ends(stores):
    row = a_connection()
    await stores.connections.insert(row)
    assert await take(stores, row.id, "p1", ttl=60) is True
    assert await take(stores, row.id, "p1") is False
    assert await take(stores, row.id, "p2") is False
    assert (await stores.connections.by_id(row.id)).attempt_id == "p1-1"


@pytest.mark.requirement("B1.lost-after-look")
async def test_a_lease_follows_the_attempt_that_was_seen_and_no_other(stores):
    row = a_connection(attempt_id="lost")
    await stores.connections.insert(row)

    async def follow(seen):
        return await stores.connections.lease(
            row.id, generation=1, owner="p1", attempt="next", now=NOW, ttl=60, seen=seen
        )

    assert await follow("") is False
    assert await follow("another") is False
    assert await stores.connections.by_id(row.id) == row
    assert await follow("lost") is True


async def test_a_lease_that_ended_is_another_s(stores):
    row = a_connection()
    await stores.connections.insert(row)
    assert await take(stores, row.id, "p1", ttl=0.2) is True
    assert await take(stores, row.id, "p2", ttl=60) is False
    async with asyncio.timeout(5):
        while not await take(stores, row.id, "p2", ttl=60):  # noqa: ASYNC110 - the clock is the store's own
            await asyncio.sleep(0.02)
    assert (await stores.connections.by_id(row.id)).attempt_id == "p2-1"


@pytest.mark.requirement("B1.row")
async def test_no_lease_on_another_generation_nor_on_nothing(stores):
    row = a_connection(generation=3)
    await stores.connections.insert(row)
    assert await take(stores, row.id, "p1", generation=2) is False
    assert await take(stores, fresh_id(), "p1") is False
    assert await stores.connections.by_id(row.id) == row


@pytest.mark.requirement("B1.row", "B2.suite", "R-18", "d13.redis")
async def test_of_many_who_take_the_lease_at_once_one_does(stores):
    row = a_connection()
    await stores.connections.insert(row)
    results = await asyncio.gather(*(take(stores, row.id, f"p{number}") for number in range(40)))
    assert results.count(True) == 1
    assert (await stores.connections.by_id(row.id)).lease_owner == f"p{results.index(True)}"


async def test_only_who_holds_the_lease_gives_it_back(stores):
    row = a_connection()
    await stores.connections.insert(row)
    await take(stores, row.id, "p1")
    held = await stores.connections.by_id(row.id)

    await stores.connections.release(row.id, owner="p2", attempt="p1-1", unclear=False)
    await stores.connections.release(row.id, owner="p1", attempt="p1-0", unclear=False)
    await stores.connections.release(fresh_id(), owner="p1", attempt="p1-1", unclear=False)
    assert await stores.connections.by_id(row.id) == held

    await stores.connections.release(row.id, owner="p1", attempt="p1-1", unclear=False)
    assert await stores.connections.by_id(row.id) == row
    assert await take(stores, row.id, "p2") is True


@pytest.mark.requirement("B1.attempt")
async def test_an_attempt_of_which_nobody_knows_what_became_leaves_its_trace(stores):
    row = a_connection()
    await stores.connections.insert(row)
    await take(stores, row.id, "p1")
    await stores.connections.release(row.id, owner="p1", attempt="p1-1", unclear=True)
    assert await stores.connections.by_id(row.id) == replace(row, attempt_id="p1-1", attempt_started=NOW)
    assert await take(stores, row.id, "p2") is True


async def test_save_ends_the_lease_as_the_connection_says(stores):
    row = a_connection()
    await stores.connections.insert(row)
    await take(stores, row.id, "p1")
    await stores.connections.save(replace(row, generation=2), generation=1)
    assert await take(stores, row.id, "p2", generation=2) is True


def in_threads(works: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Each on a loop and a thread of its own, begun together."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], Awaitable[Any]]) -> Any:
        start.wait(10)
        return asyncio.run(as_coroutine(work))

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


async def as_coroutine(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()


def test_loops_on_several_threads_share_a_store(stores):
    def inserting(number: int) -> Callable[[], Awaitable[Any]]:
        return lambda: stores.connections.insert(a_connection(profile=f"p{number // 2}"))

    results = in_threads([inserting(number) for number in range(8)])
    assert results.count(True) == 4
    assert len(asyncio.run(as_coroutine(lambda: stores.connections.of_owner(ADA)))) == 4


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as Python lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_reader_on_another_thread_never_misses_a_row_that_is_being_replaced(stores, restless):
    row = a_connection()
    saves = 4000 if isinstance(stores.connections, MemoryConnections) else 60
    asyncio.run(as_coroutine(lambda: stores.connections.insert(row)))
    ended = threading.Event()

    async def write() -> None:
        for generation in range(1, saves):
            assert await stores.connections.save(replace(row, generation=generation + 1), generation=generation)

    async def writing() -> None:
        try:
            await write()
        finally:
            ended.set()

    async def read() -> int:
        seen = 0
        while not ended.is_set():
            found = await stores.connections.get(ADA, "slack", "default")
            assert found is not None
            assert found.generation >= seen
            seen = found.generation
        return seen

    assert len(in_threads([writing, read, read])) == 3
