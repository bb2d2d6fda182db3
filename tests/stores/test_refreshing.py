"""What refreshing, re-sealing and health ask of a store."""

from dataclasses import replace
from typing import Any

import pytest

from tests.stores.values import ADA, BOB, NOW, Stores, a_connection, a_revocation, fresh_id
from valetkey.model.connections import Cause, Connection, Health, Sealed, Standing

FAILED = Standing(
    health=Health.TRANSIENT,
    cause=Cause.UNAVAILABLE,
    reason="no answer",
    fail_count=3,
    next_try_at=NOW + 8,
    at=NOW + 1,
)


def by_key(key_id: str, content: bytes = b"") -> Sealed:
    """A ciphertext with the header of that key."""
    return Sealed(bytes((1, len(key_id))) + key_id.encode() + b"nonce" + content)


def with_standing(row: Connection) -> Connection:
    return replace(
        row,
        health=FAILED.health,
        cause=FAILED.cause,
        reason=FAILED.reason,
        fail_count=FAILED.fail_count,
        next_try_at=FAILED.next_try_at,
        updated_at=FAILED.at,
    )


async def leased(stores: Stores, **changes: Any) -> Connection:
    row = a_connection(**changes)
    await stores.connections.insert(row)
    assert await stores.connections.lease(row.id, generation=1, owner="p1", attempt="a1", now=NOW, ttl=60)
    held = await stores.connections.by_id(row.id)
    assert held is not None
    return held


async def test_a_failed_attempt_is_noted_and_its_lease_given_back(stores):
    row = await leased(stores)
    assert await stores.connections.note(row.id, generation=1, standing=FAILED, attempt="a1") is True
    noted = await stores.connections.by_id(row.id)
    free = replace(row, lease_owner="", lease_until=0.0, attempt_id="", attempt_started=0.0)
    assert noted == with_standing(free)


async def test_an_unclear_attempt_leaves_its_trace_when_noted(stores):
    row = await leased(stores)
    assert await stores.connections.note(row.id, generation=1, standing=FAILED, attempt="a1", unclear=True) is True
    noted = await stores.connections.by_id(row.id)
    assert noted == with_standing(replace(row, lease_owner="", lease_until=0.0))
    assert noted.attempt_id == "a1"


@pytest.mark.parametrize(("generation", "attempt"), [(2, "a1"), (1, "a0"), (1, "")])
async def test_nothing_is_noted_for_another_generation_or_attempt(stores, generation, attempt):
    row = await leased(stores)
    noted = await stores.connections.note(row.id, generation=generation, standing=FAILED, attempt=attempt)
    assert noted is False
    assert await stores.connections.by_id(row.id) == row


async def test_a_standing_without_an_attempt_leaves_the_lease_of_whoever_holds_it(stores):
    row = await leased(stores)
    assert await stores.connections.note(row.id, generation=1, standing=FAILED) is True
    assert await stores.connections.by_id(row.id) == with_standing(row)
    assert await stores.connections.note(fresh_id(), generation=1, standing=FAILED) is False


@pytest.mark.requirement("B4.ahead")
async def test_due_are_those_whose_time_has_come_the_most_urgent_first(stores):
    late = a_connection(profile="late", refresh_at=NOW - 50)
    now = a_connection(profile="now", refresh_at=NOW, health=Health.TRANSIENT, next_try_at=NOW)
    config = a_connection(profile="config", refresh_at=NOW - 20, health=Health.CONFIG_ERROR)
    for row in (
        now,
        late,
        config,
        a_connection(profile="young", refresh_at=NOW + 1),
        a_connection(profile="waits", refresh_at=NOW - 1, next_try_at=NOW + 1),
        a_connection(profile="dead", refresh_at=NOW - 1, health=Health.NEEDS_REAUTH),
        a_connection(profile="pasted", refresh_at=NOW - 1, refreshable=False),
        a_connection(profile="unknown", refresh_at=None),
    ):
        await stores.connections.insert(row)
    assert list(await stores.connections.due(now=NOW, limit=10)) == [late, config, now]
    assert list(await stores.connections.due(now=NOW, limit=1)) == [late]


async def test_pages_hold_every_owner_s_connections_once(stores):
    rows = [a_connection(owner=owner, profile=str(number)) for number in range(5) for owner in (ADA, BOB)]
    for row in rows:
        await stores.connections.insert(row)
    seen: list[Connection] = []
    while page := await stores.connections.page(after=seen[-1].id if seen else "", limit=3):
        assert len(page) <= 3
        seen += page
    assert seen == sorted(rows, key=lambda row: row.id)


async def test_the_rows_of_a_key_are_found_page_by_page(stores):
    old = sorted((a_connection(profile=f"{n}", sealed=by_key("key-1")) for n in range(3)), key=lambda row: row.id)
    other, odd = a_connection(profile="new", sealed=by_key("key-2")), a_connection(profile="odd", sealed=Sealed(b""))
    for row in (*old, other, odd):
        await stores.connections.insert(row)
    assert list(await stores.connections.sealed_by("key-1")) == old
    assert list(await stores.connections.sealed_by("key-1", after=old[0].id, limit=1)) == [old[1]]
    assert list(await stores.connections.sealed_by("")) == [odd]
    assert list(await stores.connections.sealed_by("key-3")) == []
    assert dict(await stores.connections.keys()) == {"key-1": 3, "key-2": 1, "": 1}
    assert await stores.connections.key_ids() == {"key-1", "key-2", ""}


async def test_an_empty_store_has_no_keys(stores):
    assert await stores.connections.key_ids() == frozenset()
    assert dict(await stores.connections.keys()) == {}


@pytest.mark.requirement("B3.generation")
async def test_re_sealing_changes_the_ciphertext_and_nothing_else(stores):
    row, other = a_connection(sealed=by_key("key-1")), a_connection(profile="other", sealed=by_key("key-1"))
    await stores.connections.insert(row)
    await stores.connections.insert(other)
    new = by_key("key-2", b"new")
    assert await stores.connections.reseal([(row, new), (other, new)]) == 2
    assert await stores.connections.by_id(row.id) == replace(row, sealed=new)
    assert await stores.connections.key_ids() == {"key-2"}
    assert await stores.connections.reseal([]) == 0


@pytest.mark.requirement("B2.suite", "B3.generation")
async def test_re_sealing_loses_against_whoever_saved_meanwhile(stores):
    moved, changed = a_connection(sealed=by_key("key-1")), a_connection(profile="changed", sealed=by_key("key-1"))
    for row in (moved, changed):
        await stores.connections.insert(row)
    newer = replace(moved, generation=2, sealed=by_key("key-1", b"newer"))
    await stores.connections.save(newer, generation=1)
    other = replace(changed, sealed=by_key("key-1", b"same generation"))
    await stores.connections.save(other, generation=1)
    assert await stores.connections.reseal([(moved, by_key("key-2")), (changed, by_key("key-2"))]) == 0
    assert await stores.connections.by_id(moved.id) == newer
    assert await stores.connections.by_id(changed.id) == other


async def test_the_census_counts_by_provider_and_health(stores):
    for profile, health in (("a", Health.OK), ("b", Health.OK), ("c", Health.NEEDS_REAUTH)):
        await stores.connections.insert(a_connection(profile=profile, health=health))
    await stores.connections.insert(a_connection(provider="google"))
    assert dict(await stores.connections.census()) == {
        ("slack", Health.OK): 2,
        ("slack", Health.NEEDS_REAUTH): 1,
        ("google", Health.OK): 1,
    }


@pytest.mark.requirement("rel.revocations")
async def test_a_deletion_asks_for_its_revocation_in_one_step(stores):
    row, asked = a_connection(), a_revocation()
    await stores.connections.insert(row)
    assert await stores.connections.delete(row.id, generation=1, revocation=asked) == row
    assert await stores.connections.by_id(row.id) is None
    assert list(await stores.revocations.due(now=NOW, limit=9)) == [asked]


@pytest.mark.parametrize("generation", [2, None])
async def test_what_is_not_deleted_is_not_revoked(stores, generation):
    row = a_connection()
    await stores.connections.insert(row)
    gone = fresh_id() if generation is None else row.id
    assert await stores.connections.delete(gone, generation=generation, revocation=a_revocation()) is None
    assert await stores.connections.by_id(row.id) == row
    assert list(await stores.revocations.due(now=NOW, limit=9)) == []


async def test_a_deletion_without_a_generation_revokes_too(stores):
    row, asked = a_connection(generation=7), a_revocation()
    await stores.connections.insert(row)
    assert await stores.connections.delete(row.id, revocation=asked) == row
    assert list(await stores.revocations.page()) == [asked]
