"""Measure ours beside others, in turns on one machine, and write bench/RESULTS.md. A benchmark never fails a build.

    python bench/run.py            all of it
    python bench/run.py tool-call  one of it

Peers are installed into environments of their own below bench/.envs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
ROUNDS = 5
HYPERPOCKET = "0.5.7"


@dataclass(frozen=True)
class Row:
    """One line of the results: a ratio, and the bar that it is held against."""

    name: str
    ours: str
    other: str
    ratio: float
    goal: float
    more_is_better: bool = True

    @property
    def reached(self) -> bool:
        """Whether the bar is reached."""
        return self.ratio >= self.goal if self.more_is_better else self.ratio <= self.goal


def peer(name: str, pinned: str) -> Path:
    """The Python of an environment that holds one peer, made at first need."""
    folder = HERE / ".envs" / name
    python = folder / "bin" / "python"
    stamp = folder / f"{pinned}.installed"
    if not stamp.exists():
        print(f"installing {name} {pinned} into {folder.relative_to(HERE.parent)} …", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"{name}=={pinned}"], check=True)
        stamp.touch()
    return python


def measured(python: Path, script: str, *args: str) -> float:
    """The number that a script prints last, as JSON."""
    with TemporaryDirectory() as folder:
        environment = {**os.environ, "HOME": folder, "VALETKEY_HOME": f"{folder}/.valetkey"}
        ended = subprocess.run(
            [python, HERE / "peers" / script, *args],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
    return float(json.loads(ended.stdout.strip().splitlines()[-1]))


def in_turns(ours: Callable[[], float], other: Callable[[], float]) -> tuple[list[float], list[float]]:
    """A B A B …; one round of each beforehand, which does not count."""
    a: list[float] = []
    b: list[float] = []
    for round_ in range(ROUNDS + 1):
        print(f"  round {round_}/{ROUNDS}", end="\r", flush=True)
        left, right = ours(), other()
        if round_:
            a.append(left)
            b.append(right)
    return a, b


def tool_call() -> list[Row]:
    """Pocket.ainvoke of a function tool whose account is there and fresh."""
    python = peer("hyperpocket", HYPERPOCKET)
    me = Path(sys.executable)
    rows = []
    for kind in ("sync", "async"):
        for store, goal in (("in_memory", 8.0), ("sqlite", 3.0)):
            a, b = in_turns(
                lambda store=store, kind=kind: measured(me, "tool_call_valetkey.py", store, kind),
                lambda kind=kind: measured(python, "tool_call_hyperpocket.py", kind),
            )
            x, y = statistics.median(a), statistics.median(b)
            rows.append(Row(f"tool-call, {store}, {kind} tool", f"{x:,.0f} calls/s", f"{y:,.0f} calls/s", x / y, goal))
    return rows


def imports() -> list[Row]:
    """Wall time of importing, in a process of its own."""
    python = peer("hyperpocket", HYPERPOCKET)

    def timed(binary: Path, *arguments: str) -> float:
        with TemporaryDirectory() as folder:
            environment = {**os.environ, "HOME": folder}
            began = time.perf_counter()
            subprocess.run([binary, *arguments], cwd=folder, env=environment, check=True, capture_output=True)
            return time.perf_counter() - began

    rows = []
    measured_goals = {
        "`import valetkey`": (("-c", "import valetkey"), 0.125),
        "`valetkey --help`": (("-m", "valetkey", "--help"), 0.125),
        "`from valetkey import Pocket`": (("-c", "from valetkey import Pocket"), 0.3),
    }
    for name, (arguments, goal) in measured_goals.items():
        a, b = in_turns(
            lambda arguments=arguments: timed(Path(sys.executable), *arguments),
            lambda: timed(python, "-c", "import hyperpocket"),
        )
        x, y = statistics.median(a), statistics.median(b)
        rows.append(
            Row(f"import: {name}", f"{x * 1000:.0f} ms", f"{y * 1000:.0f} ms", x / y, goal, more_is_better=False)
        )
    return rows


BENCHMARKS: dict[str, Callable[[], list[Row]]] = {"tool-call": tool_call, "import": imports}


def machine() -> str:
    """What it was measured on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"


def written(rows: list[Row]) -> str:
    """The results as a page."""
    lines = [
        "# What was measured",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, on {machine()}; valetkey {version('valetkey')}, hyperpocket {HYPERPOCKET}.",
        f"Medians of {ROUNDS} rounds, in turns, after one that does not count. `make bench` writes this page.",
        "",
        "| what | ours | other | ratio | to reach | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        sign, share = ("≥", row.ratio / row.goal) if row.more_is_better else ("≤", row.goal / row.ratio)
        bar = "█" * min(20, round(10 * share))
        word = "reached" if row.reached else "not reached"
        lines.append(
            f"| {row.name} | {row.ours} | {row.other} | {row.ratio:.2f} | {sign} {row.goal:g} | {bar} {word} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("name", nargs="?", choices=[*BENCHMARKS, ""], default="")
    chosen = parser.parse_args().name
    rows: list[Row] = []
    for name, benchmark in BENCHMARKS.items():
        if not chosen or name == chosen:
            print(f"{name}: {benchmark.__doc__}", flush=True)
            rows += benchmark()
    page = written(rows)
    print(page)
    if not chosen:
        (HERE / "RESULTS.md").write_text(page, "utf-8")


if __name__ == "__main__":
    main()
