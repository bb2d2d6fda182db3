"""The SQLite file: who may read it, what is left in it, and what two who use it at once see."""

import asyncio
import os
import sqlite3
import stat
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stores.values import ADA, NOW, a_connection, an_interaction, in_sqlite
from valetkey.adapters.sql.sqlite_file import SqliteFile
from valetkey.errors import StoreUnavailable
from valetkey.model.connections import Sealed
from valetkey.model.interactions import Phase

FILES = ("valetkey.db", "valetkey.db-shm", "valetkey.db-wal")


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
async def test_only_the_owner_may_use_the_files_whatever_the_umask(tmp_path, umask):
    """V-11."""
    path = tmp_path / "made" / "here" / "valetkey.db"
    stores = in_sqlite(path)
    before = os.umask(umask)
    try:
        await stores.connections.insert(a_connection())
    finally:
        os.umask(before)
    assert modes(path.parent) == dict.fromkeys(FILES, 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    stores.close()


async def test_files_that_others_could_read_are_closed_to_them_and_a_folder_in_use_stays(tmp_path, caplog):
    path = tmp_path / "valetkey.db"
    stores = in_sqlite(path)
    await stores.connections.insert(a_connection())
    tmp_path.chmod(0o755)
    for name in FILES:
        (tmp_path / name).chmod(0o644)

    again = in_sqlite(path)
    await again.connections.by_id("x")
    assert {name: mode for name, mode in modes(tmp_path).items() if name in FILES} == dict.fromkeys(FILES, 0o600)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [record.levelname for record in caplog.records if record.name == "valetkey"] == ["WARNING"] * 3
    again.close()
    stores.close()


async def test_at_no_moment_may_others_read_the_file(sqlite_path, sqlite_stores, monkeypatch):
    seen = []
    fchmod = os.fchmod

    def looking(descriptor: int, mode: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", looking)
    before = os.umask(0)
    try:
        await sqlite_stores.connections.by_id("x")
    finally:
        os.umask(before)
    assert seen == [0o600]


class Hesitant:
    """A connection whose file another process is just switching to WAL mode, and then answers."""

    def __init__(self, times: int, answer: str) -> None:
        self._times = times
        self._answer = answer

    def execute(self, sql: str) -> "Hesitant":
        """Say busy, as often as asked for."""
        if self._times:
            self._times -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return self

    def fetchone(self) -> tuple[str]:
        """The mode that the file is in."""
        return (self._answer,)


def test_two_who_switch_a_fresh_file_to_wal_at_once_do_not_fail(sqlite_path, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", lambda event, pause: pauses.append(pause))
    file = SqliteFile(sqlite_path, busy_timeout=5)
    file._enter_wal(Hesitant(3, "wal"))  # type: ignore[arg-type]
    assert len(pauses) == 3
    with pytest.raises(sqlite3.OperationalError):
        file._enter_wal(Hesitant(1000, "wal"))  # type: ignore[arg-type]
    assert 2 < sum(pauses) < 10
    with pytest.raises(StoreUnavailable, match="local disk"):
        file._enter_wal(Hesitant(0, "delete"))  # type: ignore[arg-type]


async def test_nothing_is_made_before_the_first_use(home, sqlite_path):
    threads = threading.active_count()
    stores = in_sqlite(sqlite_path)
    assert not home.exists()
    assert threading.active_count() == threads
    assert await stores.connections.by_id("x") is None
    assert sqlite_path.exists()
    stores.close()


async def test_every_connection_is_careful(sqlite_path, sqlite_stores):
    await sqlite_stores.connections.insert(a_connection())
    await sqlite_stores.connections.by_id("x")
    database = sqlite_stores.connections._database
    (file,) = database._files.values()
    (reader,) = file._readers
    expected = {"synchronous": 2, "secure_delete": 1, "foreign_keys": 1, "trusted_schema": 0, "busy_timeout": 100}
    for connection in (reader, file._writer):
        for pragma, value in expected.items():
            assert connection.execute(f"PRAGMA {pragma}").fetchone() == (value,), pragma
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM connections")


CANARY = b"canary-6f1d0a57c2"


def copies(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if CANARY in path.read_bytes()]


async def test_what_was_deleted_is_in_no_file(home, sqlite_stores):
    """V-12."""
    for number in range(30):
        await sqlite_stores.connections.insert(a_connection(profile=f"p{number}"))
    row = a_connection(sealed=Sealed(CANARY * 400))  # several pages long
    await sqlite_stores.connections.insert(row)
    assert copies(home)
    await sqlite_stores.connections.delete(row.id)
    assert copies(home) == []


async def test_what_was_swept_is_in_no_file(home, sqlite_stores):
    await sqlite_stores.interactions.open(an_interaction(payload=Sealed(CANARY), phase=Phase.DONE))
    assert copies(home)
    await sqlite_stores.interactions.sweep(before=NOW + 601)
    assert copies(home) == []


async def test_a_reader_elsewhere_delays_erasing_only_to_the_next_time(home, sqlite_path, sqlite_stores):
    first, second = a_connection(sealed=Sealed(CANARY)), a_connection(profile="work")
    await sqlite_stores.connections.insert(first)
    await sqlite_stores.connections.insert(second)
    with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as elsewhere:
        elsewhere.execute("BEGIN")
        elsewhere.execute("SELECT * FROM connections").fetchall()
        assert await sqlite_stores.connections.delete(first.id) == first
        elsewhere.execute("COMMIT")
    assert await sqlite_stores.connections.delete(second.id) == second
    assert copies(home) == []


async def test_a_closed_store_leaves_one_file_and_opens_again(home, sqlite_stores):
    row = a_connection()
    await sqlite_stores.connections.insert(row)
    sqlite_stores.close()
    assert list(modes(home)) == ["valetkey.db"]
    assert await sqlite_stores.connections.by_id(row.id) == row


async def test_a_row_that_another_process_wrote_is_seen_at_once(sqlite_path, sqlite_stores):
    row = a_connection()
    await sqlite_stores.connections.insert(row)
    assert await sqlite_stores.connections.by_id(row.id) == row
    other = in_sqlite(sqlite_path)
    newer = replace(row, generation=2, expires_at=NOW + 9)
    assert await other.connections.save(newer, generation=1) is True
    other.close()
    assert await sqlite_stores.connections.by_id(row.id) == newer


async def test_a_write_goes_on_when_the_one_who_waits_is_cancelled(sqlite_stores, caplog):
    """A rotated token that was handed over is not lost with the call that brought it."""
    row = a_connection()
    await sqlite_stores.connections.insert(row)
    (file,) = sqlite_stores.connections._database._files.values()
    gate = threading.Event()
    file._thread.submit(gate.wait)  # the writer is busy: both writes wait in its queue

    saves = [
        asyncio.create_task(
            sqlite_stores.connections.save(replace(row, generation=generation + 1), generation=generation)
        )
        for generation in (1, 2)
    ]
    await asyncio.sleep(0)  # both have handed over
    saves[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await saves[0]
    gate.set()
    assert await saves[1] is True  # it comes after the cancelled one, and needs its generation
    assert (await sqlite_stores.connections.by_id(row.id)).generation == 3
    assert caplog.records == []


def test_a_write_whose_loop_was_closed_is_done_and_complains_to_nobody(sqlite_stores, caplog):
    row = a_connection()
    gate = threading.Event()

    async def begin() -> None:
        await sqlite_stores.connections.by_id("x")
        (file,) = sqlite_stores.connections._database._files.values()
        file._thread.submit(gate.wait)
        task = asyncio.create_task(sqlite_stores.connections.insert(row))
        await asyncio.sleep(0)
        task.cancel()

    async def look() -> object:
        await sqlite_stores.connections.insert(a_connection(profile="next in line"))
        return await sqlite_stores.connections.by_id(row.id)

    asyncio.run(begin())
    gate.set()
    assert asyncio.run(look()) == row
    assert caplog.records == []


async def test_reading_does_not_leave_the_calling_thread(sqlite_stores, monkeypatch):
    await sqlite_stores.connections.insert(a_connection())
    (file,) = sqlite_stores.connections._database._files.values()
    where = []
    read = file.read

    def noted(*args):
        where.append(threading.get_ident())
        return read(*args)

    monkeypatch.setattr(file, "read", noted)
    assert await sqlite_stores.connections.get(ADA, "slack", "default")
    assert where == [threading.get_ident()]


def test_statements_that_look_for_open_questions_use_the_index(sqlite_path, sqlite_stores):
    asyncio.run(sqlite_stores.interactions.get("x"))
    from valetkey.adapters.sql import statements

    database = sqlite_stores.connections._database
    plans = {}
    with closing(sqlite3.connect(sqlite_path)) as connection:
        for name in ("CONNECTION_OF_ACCOUNT", "CONNECTIONS_OF_OWNER", "INTERACTION_OPEN", "INTERACTIONS_OPEN"):
            prepared = database._prepare(getattr(statements, name))
            rows = connection.execute(f"EXPLAIN QUERY PLAN {prepared.sql}", [""] * len(prepared.names))
            plans[name] = " ".join(row[3] for row in rows)
    assert "uq_interactions_open" in plans["INTERACTION_OPEN"]
    assert "uq_interactions_open" in plans["INTERACTIONS_OPEN"]
    for name, plan in plans.items():
        assert plan.startswith("SEARCH"), name


def test_a_database_that_is_up_to_date_needs_no_alembic(sqlite_path, tmp_path):
    stores = in_sqlite(sqlite_path)
    asyncio.run(stores.connections.insert(a_connection()))
    stores.close()
    program = (
        "import asyncio, pathlib, sys\n"
        "from valetkey.adapters.sql.connections import SqlConnections\n"
        "from valetkey.adapters.sql.sqlite import SqliteDatabase\n"
        "database = SqliteDatabase(pathlib.Path(sys.argv[1]), ticks=float)\n"
        "assert asyncio.run(SqlConnections(database).by_id('x')) is None\n"
        "database.close()\n"
        "print([name for name in sys.modules if name.startswith('alembic')])\n"
    )
    import subprocess

    run = subprocess.run(
        [sys.executable, "-c", program, str(sqlite_path)], capture_output=True, text=True, timeout=30, check=True
    )
    assert run.stdout.strip() == "[]"
