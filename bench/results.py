"""What a benchmark hands back, and the page that holds the results of all: bench/RESULTS.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROUNDS = 5
PAGE = Path(__file__).resolve().parent / "RESULTS.md"
PLOTS = PAGE.with_name("plots")
HEAD = f"""# What was measured

`make bench` measures all of it and writes this page; `make bench ONLY=name` measures one part of it anew.
Medians of {ROUNDS} rounds, in turns, after one that does not count.
"""


@dataclass(frozen=True)
class Row:
    """One line of the results: a ratio, and the bar that it is held against; without a bar it is only told."""

    name: str
    ours: str
    other: str
    ratio: float | None = None
    goal: float | None = None
    more_is_better: bool = True

    def line(self) -> str:
        """The line of the table."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        if self.ratio is None or self.goal is None:
            return f"| {self.name} | {self.ours} | {self.other} | {ratio} | | |"
        sign, share = ("≥", self.ratio / self.goal) if self.more_is_better else ("≤", self.goal / self.ratio)
        reached = self.ratio >= self.goal if self.more_is_better else self.ratio <= self.goal
        bar = "█" * min(20, round(10 * share))
        word = "reached" if reached else "not reached"
        return f"| {self.name} | {self.ours} | {self.other} | {ratio} | {sign} {self.goal:g} | {bar} {word} |"


@dataclass(frozen=True)
class Part:
    """The results of one benchmark.

    Attributes:
        beside: what it was measured beside, with versions.
        notes: paragraphs below the table.
        plot: how the cost grows, as an SVG.
    """

    rows: Sequence[Row]
    beside: str = ""
    notes: Sequence[str] = ()
    plot: str = ""


def machine() -> str:
    """What it was measured on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"


def section(name: str, caption: str, part: Part) -> str:
    """One part of the page."""
    beside = f", {part.beside}" if part.beside else ""
    lines = [
        f"## {name}",
        "",
        caption,
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, on {machine()}; valetkey {version('valetkey')}{beside}.",
        "",
        "| what | ours | other | ratio | to reach | |",
        "|---|---|---|---|---|---|",
        *(row.line() for row in part.rows),
    ]
    plot = [f"![How the cost of {name} grows](plots/{name}.svg)"] if part.plot else []
    for note in (*plot, *part.notes):
        lines += ["", note]
    return "\n".join(lines) + "\n"


def keep(names: Sequence[str], measured: dict[str, str], plots: dict[str, str]) -> None:
    """Write the page: what was measured now, and the other parts as they stand in it; and the plots."""
    before = PAGE.read_text("utf-8") if PAGE.exists() else ""
    held = {text.split("\n", 1)[0].strip(): f"## {text}" for text in re.split(r"(?m)^## ", before)[1:]}
    parts = {**held, **measured}
    ordered = [parts[name].strip() for name in names if name in parts]
    PAGE.write_text("\n\n".join([HEAD.strip(), *ordered]) + "\n", "utf-8")
    for name, plot in plots.items():
        PLOTS.mkdir(exist_ok=True)
        (PLOTS / f"{name}.svg").write_text(plot, "utf-8")
