"""R-14, R-17, R-19: the database is locked, stopped or cut off, Valkey is killed; what a provider gave is not lost."""

import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.faults.crew import Worker, wait_until
from tests.faults.place import Account, Place
from valetkey.model.connections import Connection, Health

pytestmark = [pytest.mark.node, pytest.mark.timeout(180)]

LATER = {"StoreUnavailable", "ProviderUnavailable", "ExchangeFailed"}
"""What a way in shows as 503."""


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """Another program writes into the SQLite file, and does not end."""
    with closing(sqlite3.connect(place.home / "valetkey.db", isolation_level=None)) as elsewhere:
        elsewhere.execute("BEGIN IMMEDIATE")
        yield
        elsewhere.execute("ROLLBACK")


@contextmanager
def stopped(place: Place, postgres) -> Iterator[None]:
    """The PostgreSQL server is not there."""
    postgres.end(signal.SIGINT)  # at once, and in order
    try:
        yield
    finally:
        postgres.start()


@pytest.fixture
def away(request, database):
    """Take away the database of a place, for as long as a block lasts."""
    if database == "sqlite":
        return locked
    postgres = request.getfixturevalue("postgres")
    return lambda place: stopped(place, postgres)


@contextmanager
def rotated_meanwhile(place: Place, account: Account, worker: Worker, away) -> Iterator[str]:
    """The provider has rotated, and the database is away when the answer comes; the token that the caller got."""
    place.oidc.hold(account.refresh_token, "after")
    call = worker.begin("call", owner=account.owner)
    place.oidc.wait_held(account.refresh_token)
    with away(place):
        place.oidc.release(account.refresh_token)
        began = time.monotonic()
        (outcome,) = worker.end(call)
        assert time.monotonic() - began < 15
        yield outcome["token"]


def check_home(place: Place, account: Account, token: str) -> None:
    """The row holds the newest tokens by now, and the provider was asked once."""
    access, refresh = place.tokens(account.owner)
    family = place.oidc.family(account.refresh_token)
    assert (access, refresh, family.alive) == (token, family.newest, True)
    assert (family.refreshes, family.invalid_grants) == (1, 0)
    held = place.held(account.owner)
    assert (held.generation, held.health) == (2, Health.OK)
    assert list(place.system.journal.entries()) == []


@pytest.mark.requirement("B1.journal")
def test_what_was_rotated_while_the_database_was_away_waits_on_disk_for_any_process(place, away):
    account = place.account()
    first, second = place.worker(busy=0.3), place.worker(busy=0.3)
    with rotated_meanwhile(place, account, first, away) as token:
        assert len(place.system.journal.entries()) == 1
        first.kill()
    assert second.call("ann")["token"] == token
    check_home(place, account, token)


@pytest.mark.requirement("rel.journal-home")
def test_what_waits_on_disk_is_brought_home_by_upkeep_too(place, away):
    account = place.account()
    worker = place.worker(busy=0.3)
    with rotated_meanwhile(place, account, worker, away) as token:
        assert worker.do("replay") == 1
        assert len(place.system.journal.entries()) == 1
    assert worker.do("replay") == 0
    check_home(place, account, token)


@pytest.mark.requirement("B.shown-locked", "R-14")
def test_while_sqlite_is_locked_what_serves_is_served_and_the_rest_is_told_in_time(places):
    place = places("sqlite")
    ended, valid, soft = place.account("ended"), place.account("valid", ends_in=3600), place.account("soft", ends_in=20)
    worker = place.worker(busy=0.3)
    with locked(place):
        assert worker.call("valid")["token"] == valid.access_token
        outcome = worker.call("soft")
        assert (outcome["token"], outcome["seconds"] < 5) == (soft.access_token, True)
        outcome = worker.call("ended")
        assert (outcome["error"], outcome["status"]) == ("StoreUnavailable", "store_unavailable")
        assert outcome["seconds"] < 5
        assert "locked by another program" in outcome["text"]
    assert [place.oidc.family(account.refresh_token).refreshes for account in (ended, valid, soft)] == [0, 0, 0]
    assert worker.call("ended")["token"] == place.tokens("ended")[0]


@pytest.mark.requirement("B.shown-locked", "R-14")
@pytest.mark.long
def test_sqlite_is_locked_for_twenty_seconds_under_load(places):
    place = places("sqlite")
    place.account("ended")
    valid = place.account("valid", ends_in=3600)
    workers = [place.worker() for _ in range(2)]
    loads = [worker.begin("load", owners=["ended", "valid"], seconds=24) for worker in workers]
    with locked(place):
        time.sleep(20)
    for worker, load in zip(workers, loads, strict=True):
        told = worker.end(load, timeout=60)
        assert set(told["ended"]) <= {"ok", *LATER}
        assert told["longest"] < 10
        assert worker.call("valid")["token"] == valid.access_token
        assert worker.call("ended")["token"] == place.tokens("ended")[0]
    assert place.oidc.errors == []


@pytest.mark.requirement("B.shown-postgres", "R-17")
@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.long)])
def test_postgres_is_stopped_under_load_and_comes_back(places, postgres, seconds):
    place = places("postgres")
    accounts = [place.account(f"owner-{number}", ends_in=-100 if number % 2 else 3600) for number in range(6)]
    owners = [account.owner for account in accounts]
    workers = [place.worker() for _ in range(2)]
    for worker in workers:
        assert set(worker.do("load", owners=owners[::2], seconds=0.2)["ended"]) == {"ok"}
    loads = [worker.begin("load", owners=owners, seconds=seconds + 4) for worker in workers]
    with stopped(place, postgres):
        time.sleep(seconds)
    began = time.monotonic()
    wait_until(lambda: "token" in workers[0].call(owners[0]), "the database is used again", timeout=5)
    assert time.monotonic() - began < 5
    for worker, load in zip(workers, loads, strict=True):
        told = worker.end(load, timeout=60)
        assert set(told["ended"]) <= {"ok", *LATER}
        assert {"ok"} < set(told["ended"])
        assert told["longest"] < 15
    for account in accounts:
        tokens = {worker.call(account.owner)["token"] for worker in workers}
        assert tokens == {place.tokens(account.owner)[0]}
        assert place.oidc.family(account.refresh_token).newest == place.tokens(account.owner)[1]
    assert place.oidc.errors == []
    assert place.oidc.refreshes == 3


@pytest.mark.requirement("B.shown-postgres", "R-17")
def test_connections_of_postgres_are_terminated_under_load(places, postgres):
    place = places("postgres")
    accounts = [place.account(f"owner-{number}") for number in range(6)]
    workers = [place.worker() for _ in range(2)]
    loads = [worker.begin("load", owners=[account.owner for account in accounts], seconds=3) for worker in workers]
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        postgres.cut(place.settings["database_url"])
        time.sleep(0.1)
    for worker, load in zip(workers, loads, strict=True):
        told = worker.end(load)
        assert set(told["ended"]) <= {"ok", *LATER}
        assert told["longest"] < 10
    for account in accounts:
        assert {worker.call(account.owner)["token"] for worker in workers} == {place.tokens(account.owner)[0]}
        assert place.oidc.family(account.refresh_token).newest == place.tokens(account.owner)[1]
    assert place.oidc.errors == []


@pytest.mark.requirement("B.shown-valkey", "R-19")
def test_valkey_is_killed_under_load(places, valkey, database):
    place = places(database, redis_url=valkey.url)
    accounts = [place.account(f"owner-{number}") for number in range(6)]
    workers = [place.worker() for _ in range(3)]
    for account in accounts:
        place.oidc.delay(account.refresh_token, 0.5)
    owners = [account.owner for account in accounts]
    loads = [worker.begin("load", owners=owners, seconds=2.5) for worker in workers]
    time.sleep(0.25)
    valkey.kill()
    for worker, load in zip(workers, loads, strict=True):
        told = worker.end(load)
        assert set(told["ended"]) == {"ok"}
        assert told["longest"] < 6
    assert (place.oidc.refreshes, place.oidc.errors) == (6, [])


@pytest.mark.requirement("B1.journal-first")
def test_a_journal_that_comes_home_late_does_not_replace_what_is_newer(places, postgres, tmp_path):
    """Another machine, which does not see this one's disk, refreshes within the provider's grace."""
    place = places("postgres")
    account = place.account()
    place.oidc.grace(account.refresh_token, 60)
    shutil.copytree(place.home, tmp_path / "elsewhere")
    here, elsewhere = place.worker(), place.worker(home=str(tmp_path / "elsewhere"), scale=0.1)
    with rotated_meanwhile(place, account, here, lambda place: stopped(place, postgres)) as token:
        here.kill()
    place.run(place.system.stores.connections.release(**holder(place.held()), unclear=True))
    newer = elsewhere.call("ann")["token"]
    assert newer != token
    again = place.worker()
    assert again.do("replay") == 0
    assert again.call("ann")["token"] == newer
    assert place.tokens() == (newer, place.oidc.family(account.refresh_token).newest)
    assert (place.held().generation, place.held().health) == (2, Health.OK)
    assert list(place.system.journal.entries()) == []


def holder(held: Connection) -> dict[str, str]:
    """Who refreshes that row now."""
    return {"connection_id": held.id, "owner": held.lease_owner, "attempt": held.attempt_id}
