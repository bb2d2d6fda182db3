"""Time, an eighth of production's: what stands in a relation there stands in the same one here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

FACTOR = 0.12

LEASE = 20.0 * FACTOR
HTTP = 10.0 * FACTOR
LONGEST_PAUSE = 2.0
"""Of back-off and breaker; in production five minutes, which is fifteen leases."""

LONGEST_CALL = 85.0 * FACTOR
"""Production's: a breaker's turn (20 s), another process's refresh (40 s), one's own (15 s), two writes (5 s each)."""

BOUND = 3 * LEASE + LONGEST_PAUSE
"""Within which everything serves again after the faults: a dead holder's lease, a pause, and the refresh itself."""

EVERY = {"journal": 0.6, "refresh": 1.8, "revoke": 1.0, "reseal": 1.5, "sweep": 5.0}
"""Seconds between two rounds of upkeep."""


def apply() -> None:
    """Scale the constants of this process. To be called before any system is made."""
    from valetkey.adapters.sql import sqlite
    from valetkey.connections import breaker, disconnect, flights, pace, refresh, revoke, rotations
    from valetkey.vault import reseal
    from valetkey.wiring import build, upkeep

    for module, names in {
        refresh: ("LEASE", "OWN", "START", "TRY", "PATIENCE"),
        flights: ("FOLLOW",),
        breaker: ("FIRST_PAUSE", "PATIENCE"),
        pace: ("SHORTEST", "FIRST_PAUSE"),
        disconnect: ("EXCHANGE",),
        rotations: ("SAVE",),
    }.items():
        for name in names:
            setattr(module, name, getattr(module, name) * FACTOR)
    refresh.MINIMUM = pace.MINIMUM = 0.3  # type: ignore[attr-defined]
    pace.LONGEST_PAUSE = breaker.LONGEST_PAUSE = LONGEST_PAUSE
    breaker.FIRST_PAUSE = 0.5
    revoke.FIRST_PAUSE, revoke.LONGEST_PAUSE = 1.5, 3.0
    upkeep.TTL = reseal.TTL = 2.0
    reseal.THOROUGH_EVERY = 2.0
    defaults: Any = sqlite.SqliteDatabase.__init__
    defaults.__kwdefaults__["busy_timeout"] *= FACTOR
    made = build._upkeep

    def scaled_upkeep(system: Any) -> Any:
        running: Any = made(system)
        running.jobs = tuple(replace(job, every=EVERY.get(job.name, job.every)) for job in running.jobs)
        return running

    build._upkeep = scaled_upkeep


def apply_to_postgres() -> None:
    """The same, for a process that has PostgreSQL's driver."""
    from valetkey.adapters.sql import postgres, postgres_pool

    postgres.READ_SECONDS *= FACTOR
    postgres.WRITE_SECONDS *= FACTOR
    postgres_pool.TAKE_SECONDS *= FACTOR
    for production in ("4s", "5s", "10s"):
        scaled = f"'{int(float(production[:-1]) * 1000 * FACTOR)}ms'"
        postgres.BEGIN = postgres.BEGIN.replace(f"'{production}'", scaled)
