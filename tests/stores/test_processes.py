"""Several processes on one SQLite file: at once, killed, and forked."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.stores.values import ADA, in_sqlite
from tests.stores.worker import ROW_ID

WORKER = Path(__file__).with_name("worker.py")


@contextmanager
def worker(task: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with its task; none is left behind."""
    process = subprocess.Popen(
        [sys.executable, str(WORKER), task, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_processes_that_start_at_once_on_a_fresh_file_all_succeed(sqlite_path):
    with ExitStack() as stack:
        processes = [stack.enter_context(worker("start", sqlite_path)) for _ in range(3)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        ended = [process.communicate(timeout=40) for process in processes]
    assert [(out.splitlines()[0], err) for out, err in ended] == [("True", "")] * 3
    stores = in_sqlite(sqlite_path)
    assert len(asyncio.run(_of_ada(stores))) == 3
    stores.close()
    assert sound(sqlite_path)


@pytest.mark.requirement("R-22")
def test_a_migration_killed_in_the_middle_is_done_by_the_next_start(sqlite_path):
    """R-22."""
    with worker("die", sqlite_path) as process:
        assert process.wait(30) == -signal.SIGKILL
    with closing(sqlite3.connect(sqlite_path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    stores = in_sqlite(sqlite_path)
    assert asyncio.run(_of_ada(stores)) == []
    stores.close()
    assert sound(sqlite_path)


@pytest.mark.requirement("R-16")
@pytest.mark.parametrize("kills", [4, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_what_was_acknowledged_before_a_kill_is_there_after_it(sqlite_path, kills):
    """R-16."""
    acknowledged = 0
    for number in range(kills):
        with worker("write", sqlite_path) as process:
            assert process.stdout is not None
            for _ in range(3 + number * 7 % 20):
                acknowledged = int(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, process.stdout.read().split("\n")[:-1])])
        assert sound(sqlite_path)
        stores = in_sqlite(sqlite_path)
        row = asyncio.run(_by_id(stores))
        stores.close()
        assert row.generation in {acknowledged, acknowledged + 1}  # the last one may have been cut before its word


def test_after_a_fork_both_use_the_file(sqlite_path):
    with worker("fork", sqlite_path) as process:
        out, err = process.communicate(timeout=30)
    assert out.splitlines() == [
        "('before', 1)",
        "('forked', 1)",
        "('child', True, 2)",
        "('parent', 0, True, 3)",
    ]
    assert err == ""
    assert sound(sqlite_path)


async def _of_ada(stores):
    return list(await stores.connections.of_owner(ADA))


async def _by_id(stores):
    return await stores.connections.by_id(ROW_ID)
