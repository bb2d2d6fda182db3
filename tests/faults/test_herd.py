"""R-01, R-02, R-19: however many ask at once, in however many processes, the provider is asked once."""

import time

import pytest

from tests.faults.place import Account, Place

pytestmark = [pytest.mark.node, pytest.mark.timeout(120)]


def shown(place: Place, account: Account, processes: int, callers: int) -> tuple[float, float]:
    """Let them all call at once: one refresh, and all get what it brought. Seconds: all, and the longest wait."""
    workers = [place.worker() for _ in range(processes)]
    for worker in workers:
        worker.call("nobody")  # it is up, and has its database open
    began = time.monotonic()
    begun = [worker.begin("call", owner=account.owner, callers=callers) for worker in workers]
    outcomes = [
        outcome for worker, number in zip(workers, begun, strict=True) for outcome in worker.end(number, timeout=100)
    ]
    seconds = time.monotonic() - began
    assert len(outcomes) == processes * callers
    assert [outcome for outcome in outcomes if "error" in outcome] == []
    access, refresh = place.tokens(account.owner)
    assert {outcome["token"] for outcome in outcomes} == {access}
    assert access != account.access_token
    family = place.oidc.family(account.refresh_token)
    assert (family.refreshes, family.invalid_grants, family.alive) == (1, 0, True)
    assert family.newest == refresh
    assert place.held(account.owner).generation == 2
    return seconds, max(outcome["seconds"] for outcome in outcomes)


@pytest.mark.requirement("B.shown-herd", "R-02")
@pytest.mark.parametrize("bus", ["alone", "valkey"])
def test_eight_processes_with_fifty_callers_each_make_one_refresh(places, request, database, bus):
    settings = {"redis_url": request.getfixturevalue("valkey").url} if bus == "valkey" else {}
    place = places(database, **settings)
    shown(place, place.account(), 8, 50)


@pytest.mark.requirement("B.shown-64", "R-02")
@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("database", "callers"), [("sqlite", 10), ("postgres", 1)])
def test_sixty_four_processes_make_one_refresh(places, database, callers, capsys):
    place = places(database)
    seconds, longest = shown(place, place.account(), 64, callers)
    with capsys.disabled():
        told = f"1 refresh, all done in {seconds:.2f} s, the longest wait {longest:.2f} s"
        print(f"\n64 processes, {callers} callers each, {database}: {told}")  # noqa: T201 - figures


@pytest.mark.requirement("R-01")
def test_a_thousand_tasks_of_one_process_make_one_refresh_and_none_waits_after_it(place):
    account = place.account()
    worker = place.worker()
    place.oidc.delay(account.refresh_token, 1.0)
    outcomes = worker.do("call", owner=account.owner, callers=1000)
    access, _ = place.tokens()
    assert {outcome.get("token") for outcome in outcomes} == {access}
    assert place.oidc.family(account.refresh_token).refreshes == 1
    assert all(outcome["seconds"] < 10 for outcome in outcomes), "and nobody waits for the whole lease"
