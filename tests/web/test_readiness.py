"""Whether this process can serve: each part down, hanging, and back again."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401 - so that no deadline pays for its import
import pytest

from tests.stores.values import a_connection
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.system import SystemClock, SystemEntropy
from valetkey.errors import KeyUnavailable, StoreUnavailable
from valetkey.model.connections import Connection
from valetkey.ports.world import Key
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.vault.keyring import Keyring
from valetkey.vault.seal import Sealer
from valetkey.wiring.readiness import Readiness
from valetkey.wiring.stores import Stores, open_stores

CANARY = "postgresql://ada:canary-9d41@10.1.2.3/keys"


class Pinging:
    """A database or a bus; it may be down, or hang, with or without heeding that nobody waits any more."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: BaseException | None = None
        self.hanging = False
        self.stubborn = False
        self.go = asyncio.Event()

    async def ping(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        while self.hanging and not self.go.is_set():
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise


class Keys:
    """A source of keys that may be down, or hang."""

    def __init__(self) -> None:
        self.name = "a test"
        self.asked = 0
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def keys(self, *, make: bool = True) -> tuple[Key, ...]:
        self.asked += 1
        self.go.wait(20)
        if self.error is not None:
            raise self.error
        return (Key(id="k1", material=b"k" * 32),)

    def stamp(self) -> Hashable:
        return 1

    def add(self) -> Key:
        raise NotImplementedError

    def remove(self, key_id: str) -> None:
        raise NotImplementedError


class Entries:
    """A journal with so many entries."""

    def __init__(self) -> None:
        self.kept: list[tuple[Connection, int]] = []
        self.asked = 0
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def put(self, connection: Connection, *, generation: int) -> None:
        self.kept.append((connection, generation))

    def of(self, connection_id: str) -> tuple[Connection, int] | None:
        return None

    def entries(self) -> Sequence[tuple[Connection, int]]:
        self.asked += 1
        self.go.wait(20)
        if self.error is not None:
            raise self.error
        return tuple(self.kept)

    def remove(self, connection: Connection) -> None:
        raise NotImplementedError


class Process:
    """A process with all its parts."""

    def __init__(self, home: HomeLoop) -> None:
        self.stores, self.bus, self.keys, self.journal = Pinging(), Pinging(), Keys(), Entries()
        self.clock = ManualClock()
        self.readiness = Readiness(
            stores=self.stores,
            bus=self.bus,
            sealer=Sealer(Keyring(self.keys, ticks=self.clock.monotonic), SystemEntropy()),
            journal=self.journal,
            home=home,
            clock=self.clock,
            deadline=0.3,
        )

    async def status(self) -> str:
        """Asked anew."""
        self.clock.advance(1)
        return (await self.readiness.report()).status

    async def detail(self, name: str) -> str:
        return (await self.readiness.report()).checks[name].detail


@pytest.fixture
def home() -> Iterator[HomeLoop]:
    home = HomeLoop()
    yield home
    home.close()


@pytest.fixture
def process(home: HomeLoop) -> Process:
    return Process(home)


@pytest.mark.requirement("B6.readiness")
async def test_with_all_parts_it_is_ready(process: Process) -> None:
    report = await process.readiness.report()
    assert report.as_dict() == {
        "status": "ready",
        "ready": True,
        "checks": {name: {"ok": True, "detail": "ok"} for name in ("database", "keys", "bus", "journal")},
    }


def database_down(process: Process) -> None:
    process.stores.error = StoreUnavailable(f"{CANARY} does not answer.")


def database_broken(process: Process) -> None:
    process.stores.error = RuntimeError(CANARY)


def database_hangs(process: Process) -> None:
    process.stores.hanging = True


def no_key(process: Process) -> None:
    process.keys.error = KeyUnavailable(CANARY)


def keys_hang(process: Process) -> None:
    process.keys.go.clear()


def bus_down(process: Process) -> None:
    process.bus.error = ConnectionRefusedError(CANARY)


def bus_hangs(process: Process) -> None:
    process.bus.hanging = True


def journal_waits(process: Process) -> None:
    process.journal.put(a_connection(account=CANARY), generation=1)


def journal_unreadable(process: Process) -> None:
    process.journal.error = StoreUnavailable(CANARY)


def journal_hangs(process: Process) -> None:
    process.journal.go.clear()


def mend(process: Process) -> None:
    for part in (process.stores, process.bus):
        part.error, part.hanging = None, False
    process.keys.error = process.journal.error = None
    process.journal.kept.clear()
    process.keys.go.set()
    process.journal.go.set()


@pytest.mark.requirement("B6.readiness")
@pytest.mark.parametrize(
    ("fault", "name", "status", "detail"),
    [
        (database_down, "database", "unavailable", "cannot be used now"),
        (database_broken, "database", "unavailable", "cannot be used now"),
        (database_hangs, "database", "unavailable", "no answer within 0.3 s"),
        (no_key, "keys", "unavailable", "cannot seal and open"),
        (keys_hang, "keys", "unavailable", "no answer within 0.3 s"),
        (bus_down, "bus", "degraded", "cannot be reached: waits take longer, limits count by process"),
        (bus_hangs, "bus", "degraded", "no answer within 0.3 s"),
        (journal_waits, "journal", "degraded", "1 waiting for the database"),
        (journal_unreadable, "journal", "degraded", "cannot be read"),
        (journal_hangs, "journal", "degraded", "no answer within 0.3 s"),
    ],
)
async def test_a_part_that_is_down_is_told_and_comes_back(
    process: Process,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[Process], None],
    name: str,
    status: str,
    detail: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    fault(process)
    began = time.monotonic()
    assert await process.status() == status
    assert time.monotonic() - began < 2
    report = await process.readiness.report()
    assert report.ready is (status == "degraded")
    assert {part: check.detail for part, check in report.checks.items() if not check.ok} == {name: detail}
    assert "canary" not in json.dumps(report.as_dict())
    mend(process)
    deadline = time.monotonic() + 5
    while await process.status() != "ready":  # a thread that hung has to end first
        assert time.monotonic() < deadline
    assert "canary" not in caplog.text
    told = [record.getMessage() for record in caplog.records if record.name == "valetkey"]
    assert told == [f"readiness: {status} ({name})", "readiness: ready"]


async def test_a_crowd_of_probes_asks_once_in_a_second(process: Process) -> None:
    await asyncio.gather(*(process.readiness.report() for _ in range(200)))
    process.clock.advance(0.9)
    await process.readiness.report()
    assert [process.stores.asked, process.bus.asked] == [1, 1]
    process.clock.advance(0.2)
    await process.readiness.report()
    assert process.stores.asked == 2


async def test_parts_are_asked_at_the_same_time(process: Process) -> None:
    for fault in (database_hangs, keys_hang, bus_hangs, journal_hangs):
        fault(process)
    began = time.monotonic()
    report = await process.readiness.report()
    assert time.monotonic() - began < 0.3 * 3
    assert [check.ok for check in report.checks.values()] == [False] * 4
    mend(process)


@pytest.mark.requirement("B6.readiness")
async def test_questions_to_a_part_that_hangs_do_not_pile_up(process: Process) -> None:
    process.stores.hanging = process.stores.stubborn = True
    keys_hang(process)
    before = threading.active_count()
    for _ in range(5):
        assert await process.status() == "unavailable"
    assert [process.stores.asked, process.keys.asked] == [1, 1]
    assert threading.active_count() <= before + 3  # the home loop, and one for each of two parts that may block
    mend(process)
    process.stores.go.set()
    process.stores.stubborn = False


async def test_a_disk_that_hangs_takes_no_threads_from_the_keys(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    journal_hangs(process)
    for _ in range(5):
        assert await process.status() == "degraded"
    assert process.journal.asked == 1
    assert [record.getMessage() for record in caplog.records] == ["readiness: degraded (journal)"]
    mend(process)


async def test_whoever_asks_in_vain_may_leave(process: Process) -> None:
    database_hangs(process)
    asking = asyncio.ensure_future(process.readiness.report())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await process.readiness.report()).status == "unavailable"


@pytest.fixture
def kept(tmp_path: Path, home: HomeLoop) -> Iterator[Stores]:
    config = Config.load(tmp_path, {})
    stores = open_stores(config, tmp_path / "data", clock=SystemClock(), home=home)
    yield stores
    stores.close()


def over(stores: Any, home: HomeLoop, clock: ManualClock) -> Readiness:
    sealer = Sealer(Keyring(Keys(), ticks=clock.monotonic), SystemEntropy())
    return Readiness(stores=stores, bus=None, sealer=sealer, journal=None, home=home, clock=clock)


async def test_a_real_file_that_is_removed_while_open_is_no_database(
    kept: Stores, home: HomeLoop, tmp_path: Path
) -> None:
    clock = ManualClock()
    readiness = over(kept, home, clock)
    assert (await readiness.report()).status == "ready"
    assert set((await readiness.report()).checks) == {"database", "keys"}
    away = tmp_path / "away.db"
    path = tmp_path / "data" / "valetkey.db"
    path.rename(away)
    clock.advance(1)
    assert (await readiness.report()).checks["database"].detail == "cannot be used now"
    path.touch()  # another file of that name is not it
    clock.advance(1)
    assert (await readiness.report()).status == "unavailable"
    away.replace(path)
    clock.advance(1)
    assert (await readiness.report()).status == "ready"


async def test_a_file_that_is_no_database_is_none(home: HomeLoop, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "valetkey.db").write_bytes(b"no database at all" * 100)
    stores = open_stores(Config.load(tmp_path, {}), tmp_path / "data", clock=SystemClock(), home=home)
    assert (await over(stores, home, ManualClock()).report()).status == "unavailable"
    stores.close()
