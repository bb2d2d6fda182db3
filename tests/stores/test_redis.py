"""What only Redis and Valkey do: what is stored how, and what was damaged, evicted or of another version."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from tests.stores.values import ADA, BOB, NOW, Stores, a_connection, a_revocation, an_interaction, in_redis
from tests.vault.keys import a_vault, seal_full
from tests.vault.test_at_rest import CANARIES, spellings
from valetkey.adapters.redis_client import PREFIX
from valetkey.errors import StoreUnavailable
from valetkey.model.connections import Cause, Health, Sealed, Standing, key_id_of
from valetkey.model.interactions import InteractionKind, Phase


@pytest.fixture
def redis_stores(valkey_emptied: Stores) -> Stores:
    return valkey_emptied


@pytest.fixture
async def server(valkey) -> AsyncIterator[Redis]:
    """The server itself, as another program sees it."""
    async with Redis.from_url(valkey.url) as client:
        yield client


def key(kind: str, row_id: str) -> str:
    return f"{PREFIX}{kind}:{row_id}"


async def test_every_key_is_ours_on_one_node_and_ends_with_nobody_s_clock(redis_stores, server):
    await redis_stores.connections.insert(a_connection(refresh_at=NOW))
    await redis_stores.interactions.open(an_interaction())
    await redis_stores.revocations.add(a_revocation())
    names = [name.decode() for name in await server.keys("*")]
    assert len(names) > 8
    assert all(name.startswith("{valetkey}:") for name in names)
    assert {await server.ttl(name) for name in names} == {-1}


async def test_a_row_that_is_gone_leaves_nothing_behind(redis_stores, server):
    row = a_connection(refresh_at=NOW)
    await redis_stores.connections.insert(row)
    await redis_stores.connections.lease(row.id, generation=1, owner="p", attempt="a", now=NOW, ttl=9)
    await redis_stores.connections.save(replace(row, generation=2, profile="work"), generation=1)
    await redis_stores.connections.delete(row.id)
    asked = a_revocation()
    await redis_stores.revocations.add(asked)
    await redis_stores.revocations.remove(asked.id)
    question = an_interaction()
    await redis_stores.interactions.open(question)
    await redis_stores.interactions.save(replace(question, phase=Phase.ANSWERED, version=2), version=1)
    assert await redis_stores.interactions.sweep(before=NOW + 601, unsettled_before=NOW + 601) == 1
    assert await redis_stores.leaders.lead("sweep", owner="p", ttl=60)
    await redis_stores.leaders.resign("sweep", owner="p")
    assert await server.keys("*") == [b"{valetkey}:format"]


@pytest.mark.requirement("V-01", "d13.redis", "hp.session-redis")
async def test_nothing_is_stored_in_the_clear(redis_stores, server):
    """V-01."""
    sealer, _ = a_vault()
    row = a_connection()
    sealed = seal_full(sealer, connection_id=row.id)
    private = sealer.seal_private({"code": "canary-code"}, interaction_id="q1", owner=ADA, part="payload")
    await redis_stores.connections.insert(replace(row, sealed=sealed))
    await redis_stores.interactions.open(an_interaction(id="q1", payload=private))
    await redis_stores.revocations.add(a_revocation(sealed=sealed))
    dump = b"".join([await server.dump(name) or b"" for name in await server.keys("*")])
    assert row.id.encode() in dump
    assert [text for text in CANARIES if any(spelling in dump for spelling in spellings(text))] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("generation", "many"),
        ("health", "excellent"),
        ("scopes", "{"),
        ("expires_at", "tomorrow"),
        ("account", b"\xff"),
        ("sealed", None),
        ("handler", None),
    ],
)
async def test_a_damaged_row_fails_alone(redis_stores, server, caplog, field, value):
    """R-37."""
    bad, good = a_connection(refresh_at=NOW), a_connection(profile="work", refresh_at=NOW)
    await redis_stores.connections.insert(bad)
    await redis_stores.connections.insert(good)
    if value is None:
        await server.hdel(key("connection", bad.id), field)
    else:
        await server.hset(key("connection", bad.id), field, value)
    with pytest.raises(StoreUnavailable, match=r"damaged, or of a newer version. Upgrade valetkey, or remove it"):
        await redis_stores.connections.get(ADA, "slack", "default")
    with pytest.raises(StoreUnavailable, match=bad.id):
        await redis_stores.connections.by_id(bad.id)
    assert list(await redis_stores.connections.of_owner(ADA)) == [good]
    assert list(await redis_stores.connections.page()) == [good]
    assert list(await redis_stores.connections.due(now=NOW, limit=9)) == [good]
    assert list(await redis_stores.connections.sealed_by(key_id_of(good.sealed))) == [good]
    assert bad.id in caplog.text
    assert await redis_stores.connections.delete(bad.id) is None
    assert await redis_stores.connections.insert(bad) is True


async def test_damaged_questions_and_revocations_fail_alone(redis_stores, server, caplog):
    rows = [an_interaction(topic="a"), an_interaction(topic="b")]
    asked = [a_revocation(), a_revocation()]
    for row, revocation in zip(rows, asked, strict=True):
        await redis_stores.interactions.open(row)
        await redis_stores.revocations.add(revocation)
    await server.hset(key("interaction", rows[0].id), "about", "[]")
    await server.hset(key("revocation", asked[0].id), "tries", "x")
    with pytest.raises(StoreUnavailable, match=r"damaged, or of a newer version. Upgrade valetkey, or begin again"):
        await redis_stores.interactions.get(rows[0].id)
    assert list(await redis_stores.interactions.of_owner(ADA, InteractionKind.CONNECT)) == [rows[1]]
    assert list(await redis_stores.interactions.page()) == [rows[1]]
    assert list(await redis_stores.revocations.page()) == [asked[1]]
    assert list(await redis_stores.revocations.due(now=NOW, limit=9)) == [asked[1]]
    assert caplog.text.count("cannot be read") == 4


@pytest.mark.requirement("R-21.leases")
async def test_what_a_newer_version_wrote_beside_is_passed_over_and_kept(redis_stores, server):
    row, question, asked = a_connection(), an_interaction(), a_revocation()
    await redis_stores.connections.insert(row)
    await redis_stores.interactions.open(question)
    await redis_stores.revocations.add(asked)
    for kind, row_id in (("connection", row.id), ("interaction", question.id), ("revocation", asked.id)):
        await server.hset(key(kind, row_id), "of_tomorrow", b"\xff\x00")
    assert await redis_stores.connections.by_id(row.id) == row
    assert await redis_stores.interactions.get(question.id) == question
    assert list(await redis_stores.revocations.page()) == [asked]
    assert await redis_stores.connections.save(replace(row, generation=2, account=None), generation=1)
    assert await server.hget(key("connection", row.id), "of_tomorrow") == b"\xff\x00"
    assert await redis_stores.connections.by_id(row.id) == replace(row, generation=2, account=None)


async def test_what_an_older_version_did_not_write_has_its_default(redis_stores, server):
    row = a_connection(refresh_at=NOW, health=Health.TRANSIENT)
    await redis_stores.connections.insert(row)
    await server.hdel(key("connection", row.id), "refresh_at", "cause", "key_id")
    assert await redis_stores.connections.by_id(row.id) == replace(row, refresh_at=None)


async def test_a_row_that_the_server_evicted_is_not_there_and_its_place_is_free(redis_stores, server):
    row, question = a_connection(refresh_at=NOW), an_interaction()
    await redis_stores.connections.insert(row)
    await redis_stores.interactions.open(question)
    await server.delete(key("connection", row.id), key("interaction", question.id))
    assert await redis_stores.connections.get(ADA, "slack", "default") is None
    assert list(await redis_stores.connections.of_owner(ADA)) == []
    assert list(await redis_stores.connections.page()) == []
    assert list(await redis_stores.connections.due(now=NOW, limit=5)) == []
    assert await redis_stores.connections.save(replace(row, generation=2), generation=1) is False
    assert await redis_stores.connections.insert(a_connection()) is True
    again = an_interaction()
    assert await redis_stores.interactions.open(again) == again
    assert await redis_stores.interactions.find_open(InteractionKind.CONNECT, ADA, question.topic) == again


async def test_counts_follow_every_change(redis_stores):
    rows = [a_connection(owner=owner, profile=str(number)) for number in range(3) for owner in (ADA, BOB)]
    for row in rows:
        await redis_stores.connections.insert(row)
    new = Sealed(b"\x01\x05key-2nonce")
    assert await redis_stores.connections.reseal([(row, new) for row in rows[:4]]) == 4
    await redis_stores.connections.save(
        replace(rows[0], sealed=new, provider="google", health=Health.NEEDS_REAUTH, generation=2), generation=1
    )
    await redis_stores.connections.delete(rows[1].id)
    await redis_stores.connections.delete(rows[1].id)
    old_key = next(name for name in await redis_stores.connections.keys() if name != "key-2")
    assert dict(await redis_stores.connections.keys()) == {"key-2": 3, old_key: 2}
    assert dict(await redis_stores.connections.census()) == {
        ("slack", Health.OK): 4,
        ("google", Health.NEEDS_REAUTH): 1,
    }


async def test_many_that_wait_hide_none_that_is_due(redis_stores, server):
    rows = [a_connection(profile=str(number), refresh_at=NOW - 900, next_try_at=NOW + 60) for number in range(1100)]
    async with asyncio.TaskGroup() as group:
        for row in rows:
            group.create_task(redis_stores.connections.insert(row))
    late, later = a_connection(profile="late", refresh_at=NOW - 1), a_connection(profile="later", refresh_at=NOW - 2)
    for row in (late, later):
        await redis_stores.connections.insert(row)
    assert list(await redis_stores.connections.due(now=NOW, limit=5)) == [later, late]
    calm = Standing(health=Health.OK, cause=Cause.NONE, reason="", fail_count=0, next_try_at=0.0, at=NOW)
    assert await redis_stores.connections.note(rows[0].id, generation=1, standing=calm)
    assert [row.id for row in await redis_stores.connections.due(now=NOW, limit=2)] == [rows[0].id, later.id]
    assert len(await redis_stores.connections.due(now=NOW + 60, limit=9)) == 9


async def test_scripts_that_the_server_forgot_are_sent_again(redis_stores, server):
    row = a_connection()
    await redis_stores.connections.insert(row)
    await server.script_flush()
    assert await redis_stores.connections.by_id(row.id) == row
    await server.script_flush()
    assert await redis_stores.connections.save(replace(row, generation=2), generation=1) is True


@pytest.mark.requirement("rel.steady-clock")
async def test_the_lease_is_told_by_the_server_s_clock(redis_stores, server):
    row = a_connection()
    await redis_stores.connections.insert(row)
    assert await redis_stores.connections.lease(row.id, generation=1, owner="p", attempt="a", now=1.0, ttl=60)
    held = await redis_stores.connections.by_id(row.id)
    seconds, _ = await server.time()
    assert 55 < held.lease_until - seconds < 62
    assert held.attempt_started == 1.0


async def test_a_full_server_takes_nothing_and_half_of_nothing(redis_stores, server, valkey):
    row, other = a_connection(refresh_at=NOW), a_connection(profile="work")
    question, asked = an_interaction(), a_revocation()
    await redis_stores.connections.insert(row)
    await redis_stores.interactions.open(question)
    before = {name: await server.dump(name) for name in await server.keys("*")}
    await server.config_set("maxmemory", "1")
    try:
        for write in (
            lambda: redis_stores.connections.insert(other),
            lambda: redis_stores.connections.save(replace(row, generation=2, profile="new"), generation=1),
            lambda: redis_stores.connections.lease(row.id, generation=1, owner="p", attempt="a", now=NOW, ttl=9),
            lambda: redis_stores.connections.delete(row.id, revocation=asked),
            lambda: redis_stores.connections.reseal([(row, Sealed(b"\x01\x01knew"))]),
            lambda: redis_stores.interactions.open(an_interaction(topic="other")),
            lambda: redis_stores.interactions.save(replace(question, version=2, phase=Phase.DONE), version=1),
            lambda: redis_stores.revocations.add(asked),
            lambda: redis_stores.leaders.lead("sweep", owner="p", ttl=9),
        ):
            with pytest.raises(StoreUnavailable, match="no memory left"):
                await write()
        assert await redis_stores.connections.by_id(row.id) == row
    finally:
        await server.config_set("maxmemory", "0")
    assert {name: await server.dump(name) for name in await server.keys("*")} == before


async def test_many_rows_are_swept_a_part_at_a_time(redis_stores):
    async with asyncio.TaskGroup() as group:
        for number in range(1500):
            group.create_task(redis_stores.interactions.open(an_interaction(topic=str(number), expires_at=NOW - 1)))
    assert await redis_stores.interactions.sweep(before=NOW) == 1500
    assert list(await redis_stores.interactions.page()) == []


def test_closing_leaves_no_connection_and_a_later_use_makes_one(valkey):
    stores = in_redis(valkey.url)
    row = a_connection(profile="closing")

    async def use() -> object:
        return await stores.connections.insert(row), await stores.connections.by_id(row.id)

    assert asyncio.run(use()) == (True, row)
    stores.close()
    assert asyncio.run(use()) == (False, row)
    stores.close()
    stores.close()


def test_the_url_is_printed_nowhere(valkey):
    stores = in_redis("redis://ada:hunter2@127.0.0.1:1/0")
    database = stores.connections._client  # type: ignore[attr-defined]
    assert "hunter2" not in f"{database!r} {database.name} {vars(database)!r}"
