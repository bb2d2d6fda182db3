"""How a database comes to the schema of today."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import valetkey.adapters.sql
from tests.stores.values import Stores, a_connection, a_token, in_sqlite
from valetkey.adapters.sql import schema
from valetkey.adapters.sql.tables import metadata
from valetkey.errors import StoreUnavailable

MIGRATIONS = Path(valetkey.adapters.sql.__file__).parent / "migrations"


@pytest.fixture
def made(sqlite_path: Path, sqlite_stores: Stores) -> Path:
    """A database made by the migrations."""
    asyncio.run(sqlite_stores.connections.by_id("x"))
    return sqlite_path


def test_the_schema_says_the_same_changes_as_the_folder_of_migrations():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    assert [each.revision for each in script.walk_revisions()] == list(reversed(schema.REVISIONS))


def test_migrating_gives_the_tables_that_the_statements_are_built_on(made):
    engine = sa.create_engine(f"sqlite:///{made}", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        (index,) = (
            each
            for each in sa.inspect(connection).get_indexes("interactions")
            if each["name"] == "uq_interactions_open"
        )
    assert index["unique"] == 1
    for phase in ("open", "claimed", "answered", "settling"):
        assert f"'{phase}'" in str(index["dialect_options"]["sqlite_where"])


def at_revision(path: Path, revision: str) -> None:
    """Make a database as the version of that revision left it."""
    from alembic.command import upgrade

    path.parent.mkdir(parents=True)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        upgrade(config, revision)


async def test_a_database_of_the_version_before_goes_on_with_what_is_in_it(sqlite_path, sqlite_stores, monkeypatch):
    at_revision(sqlite_path, "0002")
    row, token = a_connection(), a_token()
    monkeypatch.setattr(schema, "REVISIONS", ("0001", "0002"))
    old = in_sqlite(sqlite_path)
    assert await old.connections.insert(row) is True
    monkeypatch.undo()
    assert await sqlite_stores.identity.tokens.insert(token) is True
    assert await sqlite_stores.connections.by_id(row.id) == row
    with closing(sqlite3.connect(sqlite_path)) as elsewhere:
        assert elsewhere.execute(schema.VERSION).fetchone() == (schema.REVISIONS[-1],)
        assert elsewhere.execute(schema.READS_SINCE).fetchone() == ("0001",)

    # The one before goes on, and may be started anew.
    second = a_connection(profile="work")
    assert await old.connections.insert(second) is True
    old.close()
    monkeypatch.setattr(schema, "REVISIONS", ("0001", "0002"))
    again = in_sqlite(sqlite_path)
    assert await again.connections.by_id(second.id) == second
    again.close()
    assert await sqlite_stores.identity.tokens.get(token.id) == token


async def test_a_newer_schema_is_left_alone_and_says_to_upgrade(made, sqlite_stores):
    sqlite_stores.close()
    with closing(sqlite3.connect(made, isolation_level=None)) as elsewhere:
        elsewhere.execute("UPDATE alembic_version SET version_num = '9999'")
        elsewhere.execute("UPDATE compatibility SET value = '9998' WHERE name = 'reads_since'")
    for use in (lambda: sqlite_stores.connections.by_id("x"), lambda: sqlite_stores.connections.insert(a_connection())):
        with pytest.raises(StoreUnavailable, match="Upgrade valetkey"):
            await use()
    with closing(sqlite3.connect(made)) as elsewhere:
        assert elsewhere.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


async def test_another_program_s_tables_are_not_taken(home, sqlite_path):
    home.mkdir()
    with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as elsewhere:
        elsewhere.execute("CREATE TABLE connections (mine TEXT)")
    stores = in_sqlite(sqlite_path)
    with pytest.raises(StoreUnavailable, match=r"valetkey\.db cannot be used"):
        await stores.connections.by_id("x")
    with closing(sqlite3.connect(sqlite_path)) as elsewhere:
        assert elsewhere.execute("SELECT name FROM sqlite_master").fetchall() == [("connections",)]
    stores.close()


def test_going_back_removes_everything(made):
    from alembic.command import downgrade

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = sa.create_engine(f"sqlite:///{made}", poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        downgrade(config, "base")
    with closing(sqlite3.connect(made)) as elsewhere:
        assert elsewhere.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [
            ("alembic_version",)
        ]
