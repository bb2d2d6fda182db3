"""What goes wrong with an SQLite file, and what is said about it."""

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stores.values import ADA, NOW, a_connection, an_interaction, in_sqlite
from valetkey.errors import StoreUnavailable
from valetkey.model.connections import Sealed
from valetkey.model.interactions import InteractionKind

INTERNALS = ("sqlite3", "OperationalError", "SELECT", "INSERT", "BEGIN", "Traceback")


@contextmanager
def refused(match: str) -> Iterator[None]:
    """The store says that it cannot be used, why, and what to do; in plain words."""
    with pytest.raises(StoreUnavailable, match=match) as caught:
        yield
    assert not any(word in str(caught.value) for word in INTERNALS)
    assert str(caught.value).endswith(".")


@pytest.mark.requirement("R-14")
async def test_while_another_program_writes_reads_go_on_and_a_write_says_so(sqlite_path, sqlite_stores):
    """R-14."""
    row = a_connection()
    await sqlite_stores.connections.insert(row)
    with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as elsewhere:
        elsewhere.execute("BEGIN IMMEDIATE")
        elsewhere.execute("UPDATE connections SET generation = 99")
        assert await sqlite_stores.connections.by_id(row.id) == row
        assert list(await sqlite_stores.connections.of_owner(ADA)) == [row]
        for write in (
            lambda: sqlite_stores.connections.insert(a_connection(profile="work")),
            lambda: sqlite_stores.connections.save(replace(row, generation=2), generation=1),
            lambda: sqlite_stores.connections.lease(row.id, generation=1, owner="p", attempt="a", now=NOW, ttl=20),
            lambda: sqlite_stores.connections.release(row.id, owner="p", attempt="a", unclear=False),
            lambda: sqlite_stores.connections.delete(row.id),
            lambda: sqlite_stores.interactions.open(an_interaction()),
            lambda: sqlite_stores.interactions.save(an_interaction(), version=1),
            lambda: sqlite_stores.interactions.sweep(before=NOW),
        ):
            with refused("locked by another program"):
                await write()
        assert await sqlite_stores.connections.by_id(row.id) == row
        elsewhere.execute("ROLLBACK")
    assert await sqlite_stores.connections.save(replace(row, generation=2), generation=1) is True


@pytest.mark.requirement("R-14")
async def test_a_write_waits_for_another_that_ends_in_time(sqlite_path):
    stores = in_sqlite(sqlite_path, busy_timeout=30)
    row = a_connection()
    await stores.connections.insert(row)
    with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as elsewhere:
        elsewhere.execute("BEGIN IMMEDIATE")
        save = asyncio.create_task(stores.connections.save(replace(row, generation=2), generation=1))
        await stores.connections.by_id(row.id)  # the loop is free meanwhile
        assert not save.done()
        elsewhere.execute("COMMIT")
    assert await save is True
    stores.close()


async def test_a_full_disk_tears_no_row_and_is_survived(sqlite_stores):
    """R-15."""
    row = a_connection()
    await sqlite_stores.connections.insert(row)
    (file,) = sqlite_stores.connections._database._files.values()
    (pages,) = file._writer.execute("PRAGMA page_count").fetchone()
    file._writer.execute(f"PRAGMA max_page_count={pages}")
    big = replace(row, generation=2, sealed=Sealed(b"x" * 100_000))
    with refused("disk is full"):
        await sqlite_stores.connections.save(big, generation=1)
    assert await sqlite_stores.connections.by_id(row.id) == row
    assert await sqlite_stores.connections.save(big, generation=1) is True


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write anywhere: for as long as this lasts, be somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every account can reach, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


async def test_a_folder_that_may_not_be_written_is_named_with_the_setting(sqlite_stores, shared_folder):
    await sqlite_stores.connections.by_id("x")  # what is imported at first use is there now
    shared_folder.chmod(0o555)
    for path in (shared_folder / "valetkey.db", shared_folder / "below" / "valetkey.db"):
        stores = in_sqlite(path)
        with unprivileged():
            with refused("VALETKEY_HOME"):
                await stores.connections.by_id("x")
            with refused("VALETKEY_HOME"):
                await stores.connections.insert(a_connection())
        stores.close()


async def test_a_file_that_may_only_be_read_is_read(shared_folder):
    path = shared_folder / "valetkey.db"
    stores = in_sqlite(path)
    row = a_connection()
    await stores.connections.insert(row)
    for name in ("valetkey.db", "valetkey.db-wal", "valetkey.db-shm"):
        (shared_folder / name).chmod(0o444)
    shared_folder.chmod(0o555)
    with unprivileged():
        reading = in_sqlite(path)
        assert await reading.connections.by_id(row.id) == row
        with refused("may only be read"):
            await reading.connections.insert(a_connection(profile="work"))
        reading.close()
    stores.close()


async def test_a_place_that_came_back_is_used(tmp_path):
    place = tmp_path / "home"
    place.write_text("a file where the folder should be")
    stores = in_sqlite(place / "valetkey.db")
    with refused("VALETKEY_HOME"):
        await stores.connections.by_id("x")
    place.unlink()
    assert await stores.connections.insert(a_connection()) is True
    stores.close()


async def test_a_file_that_is_no_database_is_left_as_it_is(home, sqlite_path):
    home.mkdir()
    sqlite_path.write_bytes(b"holiday pictures" * 100)
    stores = in_sqlite(sqlite_path)
    with refused("no SQLite database"):
        await stores.connections.insert(a_connection())
    assert sqlite_path.read_bytes() == b"holiday pictures" * 100
    stores.close()


async def test_a_torn_page_is_said_to_be_damage(sqlite_path, sqlite_stores):
    for number in range(60):
        await sqlite_stores.connections.insert(a_connection(profile=f"p{number}", sealed=Sealed(b"x" * 2000)))
    sqlite_stores.close()
    with sqlite_path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (sqlite_path.stat().st_size - 4096))
    with refused("damaged"):
        await sqlite_stores.connections.get(ADA, "slack", "p1")


DAMAGE = {
    "scopes": "'[\"a\"'",
    "health": "'of a newer version'",
    "expires_at": "'soon'",
    "generation": "'one'",
    "sealed": "'text'",
    "handler": "x'ff00'",
    "reason": "CAST(x'ff80' AS TEXT)",
}


@pytest.mark.parametrize("column", DAMAGE)
async def test_a_damaged_row_fails_alone(sqlite_path, sqlite_stores, caplog, column):
    """R-37."""
    good, bad, after = (a_connection(profile=name) for name in ("a", "b", "c"))
    for row in (good, bad, after):
        await sqlite_stores.connections.insert(row)
    with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as elsewhere:
        elsewhere.execute(f"UPDATE connections SET {column} = {DAMAGE[column]} WHERE id = ?", [bad.id])  # noqa: S608 - from above

    for read in (
        lambda: sqlite_stores.connections.get(ADA, "slack", "b"),
        lambda: sqlite_stores.connections.by_id(bad.id),
    ):
        with refused(f"{bad.id} cannot be read"):
            await read()
    assert await sqlite_stores.connections.by_id(good.id) == good
    assert list(await sqlite_stores.connections.of_owner(ADA)) == [good, after]
    assert any(bad.id in record.getMessage() for record in caplog.records)

    assert await sqlite_stores.connections.delete(bad.id) is None
    assert await sqlite_stores.connections.insert(a_connection(profile="b")) is True


@pytest.mark.parametrize("about", ["'{'", "'[]'", "CAST(x'ff' AS TEXT)", "7"])
async def test_a_damaged_question_fails_alone(sqlite_path, sqlite_stores, about):
    good, bad = an_interaction(topic="a"), an_interaction(topic="b")
    for row in (good, bad):
        await sqlite_stores.interactions.open(row)
    with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as elsewhere:
        elsewhere.execute(f"UPDATE interactions SET about = {about} WHERE id = ?", [bad.id])  # noqa: S608 - from above
    with refused(f"{bad.id} cannot be read"):
        await sqlite_stores.interactions.get(bad.id)
    with refused(f"{bad.id} cannot be read"):
        await sqlite_stores.interactions.open(an_interaction(topic="b"))
    assert list(await sqlite_stores.interactions.of_owner(ADA, InteractionKind.CONNECT)) == [good]
