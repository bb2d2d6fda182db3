"""A process of its own that uses the stores: run by a test with a task and the database's path or URL."""

import asyncio
import gc
import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.stores.values import ADA, Stores, a_connection, in_postgres, in_sqlite

ROW_ID = "0" * 32


def say(word: object) -> None:
    """One line to the test, at once."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def opened(where: str) -> Stores:
    """The stores in that file, or at that URL."""
    return in_postgres(where) if where.startswith("postgresql://") else in_sqlite(Path(where))


async def start(path: str) -> None:
    """Wait for the word, then use a file that may not be there yet."""
    import alembic.command  # noqa: F401 - imported before, so that all begin at the same moment

    stores = opened(path)
    say("ready")
    sys.stdin.readline()
    say(await stores.connections.insert(a_connection(id=f"{os.getpid():032x}", profile=str(os.getpid()))))
    say(len(await stores.connections.of_owner(ADA)))
    stores.close()


async def write(path: str) -> None:
    """Write generation after generation, and say each that was acknowledged, until killed."""
    stores = opened(path)
    row = await stores.connections.by_id(ROW_ID)
    if row is None:
        row = a_connection(id=ROW_ID)
        await stores.connections.insert(row)
    while True:
        new = replace(row, generation=row.generation + 1, account="x" * (row.generation % 50 * 100))
        if await stores.connections.save(new, generation=row.generation):
            say(new.generation)
            row = new


async def die_while_migrating(path: str) -> None:
    """Be killed between the first table and the second."""
    from alembic import op

    create = op.create_table
    made: list[object] = []

    def create_table(*args: Any, **kwargs: Any) -> None:
        if made:
            os.kill(os.getpid(), signal.SIGKILL)
        made.append(create(*args, **kwargs))

    op.create_table = create_table  # type: ignore[assignment]
    await opened(path).connections.by_id("x")


def crowd(path: str) -> None:
    """Eight processes that begin at the same moment, each with stores of its own; what each of them met."""
    import alembic.command  # noqa: F401 - imported before, as above

    ready, go = os.pipe()
    children = []
    for _ in range(8):
        child = os.fork()
        if not child:
            os.close(go)
            os.read(ready, 1)  # ends when the parent lets go
            stores = opened(path)
            new = a_connection(id=f"{os.getpid():032x}", profile=str(os.getpid()))
            inserted = asyncio.run(stores.connections.insert(new))
            stores.close()
            sys.exit(0 if inserted else 1)
        children.append(child)
    os.close(go)
    say([os.waitpid(child, 0)[1] for child in children])


def guarded(use: Any) -> Any:
    """A use of the parent's own connections, which is not for its children."""
    parent = os.getpid()

    def only_parent(*args: Any, **kwargs: Any) -> Any:
        if os.getpid() != parent:
            raise RuntimeError("a child used a connection that it was forked with")
        return use(*args, **kwargs)

    return only_parent


def fork(path: str) -> None:
    """Use the store, fork, and use it in both."""
    stores = opened(path)
    asyncio.run(stores.connections.insert(a_connection(profile="before")))
    say(("before", len(asyncio.run(stores.connections.of_owner(ADA)))))
    database: Any = stores.connections
    inherited = next(iter(database._database._files.values())) if "://" not in path else database._database._pool
    for use in ("read", "write") if "://" not in path else ("session", "close"):
        setattr(inherited, use, guarded(getattr(inherited, use)))
    del inherited
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a program may fork with threads; this is about that
        child = os.fork()
    if not child:
        say(("forked", len(asyncio.run(stores.connections.of_owner(ADA)))))
        inserted = asyncio.run(stores.connections.insert(a_connection(id="1" * 32, profile="child")))
        say(("child", inserted, len(asyncio.run(stores.connections.of_owner(ADA)))))
        gc.collect()  # what nobody holds any more is closed, which must not reach the parent's
        sys.exit(0)  # the whole way out, with all that Python closes on it
    _, status = os.waitpid(child, 0)
    inserted = asyncio.run(stores.connections.insert(a_connection(profile="parent")))
    say(("parent", status, inserted, len(asyncio.run(stores.connections.of_owner(ADA)))))
    stores.close()


if __name__ == "__main__":
    task, where = sys.argv[1], sys.argv[2]
    if task in {"fork", "crowd"}:
        {"fork": fork, "crowd": crowd}[task](where)
    else:
        asyncio.run({"start": start, "write": write, "die": die_while_migrating}[task](where))
