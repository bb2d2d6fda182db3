"""R-03, R-04, R-06: the one who refreshes is killed, held still, or kept waiting by its provider."""

from dataclasses import dataclass

import pytest

from tests.faults.crew import Worker, wait_until
from tests.faults.place import Account, Place
from valetkey.model.connections import Cause, Health

pytestmark = [pytest.mark.node, pytest.mark.timeout(120)]

HASTE = 0.3
GRACE = 60.0
LOST = (Health.NEEDS_REAUTH, Cause.LOST_ROTATION)
OK = (Health.OK, Cause.NONE)


@dataclass(frozen=True)
class Case:
    """Where the holder breaks, whether its provider has grace, what the row says then, and how often was asked."""

    point: str
    grace: bool
    standing: tuple[Health, Cause]
    refreshes: int

    @property
    def owner(self) -> str:
        return f"{self.point}-{'grace' if self.grace else 'strict'}"


CASES = (
    Case("leased", False, OK, 1),  # the lease is committed, and nothing was done with it
    Case("sending", False, OK, 1),  # all but sent
    Case("sent", False, LOST, 2),  # the provider has rotated, and its answer is on the way
    Case("sent", True, OK, 2),
    Case("answered", False, LOST, 2),
    Case("answered", True, OK, 2),
    Case("saved", False, OK, 1),
)


def begun(place: Place, case: Case, action: str, *, scale: float) -> tuple[Account, Worker, int]:
    """A worker whose refresh was broken at the case's point by now."""
    account = place.account(case.owner)
    oidc, refresh_token = place.oidc, account.refresh_token
    if case.grace:
        oidc.grace(refresh_token, GRACE)
    if case.point == "sent":
        oidc.hold(refresh_token, "after")
        holder = place.worker(scale=scale)
        call = holder.begin("insist", owner=case.owner)
        oidc.wait_held(refresh_token)
        {"kill": holder.kill, "stop": holder.stop}[action]()
        oidc.release(refresh_token)
    else:
        holder = place.worker(scale=scale, at=case.point, by=action)
        call = holder.begin("insist", owner=case.owner)
        {"kill": holder.wait_dead, "stop": holder.wait_stopped}[action]()
    return account, holder, call


def check(place: Place, other: Worker, account: Account, case: Case, outcome: dict) -> None:
    """What the other process got, what the row says, and that nobody goes on asking."""
    held, family = place.held(case.owner), place.oidc.family(account.refresh_token)
    assert (case, held.health, held.cause) == (case, *case.standing)
    assert (case, family.refreshes, family.most_in_flight) == (case, case.refreshes, 1)
    if case.standing == OK:
        assert family.alive
        assert family.invalid_grants == 0
        assert place.tokens(case.owner) == (outcome["token"], family.newest)
    else:
        assert outcome["error"] == "AuthRequired"
        assert family.reuses == 1
    again = [other.call(case.owner) for _ in range(2)]
    assert [(found.get("token"), found.get("error")) for found in again] == [
        (outcome.get("token"), outcome.get("error"))
    ] * 2
    assert place.oidc.family(account.refresh_token).refreshes == case.refreshes


@pytest.mark.requirement("B.shown-killed", "R-06")
@pytest.mark.parametrize(
    "runs", [1, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(1500)])], ids=["once", "often"]
)
def test_the_holder_is_killed(places, database, runs):
    for _ in range(runs):
        place = places(database)
        broken = [begun(place, case, "kill", scale=HASTE) for case in CASES]
        other = place.worker(scale=HASTE)
        calls = [other.begin("insist", owner=case.owner) for case in CASES]
        for case, (account, _, _), call in zip(CASES, broken, calls, strict=True):
            (outcome,) = other.end(call)
            check(place, other, account, case, outcome)
        place.close()


@pytest.mark.requirement("B.shown-paused", "R-04")
@pytest.mark.parametrize(
    "scale", [HASTE, pytest.param(1.0, marks=[pytest.mark.long, pytest.mark.timeout(300)])], ids=["hastened", "real"]
)
def test_the_holder_stands_still_beyond_its_lease_and_goes_on(places, database, scale):
    place = places(database)
    broken = [begun(place, case, "stop", scale=scale) for case in CASES]
    other = place.worker(scale=scale)
    calls = [other.begin("insist", owner=case.owner) for case in CASES]
    outcomes = [other.end(call)[0] for call in calls]
    for case, (account, holder, call), outcome in zip(CASES, broken, outcomes, strict=True):
        check(place, other, account, case, outcome)
        before = place.held(case.owner)
        holder.go_on()
        (late,) = holder.end(call)
        holder.do("idle")
        after, family = place.held(case.owner), place.oidc.family(account.refresh_token)
        assert (case, family.refreshes) == (case, case.refreshes), (
            "what was not sent before it stood still is not sent after"
        )
        if case.standing == OK:
            assert (case, after.generation, after.sealed) == (case, before.generation, before.sealed)
            assert late.get("token", outcome["token"]) == outcome["token"]
        elif case.point == "answered":
            # It brings the rotation after all. This provider has ended the family by then, which only a use can tell.
            assert (after.generation, after.health) == (2, Health.OK)
            assert other.call(case.owner, rejected=True)["error"] == "AuthRequired"
            assert other.call(case.owner)["error"] == "AuthRequired"
            assert place.held(case.owner).health is Health.NEEDS_REAUTH
            assert place.oidc.family(account.refresh_token).refreshes == case.refreshes + 1


@pytest.mark.requirement("B.shown-slow", "R-03")
@pytest.mark.parametrize(
    "scale", [HASTE, pytest.param(1.0, marks=[pytest.mark.long, pytest.mark.timeout(300)])], ids=["hastened", "real"]
)
def test_a_provider_that_answers_late_is_asked_once_at_a_time(place, scale):
    late, too_late, strict = place.account("late"), place.account("too-late"), place.account("strict")
    place.oidc.delay(late.refresh_token, 7.0 * scale if scale < 1 else 9.5)  # within the deadline of an exchange
    for account in (too_late, strict):
        place.oidc.delay(account.refresh_token, 25.0 * scale)  # beyond the lease
    place.oidc.grace(too_late.refresh_token, GRACE)
    workers = [place.worker(scale=scale) for _ in range(2)]
    owners = ["late", "too-late", "strict"]
    loads = [worker.begin("load", owners=owners, seconds=30 * scale) for worker in workers]
    ended: set[str] = set()
    for worker, load in zip(workers, loads, strict=True):
        told = worker.end(load, timeout=90)
        ended |= told["ended"].keys()
        assert told["longest"] < 40 * scale
    assert ended <= {"ok", "ProviderUnavailable", "ExchangeFailed", "AuthRequired"}
    families = {account.owner: place.oidc.family(account.refresh_token) for account in (late, too_late, strict)}
    assert {family.most_in_flight for family in families.values()} == {1}
    assert (families["late"].refreshes, families["late"].invalid_grants) == (1, 0)
    assert (families["too-late"].refreshes, families["too-late"].alive) == (2, True)
    for owner in ("late", "too-late"):
        access, _ = place.tokens(owner)
        assert workers[0].call(owner)["token"] == access
        assert place.held(owner).health is Health.OK
    # Without grace the second request, or the first one when it is handled at last, is a double use: one, not many.
    wait_until(lambda: place.oidc.family(strict.refresh_token).refreshes == 2, "both were handled", timeout=30)
    workers[0].call("strict", rejected=True)
    assert workers[0].call("strict")["error"] == "AuthRequired"
    assert place.held("strict").health is Health.NEEDS_REAUTH
