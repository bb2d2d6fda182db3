"""The chaos run, by hand: ``python -m tests.chaos --seconds 60``; ``--write`` keeps its report in docs/chaos.md."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.chaos import report
from tests.chaos.legs import Leg
from tests.chaos.runner import run
from tests.chaos.servers import Missing


def main() -> int:
    """Run the legs in turn; 1 when there is a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults come, over all legs")
    parser.add_argument("--seed", type=int, default=None, help="the plan; by default another one each time")
    parser.add_argument("--only", choices=["sqlite", "postgres"], help="one leg, over that database")
    parser.add_argument("--strict", action="store_true", help="with --only: no grace")
    parser.add_argument("--bus", action="store_true", help="with --only: with Valkey")
    parser.add_argument("--keep", type=Path, help="a folder in which histories and logs stay")
    parser.add_argument("--write", action="store_true", help="keep the report in docs/chaos.md")
    given = parser.parse_args()
    seed = int(time.time()) % 1_000_000 if given.seed is None else given.seed
    legs = _legs(given, seed)
    outcomes = []
    for number, leg in enumerate(legs):
        _say(f"{leg.name}: {leg.seconds:.0f} s of faults, seed {leg.seed}")
        keep = None if given.keep is None else given.keep / str(number)
        try:
            outcomes.append(run(leg, say=_say, keep=keep))
        except Missing as missing:
            _say(f"{leg.name}: left out, {missing}")
            continue
        _say(report.summary(outcomes[-1]))
        if outcomes[-1].findings:
            _say(report.failure(outcomes[-1]))
    if given.write and outcomes:
        report.KEPT.write_text(report.kept(outcomes, seed), "utf-8")
    return int(any(outcome.findings for outcome in outcomes))


def _legs(given: argparse.Namespace, seed: int) -> list[Leg]:
    if given.only:
        return [Leg(database=given.only, strict=given.strict, bus=given.bus, seconds=given.seconds, seed=seed)]
    each = given.seconds / 4
    return [
        Leg(database="sqlite", strict=False, bus=False, seconds=each, seed=seed),
        Leg(database="sqlite", strict=True, bus=True, seconds=each, seed=seed + 1),
        Leg(database="postgres", strict=False, bus=True, seconds=each, seed=seed + 2),
        Leg(database="postgres", strict=True, bus=False, seconds=each, seed=seed + 3),
    ]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
