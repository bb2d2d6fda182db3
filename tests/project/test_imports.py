"""What an import costs, and what it must not do: write, open a socket, start a thread, load what is heavy."""

import importlib.util
import json
import subprocess
import sys

import pytest

HEAVY = ("alembic", "cryptography", "fastapi", "httpx2", "jinja2", "rich", "sqlalchemy", "uvicorn")
ROUNDS = 5
IMPORTS = [("import valetkey", 0.25)]
if importlib.util.find_spec("valetkey.entrypoints.pocket.pocket"):  # the room may not be built yet
    IMPORTS.append(("from valetkey import Pocket", 0.6))

TIMED = """
import time
began = time.perf_counter()
{statement}
print(time.perf_counter() - began)
"""
WATCHED = """
import json, os, sys, threading
seen = []
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
def watch(event, args):
    if event == "open":
        path, mode, flags = args
        if set(mode or "") & set("wax+") or flags & WRITING:
            seen.append(f"open {{path}}")
    elif event.startswith(("socket.", "_thread.", "subprocess.", "os.fork", "os.mkdir", "sqlite3.")):
        seen.append(event)
sys.addaudithook(watch)
{statement}
loaded = sorted({{name.partition(".")[0] for name in sys.modules}})
print(json.dumps({{"seen": seen, "threads": threading.active_count(), "loaded": loaded}}))
"""


def run(code: str, *flags: str) -> str:
    """Run a program in a Python of its own; what it printed."""
    command = [sys.executable, *flags, "-c", code]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize(("statement", "most"), IMPORTS)
def test_an_import_is_quick(statement, most):
    run(statement)  # the byte code is there
    best = min(float(run(TIMED.format(statement=statement))) for _ in range(ROUNDS))
    assert best < most, f"{statement} took {best:.3f} s"


@pytest.mark.parametrize("statement", [statement for statement, _ in IMPORTS])
def test_an_import_touches_nothing(statement, home):
    # -B: byte code is Python's own to write
    report = json.loads(run(WATCHED.format(statement=statement), "-B"))
    assert report["seen"] == []
    assert report["threads"] == 1
    assert not home.exists()


@pytest.mark.parametrize("statement", [statement for statement, _ in IMPORTS])
def test_an_import_loads_nothing_heavy(statement):
    report = json.loads(run(WATCHED.format(statement=statement), "-B"))
    assert not set(HEAVY) & set(report["loaded"])


def test_the_watch_sees_what_it_watches_for():
    statement = "open('written', 'w').close(); import socket; socket.socket().close(); import rich"
    report = json.loads(run(WATCHED.format(statement=statement), "-B"))
    assert "open written" in report["seen"]
    assert "socket.__new__" in report["seen"]
    assert "rich" in report["loaded"]
