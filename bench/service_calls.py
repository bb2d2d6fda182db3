"""http-call, rpc-call, memory: calls of a service in a connected client, through ours and through hypha's server."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import place
import plots
from results import ROUNDS, Part, Row
from servers import Served, ours

CLIENTS = (1, 8, 32)
HELD = 8
"""The number of clients whose figures are held against a bar."""

HTTP_CALLS = 1600
RPC_CALLS = 1600
IN_FLIGHT = (1, 16)
MANY, FEW = 20_000, 2_800
"""HTTP calls before memory is looked at: of ours, and of hypha's, whose server slows down as it grows."""

MOST = 20.0
"""MB that the memory may grow by."""

MB = 1_048_576
Start = Callable[[], Any]


def http_call(hypha: Start, *, beside: str, small: bool) -> Part:
    """``POST /{ws}/services/{id}/{fn}``; its cost is drawn as clients grow."""
    told = place.calm(patience=0 if small else 240)
    calls = 320 if small else HTTP_CALLS
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    with ExitStack() as stack:
        servers: dict[str, Served] = {
            "ours": stack.enter_context(ours()),
            "hypha": stack.enter_context(hypha()),
        }
        for round_ in range(1 + (1 if small else ROUNDS)):
            for clients in CLIENTS:
                for name, server in servers.items():
                    # A single client waits for each answer: a part of the calls says as much.
                    got = server.http(calls=calls // 4 if clients == 1 else calls, clients=clients)
                    if round_:
                        found.setdefault((name, clients), []).append(got)
    rows = []
    for clients in CLIENTS:
        x, y = (_medians(found[name, clients]) for name in ("ours", "hypha"))
        who = f"http-call, {clients} client{'s' if clients > 1 else ''}"
        goal = clients == HELD
        rows.append(Row(who, f"{x[0]:,.0f} calls/s", f"{y[0]:,.0f} calls/s", x[0] / y[0], 5.0 if goal else None))
        rows.append(
            Row(
                f"{who}, p99",
                f"{x[2] * 1000:.1f} ms",
                f"{y[2] * 1000:.1f} ms",
                x[2] / y[2],
                0.2 if goal else None,
                more_is_better=False,
            )
        )
    plot = plots.draw(
        title="Time of one HTTP call of a service, by how many clients call at once",
        x="clients",
        y="ms, median",
        lines={
            name: [(clients, _medians(found[name, clients])[1] * 1000) for clients in CLIENTS]
            for name in ("ours", "hypha")
        },
        bars={},
    )
    return Part(rows, beside=beside, notes=[told] if told else [], plot=plot)


def rpc_call(hypha: Start, *, beside: str, small: bool) -> Part:
    """One client's calls of another's service."""
    told = place.calm(patience=0 if small else 240)
    rows = []
    calls = 160 if small else RPC_CALLS
    with ours() as mine, hypha() as theirs:
        for in_flight in IN_FLIGHT:
            rates: dict[str, list[float]] = {"ours": [], "hypha": []}
            spent: dict[str, list[float]] = {"ours": [], "hypha": []}
            for round_ in range(1 + (1 if small else ROUNDS)):
                for name, server in (("ours", mine), ("hypha", theirs)):
                    before = server.processor()
                    rate = server.rpc(calls=calls, in_flight=in_flight)
                    if round_:
                        rates[name].append(rate)
                        spent[name].append((server.processor() - before) / calls * 1000)
            a, b = (statistics.median(rates[name]) for name in ("ours", "hypha"))
            rows.append(Row(f"rpc-call, {in_flight} in flight", f"{a:,.0f} calls/s", f"{b:,.0f} calls/s", a / b, 1.5))
            a, b = (statistics.median(spent[name]) for name in ("ours", "hypha"))
            about = f"rpc-call, {in_flight} in flight, the server's own time"
            rows.append(Row(about, f"{a:.2f} ms", f"{b:.2f} ms", a / b, more_is_better=False))
    say = (
        "Both clients are processes of hypha_rpc: what they need for a call is in both figures, and is most of it."
        " The server's own time is what its process uses of a processor for one call."
    )
    return Part(rows, beside=beside, notes=[say, *([told] if told else [])])


def memory(hypha: Start, *, beside: str, small: bool) -> Part:
    """Resident memory after many HTTP calls, minus that before the first."""
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(1 if small else ROUNDS):
        for start, calls, into in ((ours, MANY, mine), (hypha, FEW, theirs)):
            with start() as server:
                before = server.resident()
                server.http(calls=calls // 10 if small else calls, clients=8)
                into.append((server.resident() - before) / MB)
    a, b = statistics.median(mine), statistics.median(theirs)
    row = Row(
        f"memory, after {MANY:,} calls",
        f"{a:.1f} MB",
        f"{b:,.1f} MB after {FEW:,}",
        a / MOST,
        1.0,
        more_is_better=False,
    )
    return Part([row], beside=beside, notes=[f"The ratio is to the {MOST:.0f} MB that it may grow by."])


def _medians(rounds: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    rate, middle, slow = (statistics.median(each) for each in zip(*rounds, strict=True))
    return rate, middle, slow
