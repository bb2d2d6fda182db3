"""Keys rotate while everything runs: no read fails, nobody is restarted (R-23)."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stores.values import in_sqlite
from tests.vault.rows import Events, NoEntries, token
from tests.vault.rows import Vault as _Vault
from valetkey.adapters.keys_file import FileKeys
from valetkey.adapters.system import SystemClock, SystemEntropy
from valetkey.errors import ValetkeyError
from valetkey.model.connections import Connection, key_id_of
from valetkey.vault.held import Holdings
from valetkey.vault.keyring import Keyring
from valetkey.vault.reseal import Resealer
from valetkey.vault.seal import Sealer

PER_SECOND = 100


class Process:
    """What a process has of its own: a connection to the database, and keys that it read by itself."""

    def __init__(self, home: Path) -> None:
        clock, entropy = SystemClock(), SystemEntropy()
        self.stores = in_sqlite(home / "valetkey.db")
        self.source = FileKeys(home / "vault.keys", entropy=entropy, clock=clock)
        self.sealer = Sealer(Keyring(self.source, ticks=clock.monotonic), entropy)
        rooms = {
            "connections": self.stores.connections,
            "interactions": self.stores.interactions,
            "revocations": self.stores.revocations,
            "clients": self.stores.clients,
            "workspaces": self.stores.identity.workspaces,
        }
        identity = self.stores.identity
        self.holdings = Holdings(
            **rooms,  # type: ignore[arg-type]
            tokens=identity.tokens,
            audit=identity.audit,
            journal=NoEntries(),
            clock=clock,
        )
        self.resealer = Resealer(
            **rooms,  # type: ignore[arg-type]
            leaders=self.stores.leaders,
            sealer=self.sealer,
            clock=clock,
            entropy=entropy,
            recorder=Events(),
        )
        self.failed: list[str] = []
        self.reads = self.saves = 0

    async def read(self, ids: list[str]) -> None:
        """Read and open one row after the other, that many a second, until cancelled."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                row = await self.stores.connections.by_id(ids[self.reads % len(ids)])
                assert row is not None
                opened = self.sealer.open_credential(row)
                if opened != token(f"{row.id} {row.generation}"):
                    self.failed.append(f"{row.id}: another credential")
            except ValetkeyError as error:
                self.failed.append(repr(error))
            self.reads += 1
            await asyncio.sleep(max(0, began + self.reads / PER_SECOND - loop.time()))

    async def refresh(self, ids: list[str]) -> None:
        """Write one row after the other anew, one generation on, until cancelled."""
        while True:
            row = await self.stores.connections.by_id(ids[7 * self.saves % len(ids)])
            assert row is not None
            if await self.stores.connections.save(self.sealed(row, row.generation + 1), generation=row.generation):
                self.saves += 1
            await asyncio.sleep(0.02)

    def sealed(self, row: Connection, generation: int) -> Connection:
        """That row in that generation, whose token says so."""
        sealed = self.sealer.seal_credential(
            token(f"{row.id} {generation}"),
            connection_id=row.id,
            owner=row.owner,
            provider=row.provider,
            generation=generation,
        )
        return replace(row, generation=generation, sealed=sealed)


async def rotating(home: Path, *, rows: int, readers: int, pause: float) -> list[Process]:
    """Rotate twice, walk, and drop the old keys, while others read and write."""
    lead = Process(home)
    ids = []
    for _ in range(rows):
        made = await _Vault(lead.stores, lead.source).keep()
        assert await lead.stores.connections.save(lead.sealed(made, 2), generation=1)
        ids.append(made.id)
    others = [Process(home) for _ in range(readers + 1)]
    work = [asyncio.create_task(each.read(ids)) for each in others[:-1]]
    work.append(asyncio.create_task(others[-1].refresh(ids)))
    first = lead.source.keys()[0].id
    for _ in range(2):
        await asyncio.sleep(pause)
        added = lead.source.add()
        async with asyncio.timeout(5):  # the promise: all write with it within 5 s
            while others[-1].sealer.keyring.newest != added.id or lead.sealer.keyring.newest != added.id:  # noqa: ASYNC110 - polled as time goes by
                await asyncio.sleep(0.05)
        progress = await lead.resealer.walk()
        assert progress.led
        assert (progress.failed, progress.left) == (0, 0)
        assert set(await lead.holdings.count(thorough=True)) == {added.id}
        for old in lead.source.keys()[1:]:
            lead.source.remove(old.id)
    await asyncio.sleep(pause)
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    ended = [task.exception() for task in work if not task.cancelled()]
    assert ended == []
    for row in await lead.stores.connections.page():
        assert key_id_of(row.sealed) == added.id != first
    for each in (lead, *others):
        each.stores.close()
    return others


@pytest.mark.requirement("B.shown-rotation", "R-23", "V-06")
async def test_two_rotations_under_load_without_a_failed_read(home):
    """R-23, V-06: the short form."""
    processes = await rotating(home, rows=60, readers=1, pause=0.5)
    assert [each.failed for each in processes] == [[], []]
    assert processes[0].reads > 100
    assert processes[-1].saves > 20


@pytest.mark.requirement("B.shown-rotation", "R-23")
@pytest.mark.long
@pytest.mark.timeout(180)
async def test_two_rotations_under_load_of_three_processes_without_a_failed_read(home):
    """R-23, V-06."""
    processes = await rotating(home, rows=2_000, readers=3, pause=10)
    assert [each.failed for each in processes] == [[]] * 4
    assert min(each.reads for each in processes[:-1]) > 1_500
    assert processes[-1].saves > 200
