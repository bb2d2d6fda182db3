"""What goes wrong with PostgreSQL, what is said about it, and how soon it is over (R-15, R-17)."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from tests.ports import free_port
from tests.real.postgres import PASSWORD, QUOTED, USER, Pgbouncer, Postgres, find_pgbouncer
from tests.real.tls import certificate
from tests.stores.test_postgres import until
from tests.stores.values import Stores, a_connection, an_interaction, in_postgres
from valetkey.adapters.sql import postgres as adapter
from valetkey.adapters.sql import postgres_pool
from valetkey.errors import StoreUnavailable
from valetkey.model.connections import Connection, Sealed

INTERNALS = (
    PASSWORD,
    QUOTED,
    USER,
    "127.0.0.1",
    "SELECT",
    "INSERT",
    "UPDATE",
    "BEGIN",
    "asyncpg",
    "Traceback",
    "secret",
)


def plain(error: BaseException) -> str:
    """The error's text, in plain words for whoever runs the program."""
    text = str(error)
    assert not any(word in text for word in INTERNALS), text
    assert text.startswith("The PostgreSQL database ")
    assert text.endswith(".")
    return text


@contextmanager
def refused(match: str) -> Iterator[None]:
    """The store says that it cannot be used, why, and what to do."""
    with pytest.raises(StoreUnavailable, match=match) as caught:
        yield
    plain(caught.value)


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server of the test's own, to be stopped."""
    with Postgres() as own:
        yield own


@asynccontextmanager
async def load(stores: Stores, count: int = 12):
    """Callers that read and write without pause; what they met, and how long the slowest waited."""
    met: list[str] = []
    waited: list[float] = [0.0]
    done: list[int] = [0]
    over = False
    rows = [a_connection(profile=f"p{number}") for number in range(count)]
    for row in rows:
        await stores.connections.insert(row)

    async def caller(row: Connection) -> None:
        while not over:
            began = time.monotonic()
            try:
                found = await stores.connections.by_id(row.id)
                assert found is not None
                new = replace(found, generation=found.generation + 1)
                assert await stores.connections.save(new, generation=found.generation) is True
                done[0] += 1
            except StoreUnavailable as error:
                met.append(plain(error))
                await asyncio.sleep(0.01)
            waited.append(time.monotonic() - began)

    async with asyncio.TaskGroup() as group:
        for row in rows:
            group.create_task(caller(row))
        yield met, waited, done
        over = True


async def again(stores: Stores, seconds: float) -> float:
    """How long it took until a write was done again; it may not take longer than that."""
    began = time.monotonic()
    while True:
        try:
            await stores.connections.insert(a_connection(profile=str(time.monotonic_ns())))
        except StoreUnavailable:
            assert time.monotonic() - began < seconds
            await asyncio.sleep(0.02)
        else:
            return time.monotonic() - began


async def progress(done: list[int], count: int = 50) -> None:
    target = done[0] + count
    await until(lambda: done[0] >= target, seconds=10)


@pytest.mark.requirement("B2.pool")
async def test_connections_that_are_terminated_under_load_cost_nobody_a_hang(
    postgres, postgres_database, postgres_stores
):
    async with load(postgres_stores) as (met, waited, done):
        for _ in range(5):
            await progress(done)
            assert await asyncio.to_thread(postgres.cut, postgres_database) > 0
        await progress(done)
    assert all("Whether it has saved is not known" in text for text in met)
    assert max(waited) < 5
    assert postgres.connections(postgres_database) <= adapter.POOL_SIZE


@pytest.mark.requirement("B2.pool")
async def test_idle_connections_that_are_dead_are_not_noticed_by_callers(postgres, postgres_database, postgres_stores):
    row = a_connection()
    await postgres_stores.connections.insert(row)
    for number in range(10):
        await asyncio.gather(*(postgres_stores.connections.by_id(row.id) for _ in range(10)))
        await asyncio.to_thread(postgres.cut, postgres_database)
        new = replace(row, generation=number + 2)
        assert await postgres_stores.connections.save(new, generation=number + 1) is True
        assert await postgres_stores.connections.by_id(row.id) == new


@pytest.mark.requirement("R-17")
@pytest.mark.parametrize(
    "seconds", [0.5, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(150)])], ids=["moment", "minute"]
)
async def test_a_server_that_stops_and_comes_back_is_used_again_within_5_seconds(server, seconds):
    """R-17."""
    stores = in_postgres(server.fresh())
    async with load(stores) as (met, waited, done):
        await progress(done)
        await asyncio.to_thread(server.end, signal.SIGINT)
        with refused("cannot be reached|stopping or starting|cut the connection|lost while"):
            async with asyncio.timeout(10):
                while True:
                    await stores.connections.by_id("x")
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.start)
        assert await again(stores, 5) < 5
        await progress(done)
    assert met
    assert max(waited) < 11
    stores.close()


@pytest.mark.requirement("R-16")
async def test_what_was_acknowledged_before_the_server_crashed_is_there_after_it(server):
    stores = in_postgres(server.fresh())
    for _ in range(2):
        async with load(stores, 4) as (_, _, done):
            await progress(done)
            before = {row.id: row for row in await stores.connections.page()}
            await asyncio.to_thread(server.end, signal.SIGQUIT)
            await asyncio.to_thread(server.start)
            await again(stores, 5)
            after = {row.id: row for row in await stores.connections.page()}
        assert all(after[id_].generation >= row.generation for id_, row in before.items())
        for row in after.values():
            await stores.connections.delete(row.id)
    stores.close()


@pytest.mark.requirement("R-17")
async def test_a_server_that_stands_still_is_given_up_in_time(server, monkeypatch):
    for module, name in ((postgres_pool, "TAKE_SECONDS"), (adapter, "READ_SECONDS"), (adapter, "WRITE_SECONDS")):
        monkeypatch.setattr(module, name, 0.3)
    stores = in_postgres(server.fresh())
    row = a_connection()
    await again(stores, 20)
    await stores.connections.insert(row)
    backends = [pid for (pid,) in server.sql("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")]
    try:
        for pid in (server.process.pid, *backends):
            os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(8):
            for _ in range(2):
                with refused("does not answer|lost while it saved"):
                    await stores.connections.save(replace(row, generation=2), generation=1)
                with refused("does not answer"):
                    await stores.connections.by_id(row.id)
    finally:
        for pid in (*backends, server.process.pid):
            os.kill(pid, signal.SIGCONT)
    await again(stores, 5)
    found = await stores.connections.by_id(row.id)
    assert found is not None
    assert found.generation == 1  # it was never told to commit
    stores.close()


async def test_a_read_that_takes_too_long_is_given_up_and_ended_on_the_server(
    postgres_database, postgres_stores, monkeypatch
):
    row = a_connection()
    await postgres_stores.connections.insert(row)
    monkeypatch.setattr(adapter, "READ_SECONDS", 0.2)
    other = await asyncpg.connect(postgres_database)
    async with other.transaction():
        await other.execute("LOCK TABLE connections IN ACCESS EXCLUSIVE MODE")
        with refused("does not answer"):
            await postgres_stores.connections.by_id(row.id)
        async with asyncio.timeout(5):
            while await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                pass
    await other.close()
    monkeypatch.undo()
    assert await postgres_stores.connections.by_id(row.id) == row


CUT = "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL;"
EACH = "FOR EACH ROW EXECUTE FUNCTION cut()"


async def test_a_write_that_is_cut_before_its_end_is_done_again(postgres, postgres_database, postgres_stores):
    row = a_connection()
    await postgres_stores.connections.insert(row)
    once = f"BEGIN IF nextval(''times'') = 1 THEN {CUT} END IF; RETURN NULL; END"
    for sql in (
        "CREATE SEQUENCE times",
        f"CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS '{once}'",
        f"CREATE TRIGGER cut AFTER UPDATE ON connections {EACH}",
    ):
        postgres.sql(sql, url=postgres_database)
    assert await postgres_stores.connections.save(replace(row, generation=2), generation=1) is True
    assert postgres.sql("SELECT last_value FROM times", url=postgres_database) == [(2,)]


async def test_a_write_that_is_cut_as_it_ends_is_not_done_again(postgres, postgres_database, postgres_stores):
    row = a_connection()
    await postgres_stores.connections.insert(row)
    for sql in (
        "CREATE SEQUENCE times",
        f"CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''times''); {CUT} END'",
        f"CREATE CONSTRAINT TRIGGER cut AFTER UPDATE ON connections DEFERRABLE INITIALLY DEFERRED {EACH}",
    ):
        postgres.sql(sql, url=postgres_database)
    with refused("Whether it has saved is not known"):
        await postgres_stores.connections.save(replace(row, generation=2), generation=1)
    assert postgres.sql("SELECT last_value, is_called FROM times", url=postgres_database) == [(1, True)]
    assert await postgres_stores.connections.by_id(row.id) == row


async def test_a_row_that_another_program_locks_is_said_to_be_locked(postgres_database, postgres_stores, monkeypatch):
    monkeypatch.setattr(adapter, "BEGIN", adapter.BEGIN.replace("lock_timeout = '4s'", "lock_timeout = '200ms'"))
    row = a_connection()
    await postgres_stores.connections.insert(row)
    other = await asyncpg.connect(postgres_database)
    async with other.transaction():
        await other.execute("UPDATE connections SET generation = 7")
        with refused("locked by another program"):
            await postgres_stores.connections.save(replace(row, generation=2), generation=1)
        assert await postgres_stores.connections.by_id(row.id) == row
    await other.close()
    found = await postgres_stores.connections.by_id(row.id)
    assert found is not None
    assert found.generation == 7


async def test_a_program_that_stands_still_within_a_transaction_holds_its_locks_only_for_a_while(
    postgres_database, postgres_stores, monkeypatch
):
    """R-04: as after SIGSTOP; the server ends the transaction, and its late end changes nothing."""
    short = adapter.BEGIN.replace("session_timeout = '10s'", "session_timeout = '300ms'")
    row = a_connection()
    await postgres_stores.connections.insert(row)
    paused = await asyncpg.connect(postgres_database)
    await paused.execute(short)
    await paused.execute("UPDATE connections SET generation = 7")
    assert await postgres_stores.connections.save(replace(row, generation=2), generation=1) is True
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        await paused.execute("COMMIT")
    assert await postgres_stores.connections.by_id(row.id) == replace(row, generation=2)
    paused.terminate()


async def test_two_that_lock_each_other_both_succeed(postgres_database, postgres_stores):
    rows = sorted((a_connection(profile=name) for name in ("a", "b")), key=lambda row: row.id)
    for row in rows:
        await postgres_stores.connections.insert(row)
    fresh = [(row, Sealed(b"resealed")) for row in rows]
    for _ in range(5):
        results = await asyncio.gather(
            postgres_stores.connections.reseal(fresh), postgres_stores.connections.reseal(fresh[::-1])
        )
        assert sorted(results) == [0, 2]
        now = [await postgres_stores.connections.by_id(row.id) for row in rows]
        fresh = [(row, Sealed(row.sealed + b".")) for row in now if row is not None]


@pytest.mark.requirement("R-17.failover")
async def test_a_standby_is_read_and_a_write_says_where_to_go(postgres, postgres_database):
    name = postgres_database.rpartition("/")[2]
    row = a_connection()
    stores = in_postgres(postgres_database)
    await stores.connections.insert(row)
    stores.close()
    postgres.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    assert await stores.connections.by_id(row.id) == row
    with refused("Point VALETKEY_DATABASE_URL to the primary"):
        await stores.connections.insert(a_connection(profile="work"))
    stores.close()


@pytest.mark.requirement("R-15")
async def test_a_full_disk_tears_nothing_and_is_survived(postgres, postgres_database, postgres_stores):
    """R-15: the server's own error, raised where it would be."""
    row = a_connection()
    await postgres_stores.connections.insert(row)
    no_space = "BEGIN RAISE EXCEPTION ''could not extend file: secret'' USING ERRCODE = ''53100''; END"
    on_update = "CREATE TRIGGER no_space BEFORE UPDATE ON connections EXECUTE FUNCTION no_space()"
    postgres.sql(f"CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS '{no_space}'", url=postgres_database)
    postgres.sql(on_update, url=postgres_database)
    with refused("disk is full"):
        await postgres_stores.connections.save(replace(row, generation=2), generation=1)
    assert await postgres_stores.connections.by_id(row.id) == row
    postgres.sql("DROP TRIGGER no_space ON connections", url=postgres_database)
    assert await postgres_stores.connections.save(replace(row, generation=2), generation=1) is True


async def test_too_many_clients_are_waited_for_and_then_named(postgres, postgres_database, monkeypatch):
    monkeypatch.setattr(postgres_pool, "TAKE_SECONDS", 1.0)
    postgres.sql("DROP ROLE IF EXISTS few")
    postgres.sql("CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 2")
    postgres.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO few", url=postgres_database)
    url = postgres_database.replace(f"{USER}:{QUOTED}@", "few:few@")
    stores = in_postgres(url)
    # Twenty at once on two connections: they take turns.
    assert await asyncio.gather(*(stores.connections.by_id("x") for _ in range(20))) == [None] * 20
    others = [await asyncpg.connect(url) for _ in range(2 - postgres.connections(postgres_database))]
    stores.close()
    while len(others) < 2:
        others.append(await asyncpg.connect(url))
    with refused("raise its max_connections"):
        await stores.connections.by_id("x")
    for other in others:
        await other.close()
    assert await stores.connections.by_id("x") is None
    stores.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((QUOTED, "wrong"), "right user and password"),
        ((f"/{USER}:", "/nobody-here:"), "right user and password"),
        (("/test_", "/missing_"), "CREATE DATABASE"),
        (("@127.0.0.1:", "@127.0.0.1:not-a-port-"), "Correct VALETKEY_DATABASE_URL"),
    ],
    ids=["password", "user", "database", "port"],
)
async def test_an_address_that_is_wrong_is_told_by_its_part(postgres_database, change, told):
    stores = in_postgres(postgres_database.replace(*change))
    for _ in range(2):
        with refused(told):
            await stores.connections.by_id("x")
    stores.close()


async def test_where_nobody_listens_the_setting_is_named(postgres, postgres_database):
    stores = in_postgres(postgres_database.replace(str(postgres.port), str(free_port())))
    with refused("cannot be reached. See that its server runs"):
        await stores.interactions.open(an_interaction())
    stores.close()


@pytest.fixture
def pgbouncer_program() -> str:
    """Where pgbouncer is."""
    program = find_pgbouncer()
    if program is None:
        pytest.skip("no pgbouncer: apt-get install pgbouncer (the Debian package)")
    return program


async def test_tls_is_as_the_url_asks_for_it(postgres, postgres_database, pgbouncer_program, tmp_path):
    public, private = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    stranger, _ = certificate(tmp_path / "other")
    with Pgbouncer(pgbouncer_program, postgres, tls=(public, private)) as bouncer:
        url = bouncer.url(postgres_database)
        for query, told in (
            ("sslmode=disable", "refused by the server, or by the pgbouncer"),
            (f"sslmode=verify-full&sslrootcert={stranger}", "TLS certificate, and sslmode"),
            ("sslmode=strange", "Correct VALETKEY_DATABASE_URL"),
        ):
            stores = in_postgres(f"{url}?{query}")
            with refused(told):
                await stores.connections.by_id("x")
            stores.close()
        stores = in_postgres(f"{url}?sslmode=verify-full&sslrootcert={public}")
        assert await stores.connections.insert(a_connection()) is True
        stores.close()
    stores = in_postgres(f"{postgres_database}?sslmode=require")
    with refused("cannot be reached"):  # that one has no TLS
        await stores.connections.by_id("x")
    stores.close()


async def test_tables_that_were_taken_away_are_made_again(postgres, postgres_database, postgres_stores):
    await postgres_stores.connections.insert(a_connection())
    postgres.sql("DROP SCHEMA public CASCADE", url=postgres_database)
    postgres.sql("CREATE SCHEMA public", url=postgres_database)
    with refused("has lost its tables"):
        await postgres_stores.connections.by_id("x")
    assert await postgres_stores.connections.insert(a_connection()) is True


async def test_a_damaged_row_fails_alone(postgres, postgres_database, postgres_stores, caplog):
    """R-37."""
    good, bad = a_connection(profile="a"), a_connection(profile="b")
    for row in (good, bad):
        await postgres_stores.connections.insert(row)
    postgres.sql("UPDATE connections SET scopes = '[' WHERE id = $1", bad.id, url=postgres_database)
    with pytest.raises(StoreUnavailable, match=f"{bad.id} cannot be read"):
        await postgres_stores.connections.by_id(bad.id)
    assert list(await postgres_stores.connections.of_owner(good.owner)) == [good]
    assert await postgres_stores.connections.delete(bad.id) is None


@pytest.mark.requirement("R-18")
async def test_a_pgbouncer_that_stops_and_comes_back_is_used_again(postgres, postgres_url, pgbouncer_program):
    with Pgbouncer(pgbouncer_program, postgres) as bouncer:
        url = postgres.fresh(postgres_url)
        stores = in_postgres(bouncer.url(url))
        async with load(stores) as (met, waited, done):
            await progress(done)
            assert await asyncio.to_thread(postgres.cut, url) > 0
            await progress(done)
            await asyncio.to_thread(bouncer.end, signal.SIGQUIT)
            with refused("cannot be reached|cut the connection|lost while"):
                async with asyncio.timeout(10):
                    while True:
                        await stores.connections.by_id("x")
            await asyncio.to_thread(bouncer.start)
            assert await again(stores, 5) < 5
            await progress(done)
        assert met
        assert max(waited) < 11
        stores.close()


async def test_work_that_is_under_way_as_the_program_ends_is_told_so(postgres_database, postgres_stores, monkeypatch):
    monkeypatch.setattr(postgres_pool, "TAKE_SECONDS", 0.2)
    row = a_connection()
    await postgres_stores.connections.insert(row)
    database: Any = postgres_stores.connections
    other = await asyncpg.connect(postgres_database)
    async with other.transaction():
        await other.execute("LOCK TABLE connections IN ACCESS EXCLUSIVE MODE")
        stuck = asyncio.create_task(postgres_stores.connections.by_id(row.id))
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not stuck.done()
        await asyncio.to_thread(database._database.close)
        with refused("was closed, as the program ends"):
            await stuck
    await other.close()
    assert await postgres_stores.connections.by_id(row.id) == row


@pytest.mark.requirement("R-17.failover")
async def test_of_several_hosts_the_one_that_answers_is_used(postgres, postgres_database):
    here = f"@127.0.0.1:{postgres.port}"
    stores = in_postgres(postgres_database.replace(here, f"@127.0.0.1:{free_port()},127.0.0.1:{postgres.port}"))
    assert await stores.connections.insert(a_connection()) is True
    stores.close()
