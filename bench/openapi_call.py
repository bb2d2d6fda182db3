"""openapi-call: an operation of the app itself, called by a model's arguments, beside the bare request in process."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from results import ROUNDS, Part, Row

GOAL = 2.0


def measure(call: Callable[[str], float], *, beside: str, small: bool) -> Part:
    """In turns: ours, the bare ASGI request, the same by httpx2.

    Args:
        call: seconds of one call, by ``road``, ``bare`` or ``httpx2``, in a process of its own.
        beside: the others, with versions.
        small: one round.
    """
    rounds = 1 if small else ROUNDS
    found: dict[str, list[float]] = {"road": [], "bare": [], "httpx2": []}
    for round_ in range(rounds + 1):
        print(f"  round {round_}/{rounds}", end="\r", flush=True)
        for how, seconds in found.items():
            took = call(how)
            if round_:
                seconds.append(took)
    road, bare, httpx2 = (statistics.median(found[how]) for how in ("road", "bare", "httpx2"))

    def shown(seconds: float) -> str:
        return f"{seconds * 1e6:,.0f} µs"

    rows = [
        Row(
            "openapi-call, beside the bare ASGI request",
            shown(road),
            shown(bare),
            road / bare,
            GOAL,
            more_is_better=False,
        ),
        Row("openapi-call, beside httpx2's ASGITransport", shown(road), shown(httpx2), road / httpx2),
    ]
    return Part(rows, beside=beside)
