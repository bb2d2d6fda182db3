"""vault-scale: what one look into the vault costs among a thousand, a hundred thousand, a million connections."""

from __future__ import annotations

import asyncio
import random
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import place
import plots
from results import ROUNDS, Part, Row

from valetkey.adapters.sql.rows import connection_from
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import Connection
from valetkey.ports.stores import ConnectionStore
from valetkey.wiring.system import System

SIZES = (1_000, 100_000, 1_000_000)
READS = 1_000
LONG = 0.01
KINDS = ("sqlite", "postgresql")
LIKE = {"issuer": "http://127.0.0.1:9", "client": "bench-client", "secret": "bench-secret"}
FEW = 100
"""Rows that are due, and rows that an older key sealed, at each size."""

PAGE = 500
"""Rows that upkeep seals anew in one go."""


@dataclass(frozen=True)
class Vault:
    """One filled store.

    Attributes:
        ids: of some of its connections, by the number of their owner.
    """

    system: System
    size: int
    ids: dict[int, str]


def measure(*, small: bool) -> Part:
    """One connection is read among 1,000, 100,000 and 1,000,000; none is in this process' memory from before."""
    sizes = (1_000, 10_000) if small else SIZES
    rounds = 1 if small else ROUNDS
    with ExitStack() as stack:
        server = stack.enter_context(place.server())
        vaults: dict[tuple[str, int], Vault] = {}
        for size in sizes:
            print(f"  filling {size:,} …", flush=True)
            older, newer = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
            both = [
                stack.enter_context(
                    place.a_place(
                        kind,
                        **LIKE,
                        vault_key=f"{newer},{older}",
                        **({"database_url": server.fresh()} if kind == "postgresql" else {}),
                    )
                )
                for kind in KINDS
            ]
            ids = _filled(both, size, older, wanted=READS * (rounds + 1))
            for kind, where in zip(KINDS, both, strict=True):
                vaults[kind, size] = Vault(where.system(), size, ids)
        told = place.calm(patience=0 if small else 240)
        found: dict[tuple[str, str, int], list[float]] = {}
        for number in range(rounds + 1):
            print(f"  round {number}/{rounds}", flush=True)
            for (kind, size), vault in vaults.items():
                for what, seconds in asyncio.run(_looks(vault)).items():
                    if number:
                        found.setdefault((kind, what, size), []).append(seconds)
        for vault in vaults.values():
            vault.system.close()
    return _part({key: statistics.median(each) for key, each in found.items()}, sizes, [told] if told else [])


def _filled(both: Sequence[place.Place], size: int, older: str, *, wanted: int) -> dict[int, str]:
    """Fill the stores with the same rows; some of their ids."""
    chosen = frozenset(random.sample(range(size), min(size, wanted)))
    special = random.sample(range(size), 2 * FEW)
    due, stale = frozenset(special[:FEW]), frozenset(special[FEW:])
    newest = both[0].system()
    before = place.Place(project=both[0].project, settings={**both[0].settings, "vault_key": older}).system()
    ids: dict[int, str] = {}

    def rows() -> Iterator[Connection]:
        usual = place.a_row(newest, "pattern", access="", refresh="", ends_in=7200)
        ended = replace(usual, refresh_at=time.time() - 60)
        for number in range(size):
            row = place.another(
                before if number in stale else newest,
                ended if number in due else usual,
                f"owner-{number}",
                access=secrets.token_urlsafe(40),
                refresh=secrets.token_urlsafe(40),
            )
            if number in chosen:
                ids[number] = row.id
            yield row

    place.fill(both, rows())
    newest.close()
    before.close()
    return ids


async def _looks(vault: Vault) -> dict[str, float]:
    """Seconds of each kind of look, in the middle of many."""
    store = vault.system.stores.connections
    chosen = random.sample(sorted(vault.ids), min(READS, vault.size))
    for number in random.sample(range(vault.size), 50):  # connections to the database are open, statements compiled
        await store.get(owner_of(f"owner-{number}"), place.PROVIDER, "default")
    newest = vault.system.sealer.keyring.newest
    (older,) = (key_id for key_id in await store.keys() if key_id != newest)
    connection_from.cache_clear()
    by_account = [
        await _timed(lambda number=number: store.get(owner_of(f"owner-{number}"), place.PROVIDER, "default"))
        for number in chosen
    ]
    connection_from.cache_clear()
    by_id = [await _timed(lambda number=number: store.by_id(vault.ids[number])) for number in chosen]
    return {
        "by account": statistics.median(by_account),
        "by id": statistics.median(by_id),
        f"`due`, {FEW} are": await _many(lambda: _due(store)),
        f"`sealed_by`, the older key's {FEW}": await _many(lambda: _sealed(store, older, FEW)),
        f"`sealed_by`, {PAGE} of the newest key's": await _many(lambda: _sealed(store, newest, PAGE)),
        "`keys`": await _many(lambda: _keys(store, vault.size)),
    }


async def _many(look: Callable[[], Awaitable[object]], *, times: int = 15) -> float:
    taken = []
    for _ in range(times):
        connection_from.cache_clear()
        taken.append(await _timed(look))
    return statistics.median(taken)


async def _due(store: ConnectionStore) -> None:
    assert len(await store.due(now=time.time(), limit=FEW)) == FEW


async def _sealed(store: ConnectionStore, key_id: str, count: int) -> None:
    assert len(await store.sealed_by(key_id, limit=PAGE)) == count


async def _keys(store: ConnectionStore, size: int) -> None:
    assert sum((await store.keys()).values()) == size


async def _timed(look: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    assert await look() is not False
    return time.perf_counter() - began


def _part(found: dict[tuple[str, str, int], float], sizes: Sequence[int], notes: list[str]) -> Part:
    first, most = sizes[0], sizes[-1]
    rows, lines = [], {}
    for kind, what in dict.fromkeys((kind, what) for kind, what, _ in found):
        held = {size: found[kind, what, size] for size in sizes}
        between = ", ".join(f"{_told(held[size])} at {size:,}" for size in sizes[:-1])
        read = what.startswith("by")
        rows.append(
            Row(
                f"vault-scale, {kind}, {what}",
                f"{_told(held[most])} at {most:,}",
                between,
                held[most] / held[first],
                1.5 if read else None,
                more_is_better=False,
            )
        )
        if read:
            lines[f"{kind}, {what}"] = [(size, held[size] / held[first]) for size in sizes]
    plot = plots.draw(
        title="Reading one connection (p50), by how many there are",
        x="connections in the vault",
        y=f"times what it takes among {first:,}",
        lines=lines,
        bars={"to reach": 1.5},
    )
    say = (
        f"What upkeep asks has no bar: `due` for {FEW} to refresh ahead, `sealed_by` for up to {PAGE} to seal anew, and"
        " `keys` for how many rows each key sealed. `due` is led by one process and asked each few seconds."
    )
    return Part(rows, beside="each row with a sealed credential", notes=[say, *notes], plot=plot)


def _told(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs" if seconds < LONG else f"{seconds * 1e3:,.0f} ms"
