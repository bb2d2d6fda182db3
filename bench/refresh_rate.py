"""refresh-rate: refreshes per second of one process, each of another owner's account."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import place
from results import ROUNDS, Part, Row

PEERS = Path(__file__).resolve().parent / "peers"
KINDS = ("sqlite", "postgresql")
KEYCLOAK = 120.0
"""Refreshes per second and vCPU that Keycloak's sizing guide counts with."""

COUNT, AT_ONCE = 1_000, 32
SECONDS = 300
ENOUGH = 2.0


def measure(*, small: bool) -> Part:
    """One process refreshes ended accounts, each of another owner, 32 callers at once; the provider is on loopback."""
    rounds, count = (1, 200) if small else (ROUNDS, COUNT)
    told = place.calm(patience=0 if small else 240)
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in (*KINDS, "bare")}
    with ExitStack() as stack:
        port = stack.enter_context(_provider())
        like = {"issuer": f"http://127.0.0.1:{port}", "client": "bench-client", "secret": "bench-secret"}
        where = {kind: stack.enter_context(place.a_place(kind, **like)) for kind in KINDS}
        for number in range(rounds + 1):
            print(f"  round {number}/{rounds}", flush=True)
            for kind in KINDS:
                word = f"{kind}-{number}"
                _fill(where[kind], word, count + count // 5)
                plan = {
                    "project": str(where[kind].project),
                    "settings": where[kind].settings,
                    "word": word,
                    "count": count,
                    "at_once": AT_ONCE,
                }
                met = _told("rate_valetkey.py", json.dumps(plan))
                print(f"    {kind}: {met[0]:.0f}/s, {met[1] * 1000:.2f} ms of CPU each", flush=True)
                if number:
                    found[kind].append(met)
            alone = _told("rate_bare.py", str(port), str(number), str(4 * count), "10")
            if number:
                found["bare"].append(alone)
    return _part(found, [told] if told else [])


def _fill(where: place.Place, word: str, count: int) -> None:
    system = where.system()
    rows = (
        place.a_row(system, f"{word}-{number}", access="ended", refresh=f"{word}-{number}", ends_in=-100)
        for number in range(count)
    )
    place.fill([where], rows)
    system.close()


@contextmanager
def _provider() -> Iterator[int]:
    """Its port; it runs in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, PEERS / "rate_provider.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def _told(script: str, *arguments: str) -> tuple[float, float]:
    ended = subprocess.run(
        [sys.executable, PEERS / script, *arguments], check=True, stdout=subprocess.PIPE, text=True, timeout=SECONDS
    )
    rate, used = json.loads(ended.stdout.strip().splitlines()[-1])
    return rate, used


def _part(found: dict[str, list[tuple[float, float]]], notes: list[str]) -> Part:
    middle = {
        kind: (statistics.median(rate for rate, _ in met), statistics.median(used for _, used in met))
        for kind, met in found.items()
    }
    rows = []
    for kind in KINDS:
        rate, used = middle[kind]
        other = f"Keycloak's {KEYCLOAK:.0f}/s per vCPU"
        rows.append(Row(f"refresh-rate, {kind}, by the clock", f"{rate:,.0f}/s", other, rate / KEYCLOAK, 2.0))
        ours = f"{1 / used:,.0f}/s, {used * 1000:.1f} ms each"
        rows.append(Row(f"refresh-rate, {kind}, by CPU time of the process", ours, other, 1 / used / KEYCLOAK, 2.0))
    bare = middle["bare"][0]
    least = bare / max(middle[kind][0] for kind in KINDS)
    limit = f"A bare client got {bare:,.0f}/s from the same provider, {least:.1f} times the faster one of ours."
    if least < ENOUGH:
        limit += " So the provider was part of the limit."
    return Part(rows, beside="figure of Keycloak's sizing guide", notes=[limit, *notes])
