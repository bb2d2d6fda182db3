"""How a PostgreSQL database comes to the schema of today, and what an older program does with a newer one."""

import asyncio
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from tests.real.postgres import QUOTED, USER
from tests.stores.test_processes import worker
from tests.stores.values import ADA, Stores, a_connection, in_postgres
from valetkey.adapters.sql import schema
from valetkey.adapters.sql.tables import metadata
from valetkey.errors import StoreUnavailable

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


@pytest.fixture
def empty(postgres) -> str:
    """The URL of a database with nothing in it."""
    return str(postgres.fresh())


@pytest.fixture
def opened(empty) -> Iterator[Stores]:
    """Stores in it."""
    stores = in_postgres(empty)
    yield stores
    stores.close()


async def test_migrating_gives_the_tables_that_the_statements_are_built_on(postgres_database):
    def compare(connection: sa.Connection) -> None:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        mine = [each for each in compare_metadata(context, metadata) if "compatibility" not in str(each)]
        assert mine == []
        (index,) = (
            each
            for each in sa.inspect(connection).get_indexes("interactions")
            if each["name"] == "uq_interactions_open"
        )
        assert index["unique"]
        for phase in ("open", "claimed", "answered", "settling"):
            assert f"'{phase}'" in str(index["dialect_options"]["postgresql_where"])

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(postgres_database), poolclass=sa.NullPool
    )
    async with engine.connect() as connection:
        await connection.run_sync(compare)


@pytest.mark.requirement("B2.migrations")
def test_processes_that_start_at_once_on_an_empty_database_all_succeed(postgres, empty):
    with worker("crowd", empty) as process:
        out, err = process.communicate(timeout=40)
    assert (out, err) == (f"{[0] * 8}\n", "")
    assert postgres.sql("SELECT count(*) FROM connections", url=empty) == [(8,)]
    assert postgres.sql(schema.VERSION, url=empty) == [(schema.REVISIONS[-1],)]


@pytest.mark.requirement("B2.migrations", "R-22")
async def test_a_migration_killed_in_the_middle_is_done_by_the_next_start(postgres, empty, opened):
    """R-22."""
    with worker("die", empty) as process:
        assert process.wait(30) == -signal.SIGKILL
    assert postgres.sql(TABLES, url=empty) == []
    assert await opened.connections.insert(a_connection()) is True
    assert postgres.sql(schema.VERSION, url=empty) == [(schema.REVISIONS[-1],)]


@pytest.mark.requirement("B2.migrations")
async def test_who_waits_for_the_migration_of_another_sees_what_that_one_did(postgres, empty, opened, monkeypatch):
    from valetkey.adapters.sql import postgres as adapter

    other = await asyncpg.connect(empty)
    transaction = other.transaction()
    await transaction.start()
    await other.execute(adapter._MIGRATION[-1])
    first = asyncio.create_task(opened.connections.of_owner(ADA))
    while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        assert not first.done()
    await other.execute("CREATE TABLE alembic_version (version_num TEXT)")
    await other.execute("INSERT INTO alembic_version VALUES ('9999')")
    await transaction.commit()
    await other.close()
    with pytest.raises(StoreUnavailable, match="Upgrade valetkey"):
        await first


async def test_another_program_s_tables_are_not_taken(postgres, empty, opened):
    postgres.sql("CREATE TABLE connections (mine TEXT)", url=empty)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="holds tables of another program"):
            await opened.connections.by_id("x")
    assert postgres.sql(TABLES, url=empty) == [("connections",)]
    postgres.sql("DROP TABLE connections", url=empty)
    assert await opened.connections.insert(a_connection()) is True


async def test_a_user_who_may_not_make_tables_is_named_the_rights(postgres, empty, postgres_url):
    postgres.sql("DROP ROLE IF EXISTS weak")
    postgres.sql("CREATE ROLE weak LOGIN PASSWORD 'weak'")
    stores = in_postgres(empty.replace(f"{USER}:{QUOTED}@", "weak:weak@"))
    with pytest.raises(StoreUnavailable, match="CREATE and USAGE"):
        await stores.connections.by_id("x")
    stores.close()


LATER = (
    "ALTER TABLE connections ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'",
    "UPDATE alembic_version SET version_num = '9999'",
)


@pytest.mark.requirement("R-21")
async def test_a_newer_schema_that_older_programs_may_use_is_used_as_it_is(postgres, postgres_database):
    """R-21: the newer program has migrated; the older one starts again, and its rows have the new column's default."""
    for sql in LATER:
        postgres.sql(sql, url=postgres_database)
    stores = in_postgres(postgres_database)
    row = a_connection()
    assert await stores.connections.insert(row) is True
    assert await stores.connections.by_id(row.id) == row
    stores.close()
    assert postgres.sql("SELECT mood FROM connections", url=postgres_database) == [("calm",)]
    assert postgres.sql(schema.VERSION, url=postgres_database) == [("9999",)]


@pytest.mark.requirement("R-21")
async def test_a_program_goes_on_while_a_newer_one_migrates(postgres, postgres_database, postgres_stores):
    """R-21: both run; the older one knows the columns that it asked for."""
    row = a_connection()
    assert await postgres_stores.connections.insert(row) is True
    assert await postgres_stores.connections.by_id(row.id) == row
    for sql in LATER:
        postgres.sql(sql, url=postgres_database)
    assert await postgres_stores.connections.by_id(row.id) == row
    assert await postgres_stores.connections.insert(a_connection(profile="work")) is True
    assert len(await postgres_stores.connections.of_owner(ADA)) == 2


@pytest.mark.requirement("R-21")
@pytest.mark.parametrize("said", ["9998", None])
async def test_a_newer_schema_that_is_not_for_older_programs_is_left_alone(postgres, postgres_database, said):
    postgres.sql(LATER[-1], url=postgres_database)
    if said is None:
        postgres.sql("DROP TABLE compatibility", url=postgres_database)
    else:
        postgres.sql("UPDATE compatibility SET value = $1", said, url=postgres_database)
    stores = in_postgres(postgres_database)
    for use in (lambda: stores.connections.by_id("x"), lambda: stores.connections.insert(a_connection())):
        with pytest.raises(StoreUnavailable, match="Upgrade valetkey"):
            await use()
    stores.close()
    assert postgres.sql("SELECT count(*) FROM connections", url=postgres_database) == [(0,)]


@pytest.mark.requirement("R-21")
async def test_sqlite_too_uses_a_newer_schema_that_older_programs_may_use(sqlite_path, sqlite_stores):
    """R-21."""
    await sqlite_stores.connections.by_id("x")
    sqlite_stores.close()
    with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as elsewhere:
        for sql in LATER:
            elsewhere.execute(sql)
    row = a_connection()
    assert await sqlite_stores.connections.insert(row) is True
    assert await sqlite_stores.connections.by_id(row.id) == row
    sqlite_stores.close()
    with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as elsewhere:
        assert elsewhere.execute("SELECT mood FROM connections").fetchall() == [("calm",)]
        assert elsewhere.execute(schema.VERSION).fetchall() == [("9999",)]
        elsewhere.execute("UPDATE compatibility SET value = '9998'")
    with pytest.raises(StoreUnavailable, match="Upgrade valetkey"):
        await sqlite_stores.connections.by_id(row.id)


def test_after_a_fork_both_use_the_database(empty):
    with worker("fork", empty) as process:
        out, err = process.communicate(timeout=30)
    assert out.splitlines() == ["('before', 1)", "('forked', 1)", "('child', True, 2)", "('parent', 0, True, 3)"]
    assert err == ""
