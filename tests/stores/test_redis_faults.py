"""What goes wrong with a Redis server, and what is said about it."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.real.tls import tls_before
from tests.real.valkey import Valkey, running
from tests.stores.values import ADA, NOW, Stores, a_connection, an_interaction, in_redis
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.redis_client import RedisClient
from valetkey.errors import InvalidSetting, StoreUnavailable
from valetkey.secret import Secret

INTERNALS = ("redis.", "ConnectionError", "HGET", "Traceback", "Errno", "hunter2")


@contextmanager
def refused(match: str) -> Iterator[None]:
    """The store says that it cannot be used, why, and what to do; in plain words, and in no other ones behind."""
    with pytest.raises(StoreUnavailable, match=match) as caught:
        yield
    assert not any(word in str(caught.value) for word in INTERNALS)
    assert str(caught.value).endswith(".")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with running() as valkey:
        yield valkey


@pytest.fixture
def redis_stores(server: Valkey) -> Iterator[Stores]:
    """Stores in a server that this file's tests stop, hold and start again."""
    server.tell("FLUSHALL")
    stores = in_redis(server.url, deadline=2)
    yield stores
    stores.close()


async def everything(stores: Stores) -> None:
    """One of each kind of use."""
    row = a_connection()
    for use in (
        lambda: stores.connections.by_id(row.id),
        lambda: stores.connections.get(ADA, "slack", "default"),
        lambda: stores.connections.insert(row),
        lambda: stores.connections.lease(row.id, generation=1, owner="p", attempt="a", now=NOW, ttl=9),
        lambda: stores.interactions.open(an_interaction()),
        lambda: stores.interactions.sweep(before=NOW),
        lambda: stores.revocations.due(now=NOW, limit=1),
        lambda: stores.leaders.lead("sweep", owner="p", ttl=9),
    ):
        with refused(r"^The redis 127\.0\.0\.1:\d+/0 cannot be reached\. Start it, or correct its address"):
            await use()


async def test_a_server_that_is_not_there_is_named_with_what_to_do():
    stores = in_redis(f"redis://ada:hunter2@127.0.0.1:{free_port()}/0")
    await everything(stores)
    await asyncio.to_thread(stores.close)


async def test_after_a_restart_the_store_goes_on_by_itself(server, redis_stores):
    async with asyncio.TaskGroup() as group:  # several connections of the pool
        for number in range(8):
            group.create_task(redis_stores.connections.insert(a_connection(profile=str(number))))
    server.kill()
    with refused("cannot be reached"):
        await redis_stores.connections.by_id("x")
    server.start()
    assert await redis_stores.connections.by_id("x") is None
    async with asyncio.TaskGroup() as group:
        inserted = [
            group.create_task(redis_stores.connections.insert(a_connection(profile=str(number)))) for number in range(8)
        ]
    assert all(task.result() for task in inserted)


async def test_a_server_that_stands_still_costs_no_more_than_the_deadline(server):
    stores = in_redis(server.url, deadline=0.3)
    row = a_connection(profile="still")
    await stores.connections.insert(row)
    with server.held():
        began = time.monotonic()
        with refused(r"did not answer in time\. Try again"):
            await stores.connections.by_id(row.id)
        async with asyncio.timeout(5):  # more than the pool has connections, and new ones must be made
            outcomes = await asyncio.gather(
                *(stores.connections.by_id(row.id) for _ in range(40)), return_exceptions=True
            )
        assert time.monotonic() - began < 3
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    assert await stores.connections.by_id(row.id) == row
    await asyncio.to_thread(stores.close)


async def test_a_write_goes_on_when_the_one_who_waits_is_cancelled(server, redis_stores, caplog):
    """A rotated token that was handed over is not lost with the call that brought it."""
    row = a_connection()
    await redis_stores.connections.insert(row)
    with server.held():
        save = asyncio.create_task(redis_stores.connections.save(replace(row, generation=2), generation=1))
        await asyncio.sleep(0.05)
        save.cancel()
        with pytest.raises(asyncio.CancelledError):
            await save
    async with asyncio.timeout(5):
        while (await redis_stores.connections.by_id(row.id)).generation != 2:  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.01)
    assert caplog.records == []


@pytest.mark.requirement("R-16")
@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_what_was_acknowledged_before_a_kill_is_there_after_it(kills):
    """R-16 and R-19: a server that writes each change before it answers, killed under load again and again."""
    with running(keep=True) as server:
        stores = in_redis(server.url, deadline=1)
        rows = [a_connection(profile=str(number)) for number in range(4)]
        for row in rows:
            await stores.connections.insert(row)
        acknowledged: dict[str, list[int]] = {row.id: [] for row in rows}
        ended = asyncio.Event()

        async def write(row_id: str) -> None:
            while not ended.is_set():
                try:
                    row = await stores.connections.by_id(row_id)
                    assert row is not None
                    newer = replace(row, generation=row.generation + 1)
                    if await stores.connections.save(newer, generation=row.generation):
                        acknowledged[row_id].append(newer.generation)
                except StoreUnavailable:
                    await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            for row in rows * 3:
                group.create_task(write(row.id))
            for _ in range(kills):
                await _more(acknowledged)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            await _more(acknowledged)
            ended.set()
        for row in rows:
            found = await stores.connections.by_id(row.id)
            assert found is not None
            told = acknowledged[row.id]
            assert len(told) == len(set(told))  # of all who wrote a generation, one was told that it did
            assert found.generation >= max(told)
        await asyncio.to_thread(stores.close)


async def _more(acknowledged: dict[str, list[int]]) -> None:
    """Wait until each row was written a few times more."""
    before = {row_id: len(told) for row_id, told in acknowledged.items()}
    async with asyncio.timeout(20):
        while any(len(told) < before[row_id] + 3 for row_id, told in acknowledged.items()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_after_a_flush_there_is_nothing_and_all_goes_on(server, redis_stores):
    row, question = a_connection(), an_interaction()
    await redis_stores.connections.insert(row)
    await redis_stores.interactions.open(question)
    server.tell("FLUSHALL")
    assert await redis_stores.connections.get(ADA, "slack", "default") is None
    assert await redis_stores.connections.save(replace(row, generation=2), generation=1) is False
    assert await redis_stores.interactions.open(question) == question
    assert await redis_stores.connections.insert(row) is True


async def test_a_replica_is_told_from_a_server_that_is_down(server, redis_stores):
    row = a_connection()
    await redis_stores.connections.insert(row)
    server.tell("REPLICAOF", "127.0.0.1", "1")
    try:
        with refused("may only be read, as a replica is. Point the setting to the primary"):
            await redis_stores.connections.save(replace(row, generation=2), generation=1)
        assert await redis_stores.connections.by_id(row.id) == row
    finally:
        server.tell("REPLICAOF", "NO", "ONE")


async def test_passwords_work_and_are_told_nowhere(caplog):
    with running(options=("--requirepass", "hunter2/@:")) as server:
        good = in_redis(f"redis://default:hunter2%2F%40%3A@127.0.0.1:{server.port}/0")
        row = a_connection()
        assert await good.connections.insert(row) is True
        for url in (
            f"redis://default:hunter2-wrong@127.0.0.1:{server.port}/0",
            f"redis://127.0.0.1:{server.port}/0",
        ):
            bad = in_redis(url)
            with refused("refuses our user name or password. Correct them in the settings"):
                await bad.connections.by_id(row.id)
            await asyncio.to_thread(bad.close)
        database = good.connections._client  # type: ignore[attr-defined]
        pool = database._held[os.getpid()][1].connection_pool
        assert "hunter2" not in f"{database!r} {database.name} {vars(database)!r} {pool!r} {caplog.text}"
        await asyncio.to_thread(good.close)


async def test_a_user_that_may_not_is_told_from_one_that_is_not(server):
    server.tell("ACL", "SETUSER", "ada", "on", ">hunter2", "~{valetkey}:*", "+@all", "-evalsha", "-eval")
    stores = in_redis(f"redis://ada:hunter2@127.0.0.1:{server.port}/0")
    with refused("forbids our user a command or a key"):
        await stores.connections.by_id("x")
    await asyncio.to_thread(stores.close)
    server.tell("ACL", "SETUSER", "ada", "+@all", "-info", "-config")
    stores = in_redis(f"redis://ada:hunter2@127.0.0.1:{server.port}/0")
    assert await stores.connections.by_id("x") is None
    await asyncio.to_thread(stores.close)


async def test_tls_is_spoken_and_the_server_s_name_is_looked_at(server, tmp_path):
    async with tls_before(server.port, tmp_path) as (port, trusted):
        for url, ca_file in (
            (f"rediss://127.0.0.1:{port}/0", str(trusted)),
            (f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={trusted}", ""),
        ):
            stores = in_redis(url, ca_file=ca_file)
            assert await stores.connections.by_id("x") is None
            await asyncio.to_thread(stores.close)
        untrusted = in_redis(f"rediss://127.0.0.1:{port}/0")
        with refused("certificate"):
            await untrusted.connections.by_id("x")
        await asyncio.to_thread(untrusted.close)


async def test_on_a_cluster_all_keys_are_on_one_node_which_is_found():
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    with running(options=options) as first, running(options=options) as second:
        assert second.tell("CLUSTER", "ADDSLOTS", *map(str, range(16384))) == b"+OK"
        assert first.tell("CLUSTER", "MEET", "127.0.0.1", str(second.port)) == b"+OK"
        async with asyncio.timeout(20):
            while first.tell("GET", "{valetkey}:x")[:6] != b"-MOVED" or second.tell("GET", "{valetkey}:x") != b"$-1":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        stores = in_redis(first.url)
        row = a_connection(refresh_at=NOW)
        assert await stores.connections.insert(row) is True
        assert await stores.connections.save(replace(row, generation=2), generation=1) is True
        found = await stores.connections.get(ADA, "slack", "default")
        assert found is not None
        assert found.generation == 2
        assert second.tell("EXISTS", f"{{valetkey}}:connection:{row.id}") == b":1"
        await asyncio.to_thread(stores.close)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "localhost:6379",
        "",
        "redis://ada:hunt/er2@localhost:6379/0",
        "redis://:hunter2@[::1/0",
        "redis://localhost:hunter2/0",
        "redis://localhost/0?max_connections=hunter2",
    ],
)
def test_an_address_that_is_none_is_named_by_its_setting_and_not_shown(url):
    with pytest.raises(InvalidSetting, match="The setting redis_url is no address of a Redis server") as caught:
        RedisClient(Secret(url), setting="redis_url", home=HomeLoop())
    assert "hunt" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), ["keeps nothing on disk"]),
        (("--appendonly", "yes"), []),
        (("--save", "900", "1"), []),
        (
            ("--appendonly", "yes", "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"),
            ["removes keys when its memory is full (maxmemory-policy allkeys-lru)"],
        ),
        (("--appendonly", "yes", "--maxmemory", "50mb", "--maxmemory-policy", "volatile-lru"), []),
        (("--rename-command", "CONFIG", ""), []),
        (("--rename-command", "INFO", ""), []),
    ],
)
async def test_a_server_that_may_lose_rows_is_warned_of_once(caplog, options, told):
    home = HomeLoop()
    with running(options=options) as server:
        client = RedisClient(Secret(server.url), setting="redis_url", home=home, store=True)
        await client.ping()
        async with asyncio.timeout(5):
            while client._looking:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await client.ping()
        found = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(found) == len(told)
        assert all(part in text for part, text in zip(told, found, strict=True))
        await asyncio.to_thread(client.close)
    await asyncio.to_thread(home.close)


def test_after_a_fork_both_use_the_server(server):
    server.tell("FLUSHALL")
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("redis_worker.py")), "fork", server.url],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert run.stdout.splitlines() == [
        "('before', (True, 1), True)",
        "('child', (True, 2), True)",
        "('ended', 0)",
        "('parent', True, (True, 3))",
    ]
    assert run.stderr == ""
