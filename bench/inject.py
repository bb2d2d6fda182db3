"""inject: a GET with the caller's own credential, put on by us, beside the same request sent bare."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from results import ROUNDS, Part, Row

GOAL = 1.25


def measure(call: Callable[..., float], *, beside: str, small: bool) -> Part:
    """In turns: the road, the same with ticket and audit log, the door, and the bare request.

    Args:
        call: seconds of one GET at p50, by ``road``, ``ticket``, ``door`` or ``httpx2``, in a process of its own.
        beside: the others, with versions.
        small: one round.
    """
    rounds = 1 if small else ROUNDS
    ways = {
        "inject: the road": ("road", "in_memory"),
        "inject: with its ticket looked up and the audit log": ("ticket", "in_memory"),
        "inject: the same, SQLite": ("ticket", "sqlite"),
        "inject: asked of our server, over HTTP": ("door", "in_memory"),
    }
    found: dict[str, list[float]] = {name: [] for name in (*ways, "")}
    for round_ in range(rounds + 1):
        print(f"  round {round_}/{rounds}", end="\r", flush=True)
        for name, seconds in found.items():
            took = call(*ways.get(name, ("httpx2",)))
            if round_:
                seconds.append(took)
    bare = statistics.median(found.pop(""))
    rows = []
    for name, seconds in found.items():
        took = statistics.median(seconds)
        shown = f"{took * 1e6:,.0f} µs ({(took - bare) * 1e6:+,.0f} µs)"
        goal = GOAL if name == "inject: the road" else None
        rows.append(Row(name, shown, f"{bare * 1e6:,.0f} µs", took / bare, goal, more_is_better=False))
    return Part(rows, beside=beside)
