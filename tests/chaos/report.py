"""What a run tells: a finding with its part of the history and the command that repeats it; and the kept report."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos import scale
from tests.chaos.checker import Finding
from tests.chaos.history import Event
from tests.chaos.legs import KEYS, ROOT, WORKERS
from tests.chaos.provider import LIVES
from tests.chaos.runner import Outcome

KEPT = ROOT / "docs" / "chaos.md"
SHOWN = 5
"""Findings that are told with their history; the others only by their line."""


def command(outcome: Outcome) -> str:
    """What repeats that leg: its plan, if not the moments between."""
    leg = outcome.leg
    flags = f"{' --strict' if leg.strict else ''}{' --bus' if leg.bus else ''}"
    return f"python -m tests.chaos --only {leg.database}{flags} --seconds {leg.seconds:g} --seed {leg.seed}"


def failure(outcome: Outcome) -> str:
    """All that is wrong, in a form to work with."""
    lines = [f"{outcome.leg.name}: {len(outcome.findings)} findings, seed {outcome.leg.seed}"]
    rules = Counter(finding.rule for finding in outcome.findings)
    lines += [f"  {count:4} {rule}" for rule, count in rules.most_common()]
    start = outcome.history.events[0]["t"]
    lines += [f"  {finding.t - start:8.3f}  {finding.rule}: {finding.text}" for finding in outcome.findings[:50]]
    for finding in outcome.findings[:SHOWN]:
        lines += ["", f"{finding.rule}: {finding.text}"]
        for event in shortest(outcome, finding):
            rest = {name: value for name, value in event.items() if name not in ("kind", "t", "w", "rows")}
            worker = f"[{event['w']}]" if event.get("w") else ""
            lines.append(f"  {event['t'] - start:8.3f} {event['kind']:10} {worker} {json.dumps(rest)}")
    return "\n".join([*lines, "", f"Again: {command(outcome)}"])


def summary(outcome: Outcome) -> str:
    """One line for each leg."""
    counts = outcome.counts
    return (
        f"{outcome.leg.name}: {counts['calls']} calls, {counts['refreshes']} refreshes,"
        f" {counts['taken over by another process']} taken over, {sum(outcome.faults.values())} faults,"
        f" {len(outcome.findings)} findings, {outcome.took:.0f} s"
    )


def _table(head: str, outcomes: Sequence[Outcome], rows: dict[str, list[int]]) -> list[str]:
    names = [outcome.leg.name for outcome in outcomes]
    lines = [f"| {head} | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    return [*lines, *(f"| {name} | {' | '.join(f'{each:,}' for each in row)} |" for name, row in rows.items())]


TOLD = {
    "kill": "a process is killed (SIGKILL), and started again",
    "pause": "a process stands still (SIGSTOP), mostly past its lease, and goes on (SIGCONT)",
    "clock": "the wall clock of a process is stepped by up to 30 s, and back",
    "lock": "another program holds the database's write lock",
    "cut": "all connections to the database are terminated",
    "stop": "the database server is stopped (at once, or in order), and started again",
    "bus": "Valkey is killed, and started again",
    "storm": "the provider is slow, fails and drops, before or after it acted",
    "away": "the provider is away",
    "withdraw": "a person withdraws the consent at the provider",
    "rotate": "the vault gets a new key, and all rows are sealed anew",
    "damage": "a byte of one row's ciphertext is changed",
}


def kept(outcomes: Sequence[Outcome], seed: int) -> str:
    """The page docs/chaos.md."""
    kinds: Counter[str] = Counter()
    for outcome in outcomes:
        kinds += outcome.faults
    seconds = sum(outcome.leg.seconds for outcome in outcomes)
    counts = {name: [outcome.counts[name] for outcome in outcomes] for name in outcomes[0].counts}
    faults = {TOLD[kind]: [outcome.faults[kind] for outcome in outcomes] for kind in TOLD if kinds[kind]}
    findings = [finding for outcome in outcomes for finding in outcome.findings]
    text = PAGE.format(
        workers=WORKERS,
        accounts=len(KEYS),
        owners=len({key.partition("/")[0] for key in KEYS}),
        shortest=LIVES[0],
        longest=LIVES[1],
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=_machine(),
        seed=seed,
        seconds=f"{seconds:.0f}",
        legs=len(outcomes),
        factor=scale.FACTOR,
        lease=scale.LEASE,
        findings=len(findings) or "none",
        counts="\n".join(_table("", outcomes, counts)),
        faults="\n".join(_table("fault", outcomes, faults)),
        rules="\n".join(
            f"| {rule} | {sum(finding.rule in names for finding in findings) or 'none'} |" for rule, names in _RULES
        ),
    )
    if findings:
        text += "\n## Findings\n\n" + "\n".join(f"- {finding.rule}: {finding.text}" for finding in findings) + "\n"
    return text


PAGE = """\
# The chaos run

{workers} processes share {accounts} accounts of {owners} owners over one database, at a provider that rotates its
refresh tokens and whose access tokens live for {shortest} to {longest} seconds. A seeded plan breaks whatever can
break: processes, clocks, database, message bus, provider, keys. Everybody writes down what happened, the provider too,
which knows the truth about every token. Then a checker reads the merged history. The run is `tests/chaos/`; its rules
are `tests/chaos/checker.py`, each with a unit test that shows it a bad history.

`make test` runs it for a minute, `make chaos` for ten (`SECONDS=…` for another length). This page is the report of one
long run, written by `python -m tests.chaos --seconds 600 --write`.

- Date: {date}
- Machine: {machine}
- Seed: {seed}
- Faults for {seconds} s in all, in {legs} legs; time runs at {factor:g} of production's: a lease is {lease:g} s instead
  of 20, and whatever stands in a relation to it is scaled alike
- Findings: {findings}

In the legs called *strict* the provider has no grace: it ends a whole family when a refresh token is used twice, as
RFC 9700 §4.14.2 advises. There a connection is lost when a refresh was acted upon and its answer never arrived, or its
holder was killed or stood still: nobody can do better without the provider's help. Each such loss has to be explained
by a fault, and has to end in `needs_reauth` with the cause `lost_rotation`. In the legs called *grace* the previous
refresh token still works for a while: there nothing may be lost at all, but for consents that were withdrawn.

A wall clock that is off explains one thing more: a token whose end it told wrongly looks good to the other processes
after it has ended, and where the provider's API refuses that one as well, the account is marked as `rejected`.

## What happened

{counts}

## What was done to it

{faults}

Besides, of the provider's usual answers one in ten is a fault: 5xx, 429, a cut connection, an answer that is lost or
comes after the client gave up.

## What held

| rule | findings |
|---|---:|
{rules}
"""

_RULES: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "No refresh token is presented again after its success was kept; never two at once; every loss is explained",
        frozenset(
            {
                "used twice",
                "two in flight",
                "lease held twice",
                "needs a person, unexplained",
                "lost within the grace",
                "cause not told",
            }
        ),
    ),
    ("No stale read after an acknowledged write", frozenset({"stale read"})),
    ("The owner is always right", frozenset({"wrong owner"})),
    (
        "After an account's end is acknowledged nothing of it is lent, and nothing of it lives on at the provider",
        frozenset({"lent after its end", "revived", "lives on"}),
    ),
    (
        "Once the faults are over everything serves again, nothing hangs, nothing is left behind",
        frozenset(
            {
                "does not serve again",
                "old key",
                "lease hangs",
                "left in the journal",
                "left in the revocations",
                "a person asked for nothing",
            }
        ),
    ),
    ("Callers meet expected errors only, in time", frozenset({"unexpected error", "too slow", "lent nothing"})),
    (
        "No token in any log at DEBUG, no failure that nobody handled",
        frozenset({"token in a log", "noise", "worker ended"}),
    ),
)


def _machine() -> str:
    cores = "?"
    memory = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        text = info.read_text()
        cores = str(text.count("processor\t"))
        named = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
        memory = f" ({named[0]})" if named else ""
    return f"{cores} cores{memory}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def shortest(outcome: Outcome, finding: Finding, *, most: int = 40) -> list[Event]:
    """The part of the history that a finding is about, as short as it says something."""
    about = set(finding.about)
    kinds = {"fault", "call"}
    found = [
        event
        for event in outcome.history.events
        if (about & {str(value) for value in event.values() if isinstance(value, str)})
        or any(about & {str(part) for part in lend} for lend in event.get("lends", ()))
        or (event["kind"] == "fault" and abs(event["t"] - finding.t) < 3)
    ]
    near = [event for event in found if -6 <= event["t"] - finding.t <= 0.5]
    return [event for event in near if event["kind"] not in kinds or event["kind"] == "fault" or event["lends"]][-most:]
