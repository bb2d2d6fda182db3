"""PostgreSQL as a database of many: what a unit of work is there, and what it leaves behind."""

import asyncio
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from tests.real.postgres import Pgbouncer, Postgres
from tests.stores.values import ADA, Stores, a_connection, an_interaction, in_postgres
from valetkey.adapters.sql import postgres_pool, statements
from valetkey.adapters.sql.postgres import POOL_SIZE
from valetkey.adapters.sql.postgres_pool import Session
from valetkey.adapters.sql.rows import connection_values
from valetkey.errors import InvalidArguments, StoreUnavailable
from valetkey.model.connections import Sealed


async def until(holds: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for that to be so."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def used(stores: Stores) -> None:
    """Every kind of work once."""
    row, question = a_connection(profile=secrets.token_hex(8)), an_interaction(topic=secrets.token_hex(8))
    assert await stores.connections.insert(row) is True
    assert await stores.connections.insert(row) is False
    assert await stores.connections.save(replace(row, generation=2), generation=1) is True
    assert row.id in [each.id for each in await stores.connections.of_owner(ADA)]
    assert await stores.interactions.open(question) == question
    assert await stores.connections.delete(row.id) is not None


@pytest.mark.requirement("B2.pool")
async def test_many_loops_and_threads_share_one_bounded_pool(postgres, postgres_database, postgres_stores):
    await used(postgres_stores)
    failures: list[BaseException] = []

    def elsewhere() -> None:
        async def many() -> None:
            await asyncio.gather(*(used(postgres_stores) for _ in range(15)))

        try:
            asyncio.run(many())
        except BaseException as error:  # noqa: BLE001 - the test's own thread says what it met
            failures.append(error)

    threads = [threading.Thread(target=elsewhere) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert postgres.connections(postgres_database) <= POOL_SIZE
        await asyncio.sleep(0)
    assert failures == []
    assert 1 < postgres.connections(postgres_database) <= POOL_SIZE


@pytest.mark.requirement("B2.session", "R-18")
async def test_nothing_is_kept_in_a_session_of_the_server(postgres_stores, postgres_database):
    await used(postgres_stores)
    database: Any = postgres_stores.connections
    home, pool = database._database._home, database._database._pool

    async def of_session() -> list[tuple[Any, ...]]:
        async with pool.session() as session:
            told = "SELECT 'statement', name FROM pg_prepared_statements UNION ALL"
            told += " SELECT 'lock', mode FROM pg_locks WHERE locktype = 'advisory' UNION ALL"
            told += " SELECT 'setting', name FROM pg_settings WHERE source = 'session'"
            rows: list[tuple[Any, ...]] = list((await session.run(told, ())).rows)
            return rows

    assert await home.run(of_session) == []


async def test_a_read_is_one_round_trip_and_a_write_three(postgres, postgres_database):
    turns: list[str] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: str) -> None:
        while data := await reader.read(65536):
            if turns[-1:] != [side]:
                turns.append(side)
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", postgres.port)
        await asyncio.gather(copy(reader, server_writer, "client"), copy(server_reader, writer, "server"))

    async def trips(use: Awaitable[object]) -> int:
        turns.clear()
        await use
        return turns.count("client")

    async with await asyncio.start_server(relay, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        stores = in_postgres(postgres_database.replace(f":{postgres.port}/", f":{port}/"))
        row = a_connection()
        await stores.connections.insert(row)
        await stores.connections.by_id(row.id)
        assert await trips(stores.connections.by_id(row.id)) == 1
        await stores.connections.save(replace(row, generation=2), generation=1)
        assert await trips(stores.connections.save(replace(row, generation=3), generation=2)) == 3
        await asyncio.to_thread(stores.close)


async def test_a_deleted_row_is_given_as_it_was_when_it_was_deleted(postgres_stores, postgres_database):
    """R-08: what a refresh saved in between is what has to be revoked upstream."""
    row = a_connection()
    await postgres_stores.connections.insert(row)
    other = await asyncpg.connect(postgres_database)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("UPDATE connections SET generation = 2, sealed = 'newer'")
    deleted = asyncio.create_task(postgres_stores.connections.delete(row.id))
    while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        assert not deleted.done()
    await transaction.commit()
    await other.close()
    assert await deleted == replace(row, generation=2, sealed=Sealed(b"newer"))
    assert await postgres_stores.connections.by_id(row.id) is None


async def test_a_cancelled_caller_neither_stops_a_write_nor_takes_a_connection_along(postgres_stores):
    await used(postgres_stores)
    rows = [a_connection(profile=f"p{number}") for number in range(60)]
    for number, row in enumerate(rows):
        task = asyncio.create_task(postgres_stores.connections.insert(row))
        for _ in range(number % 7 + 1):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    database: Any = postgres_stores.connections
    pool = database._database._pool

    async def all_back() -> None:
        async with asyncio.timeout(5):
            for _ in range(POOL_SIZE):
                await pool._slots.acquire()
        for _ in range(POOL_SIZE):
            pool._slots.release()

    await database._database._home.run(all_back)
    found = {row.id for row in await postgres_stores.connections.of_owner(ADA)}
    assert found >= {row.id for row in rows}


@pytest.mark.requirement("B2.pool")
async def test_who_finds_every_connection_in_use_is_told_in_time(postgres_stores, monkeypatch):
    await used(postgres_stores)
    monkeypatch.setattr(postgres_pool, "TAKE_SECONDS", 0.2)
    database: Any = postgres_stores.connections
    home, pool = database._database._home, database._database._pool
    taken, free = threading.Event(), asyncio.Event()

    async def hold() -> None:
        sessions = [pool.session() for _ in range(POOL_SIZE)]
        for session in sessions:
            await session.__aenter__()
        taken.set()
        await free.wait()
        for session in sessions:
            await session.__aexit__(None, None, None)

    home.spawn(hold)
    assert await asyncio.to_thread(taken.wait, 5)
    for use in (lambda: postgres_stores.connections.by_id("x"), lambda: postgres_stores.connections.delete("x")):
        with pytest.raises(StoreUnavailable, match="every connection is in use"):
            await use()

    async def let_go() -> None:
        free.set()

    await home.run(let_go)
    await used(postgres_stores)
    assert len(pool._idle) == POOL_SIZE  # being asked for too much is no reason to begin anew


async def test_an_unused_connection_is_closed_after_a_while(postgres, postgres_database, postgres_stores, monkeypatch):
    monkeypatch.setattr(postgres_pool, "IDLE_SECONDS", 0.05)
    await used(postgres_stores)
    await until(lambda: postgres.connections(postgres_database) == 0)
    await used(postgres_stores)


async def test_a_connection_in_use_while_another_was_found_dead_is_not_used_again(postgres_stores):
    await used(postgres_stores)
    database: Any = postgres_stores.connections
    pool = database._database._pool

    async def meanwhile() -> Session:
        async with pool.session() as session:
            pool.distrust()
        session_: Session = session
        return session_

    session = await database._database._home.run(meanwhile)
    assert session not in pool._idle
    await until(session.connection.is_closed)
    await used(postgres_stores)


async def test_names_that_an_index_cannot_take_together_are_refused(postgres_stores):
    def name() -> str:
        return secrets.token_hex(512)  # nothing that PostgreSQL could make shorter

    owner = replace(ADA, workspace=name(), issuer=name(), subject=name())
    with pytest.raises(InvalidArguments, match="shorter"):
        await postgres_stores.connections.insert(a_connection(owner=owner, provider=name(), profile=name()))
    await used(postgres_stores)


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b", "é\0"])
async def test_a_new_row_that_cannot_be_kept_is_not_said_to_be(postgres_stores, text):
    database: Any = postgres_stores.connections
    row = a_connection()
    with pytest.raises(InvalidArguments, match="NUL"):
        await database._database.write((statements.CONNECTION_INSERT, connection_values(row) | {"account": text}))
    assert await postgres_stores.connections.by_id(row.id) is None


async def test_closing_closes_every_connection_and_a_later_use_opens_them_again(postgres, postgres_database):
    stores = in_postgres(postgres_database)
    await asyncio.gather(*(used(stores) for _ in range(20)))
    stores.close()
    await until(lambda: postgres.connections(postgres_database) == 0)  # the server notices a moment later
    await used(stores)
    stores.close()
    stores.close()


@pytest.mark.requirement("B2.session", "R-18")
async def test_more_callers_than_a_pgbouncer_has_connections_are_served(
    postgres: Postgres, pgbouncer: Pgbouncer, postgres_url: str
):
    """R-18: transactions of several clients take turns on three connections of the server."""
    url = postgres.fresh(postgres_url)
    clients = [in_postgres(pgbouncer.url(url)) for _ in range(3)]
    await asyncio.gather(*(used(client) for client in clients for _ in range(20)))
    assert postgres.connections(url) <= 3
    for client in clients:
        client.close()
