"""A run: a provider, a database, workers that share a dozen accounts, faults by a plan; then the history is judged."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import scale
from tests.chaos.checker import Finding, check
from tests.chaos.crew import Crew
from tests.chaos.history import History, Reader, Teller
from tests.chaos.legs import GRACE, KEYS, Leg, Say
from tests.chaos.provider import Provider
from tests.chaos.servers import postgres_server, valkey_server


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a leg came to."""

    leg: Leg
    history: History
    findings: list[Finding]
    took: float
    faults: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)


def run(leg: Leg, *, say: Say = lambda _: None, keep: Path | None = None) -> Outcome:
    """Run one leg, and judge it.

    Args:
        say: is told how it goes.
        keep: a folder in which histories and logs stay.

    Raises:
        Missing: its database, or its bus, is not here.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="valetkey-chaos-")))
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("commands-*"):
            left.unlink()
        for name in ("histories", "logs", "home"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir(mode=0o700)
        teller = Teller(folder / "histories" / "runner.jsonl")
        stack.callback(teller.close)
        postgres = stack.enter_context(postgres_server()) if leg.database == "postgres" else None
        valkey = stack.enter_context(valkey_server()) if leg.bus else None
        provider = Provider(
            teller,
            accounts=KEYS,
            grace=0.0 if leg.strict else GRACE,
            deadline=scale.HTTP,
            seed=leg.seed,
        )
        stack.enter_context(provider.running())
        reader = Reader(folder / "histories")
        crew = Crew(leg, folder, teller, provider, reader, say, postgres, valkey)
        try:
            crew.work()
        finally:
            crew.end()
        reader.more()
    history = History(reader.events, strict=leg.strict, bound=scale.BOUND, longest=scale.LONGEST_CALL)
    findings = check(history)
    faults = Counter(event["what"] for event in history.of("fault"))
    return Outcome(
        leg=leg,
        history=history,
        findings=findings,
        took=time.monotonic() - began,
        faults=faults,
        counts=counted(history),
    )


def counted(history: History) -> dict[str, int]:
    """The figures of a report."""
    shown = history.presentations
    calls = list(history.of("call"))
    leases: Counter[tuple[str, int]] = Counter((event["conn"], event["gen"]) for event in history.of("lease"))
    takers: dict[tuple[str, int], set[str]] = {}
    for event in history.of("lease"):
        takers.setdefault((event["conn"], event["gen"]), set()).add(event["w"])
    deaths = Counter(event["why"] for event in history.of("dead"))
    return {
        "calls": len(calls),
        "served": sum(event["error"] is None for event in calls),
        "refreshes": sum(event["parent"] is not None for event in history.of("issued")),
        "presentations": sum(len(each) for each in shown.values()),
        "answers lost": sum(each.issued is not None and not each.answered for all_ in shown.values() for each in all_),
        "refresh tokens used twice, each explained": sum(
            any(first.issued is not None for first in each[:-1]) for each in shown.values() if len(each) > 1
        ),
        "leases": sum(leases.values()),
        "taken over by another process": sum(len(workers) > 1 for workers in takers.values()),
        "kept in the journal": sum(1 for _ in history.of("journaled")),
        "disconnected": sum(1 for _ in history.of("deleted")),
        "connected": sum(1 for _ in history.of("connect", error=None)),
        "families ended by reuse": deaths["reuse"],
        "needed a person": sum(1 for _ in history.of("noting")),
        "stood still by themselves": sum(1 for _ in history.of("stall")),
    }
