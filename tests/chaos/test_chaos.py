"""A minute of chaos in `make test`; ten minutes of it: `make chaos`."""

from __future__ import annotations

import pytest

from tests.chaos import report
from tests.chaos.legs import Leg
from tests.chaos.runner import Outcome, run
from tests.chaos.servers import Missing

SHORT, LONG = 13.0, 60.0
"""Seconds of faults in each leg; before and after them a leg takes some seven more."""

LEGS = [
    Leg(database="sqlite", strict=False, bus=False, seconds=SHORT, seed=1),
    Leg(database="sqlite", strict=True, bus=False, seconds=SHORT, seed=2),
    Leg(database="postgres", strict=False, bus=True, seconds=SHORT, seed=3),
]
LONG_LEGS = [
    Leg(database="sqlite", strict=False, bus=True, seconds=LONG, seed=11),
    Leg(database="sqlite", strict=True, bus=False, seconds=LONG, seed=12),
    Leg(database="postgres", strict=False, bus=False, seconds=LONG, seed=13),
    Leg(database="postgres", strict=True, bus=True, seconds=LONG, seed=14),
]


def ran(leg: Leg) -> Outcome:
    try:
        outcome = run(leg)
    except Missing as missing:
        pytest.skip(str(missing))
    assert not outcome.findings, report.failure(outcome)
    return outcome


@pytest.mark.requirement("B.shown-chaos", "R-39")
@pytest.mark.parametrize("leg", LEGS, ids=lambda leg: leg.name)
@pytest.mark.timeout(180)
def test_nothing_is_lost_stale_or_foreign_whatever_breaks(leg: Leg) -> None:
    outcome = ran(leg)
    # Else it has shown nothing.
    assert outcome.counts["served"] > 20
    assert outcome.counts["refreshes"] > 5
    assert outcome.counts["taken over by another process"] > 0
    assert outcome.faults["kill"] > 0
    assert outcome.faults["pause"] > 0


@pytest.mark.requirement("R-39")
@pytest.mark.long
@pytest.mark.parametrize("leg", LONG_LEGS, ids=lambda leg: leg.name)
@pytest.mark.timeout(400)
def test_the_same_for_minutes(leg: Leg) -> None:
    ran(leg)
