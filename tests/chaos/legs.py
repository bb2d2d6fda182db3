"""What a run is made of: its legs, its workers, its accounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.chaos.checker import DAMAGED, PARKED

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 4
KEYS = [f"owner{number}/{profile}" for number in range(6) for profile in ("default", "work")]
KEYS += [DAMAGED, PARKED]

GRACE = 60.0
"""Seconds of the provider's grace, where it has one: more than any outage of a run."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One part of a run.

    Attributes:
        seconds: how long faults come; before them all accounts are connected, after them everything has to serve.
        strict: whether the provider ends a family whose refresh token is used twice.
        bus: whether there is a Valkey.
    """

    database: Literal["sqlite", "postgres"]
    strict: bool
    bus: bool
    seconds: float
    seed: int

    @property
    def name(self) -> str:
        """What it is called in reports."""
        bus = " with Valkey" if self.bus else ""
        return f"{self.database}{bus}, {'strict' if self.strict else 'grace'}"
