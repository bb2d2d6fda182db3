"""The faults of a run: a plan made of a seed alone, and the hands that carry it out."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.chaos import scale
from tests.chaos.checker import DAMAGED
from tests.chaos.history import Teller
from tests.chaos.provider import MOODS, Provider

if TYPE_CHECKING:
    from tests.real.postgres import Postgres
    from tests.real.valkey import Valkey

WEIGHTS = {
    "kill": 8,
    "pause": 6,
    "clock": 3,
    "database": 5,
    "bus": 2,
    "mood": 6,
    "withdraw": 2,
    "rotate": 1,
    "damage": 1,
}
"""How often each kind comes, of their sum."""

PER_SECOND = 1.4
"""Faults that begin in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of the plan.

    Attributes:
        at: seconds after the beginning.
        lasts: seconds until it is undone.
        target: a number that says whom it meets, modulo what there is.
        how: which variety, as a number in [0, 1).
    """

    at: float
    kind: str
    lasts: float
    target: int
    how: float


def plan(seed: int, seconds: float) -> list[Fault]:
    """The faults of a run, by their beginnings. The same for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - a plan, no secret
    kinds = list(WEIGHTS)
    # What comes seldom comes once at least: early, so that a short run sees its end.
    early = ["rotate", "database", "kill", "pause", "damage"]
    found = []
    at = 0.3
    while at < seconds:
        kind = early.pop() if early else dice.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        lasts = {
            "kill": dice.uniform(0.05, 0.8),
            "pause": scale.LEASE * dice.uniform(0.5, 1.6),
            "clock": dice.uniform(1.0, 3.0),
            "database": dice.uniform(0.1, 3.0),
            "bus": dice.uniform(0.1, 2.0),
            "mood": dice.uniform(0.5, 2.5),
        }.get(kind, 0.0)
        found.append(Fault(at=at, kind=kind, lasts=lasts, target=dice.randrange(1000), how=dice.random()))
        at += dice.expovariate(PER_SECOND)
    return found


@dataclass(kw_only=True)
class Hands:
    """Carries out faults, tells each of them, and undoes them all at the end.

    Attributes:
        start: starts an incarnation of a worker, by its number.
        workers: the process ids of those that run now, by number; one that is down is not there.
        names: how the incarnation that runs now is called.
        command: tells a worker something.
        bury: waits until a worker that was killed is gone.
    """

    teller: Teller
    provider: Provider
    home: Path
    accounts: list[str]
    start: Callable[[int], None]
    workers: dict[int, int]
    names: dict[int, str]
    count: int
    command: Callable[[int, str], None]
    bury: Callable[[int], None]
    postgres: Postgres | None = None
    database_url: str = ""
    valkey: Valkey | None = None
    undo: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    paused: set[int] = field(default_factory=set)
    shut: bool = False
    moods: int = 0

    def due(self, now: float) -> None:
        """Undo what has lasted."""
        for entry in sorted(self.undo, key=lambda each: each[0]):
            if entry[0] <= now:
                self.undo.remove(entry)
                entry[1]()

    def heal(self) -> None:
        """Undo all, the clocks too."""
        self.due(float("inf"))
        self.provider.mood = MOODS["calm"]

    def do(self, fault: Fault) -> None:
        """Carry it out; nothing where its target is down already."""
        done = getattr(self, fault.kind)(fault)
        if done is not None:
            what, worker, after = done
            t0 = time.monotonic()

            def end() -> None:
                after()
                self.teller.tell("fault", what=what, w=worker, t0=t0)

            self.undo.append((t0 + fault.lasts, end))

    def kill(self, fault: Fault) -> Any:
        number = fault.target % self.count
        if number not in self.workers or number in self.paused:
            return None
        name, t0 = self.names[number], time.monotonic()
        os.kill(self.workers[number], signal.SIGKILL)
        self.bury(number)
        # The end of its life is what counts, told at once: nothing of it comes later.
        self.teller.tell("fault", what="kill", w=name, t0=t0)
        self.undo.append((t0 + fault.lasts, lambda: self.start(number)))
        return None

    def pause(self, fault: Fault) -> Any:
        number = fault.target % self.count
        if number not in self.workers or number in self.paused:
            return None
        pid, name = self.workers[number], self.names[number]
        os.kill(pid, signal.SIGSTOP)
        self.paused.add(number)

        def go_on() -> None:
            os.kill(pid, signal.SIGCONT)
            self.paused.discard(number)

        return "pause", name, go_on

    def clock(self, fault: Fault) -> Any:
        number = fault.target % self.count
        if number not in self.workers or number in self.paused:
            return None
        name = self.names[number]
        self.command(number, f"clock {(fault.how - 0.5) * 60:.1f}")
        return "clock", name, lambda: self.command(number, "clock 0")

    def database(self, fault: Fault) -> Any:
        if self.shut:
            return None
        if self.postgres is None:
            return self._lock()
        if fault.how < 0.6:
            postgres, url = self.postgres, self.database_url
            t0 = time.monotonic()
            postgres.cut(url)
            self.teller.tell("fault", what="cut", w=None, t0=t0)
            return None
        return self._stop(signal.SIGQUIT if fault.how < 0.8 else signal.SIGINT)

    def _stop(self, how: signal.Signals) -> Any:
        postgres = self.postgres
        assert postgres is not None
        t0 = time.monotonic()
        postgres.end(how)
        self.shut = True

        def again() -> None:
            postgres.start()
            self.shut = False
            self.teller.tell("fault", what="stop", w=None, t0=t0)

        return "stop", None, again

    def _lock(self) -> Any:
        """Somebody else holds the one write lock."""
        other = sqlite3.connect(self.home / "valetkey.db", timeout=0.2, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            other.close()
            return None
        self.shut = True

        def let_go() -> None:
            other.rollback()
            other.close()
            self.shut = False

        return "lock", None, let_go

    def bus(self, fault: Fault) -> Any:
        if self.valkey is None or self.valkey._process is None:
            return None
        self.valkey.kill()
        return "bus", None, self.valkey.start

    def mood(self, fault: Fault) -> Any:
        self.provider.mood = MOODS["storm" if fault.how < 0.6 else "away"]
        self.moods += 1
        mine = self.moods

        def usual() -> None:
            if self.moods == mine:  # else a later one has begun
                self.provider.mood = MOODS["usual"]

        return ("storm" if fault.how < 0.6 else "away"), None, usual

    def withdraw(self, fault: Fault) -> Any:
        self.provider.withdraw(self.accounts[fault.target % len(self.accounts)])
        return "withdraw", None, lambda: None

    def rotate(self, fault: Fault) -> Any:
        from valetkey.adapters.keys_file import FileKeys
        from valetkey.adapters.system import SystemClock, SystemEntropy
        from valetkey.wiring.keys import FILE

        FileKeys(self.home / FILE, entropy=SystemEntropy(), clock=SystemClock()).add()
        return "rotate", None, lambda: None

    def damage(self, fault: Fault) -> Any:
        """One byte of one row's ciphertext: the last, so that its key is still named."""
        subject, profile = DAMAGED.split("/")
        where = f"WHERE subject = '{subject}' AND profile = '{profile}'"
        if self.postgres is not None:
            if self.shut:
                return None
            self.postgres.sql(
                f"UPDATE connections SET sealed = set_byte(sealed, length(sealed) - 1, 255 -"  # noqa: S608
                f" get_byte(sealed, length(sealed) - 1)) {where}",
                url=self.database_url,
            )
        else:
            with contextlib.closing(sqlite3.connect(self.home / "valetkey.db", timeout=0.2)) as other:
                try:
                    other.execute(
                        f"UPDATE connections SET sealed = substr(sealed, 1, length(sealed) - 1) || x'00' {where}"  # noqa: S608
                    )
                    other.commit()
                except sqlite3.OperationalError:
                    return None
        return "damage", None, lambda: None
