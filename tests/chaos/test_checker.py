"""The checker is shown a sound history, and then each kind of bad one; and the excuses that it takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.checker import DAMAGED, check
from tests.chaos.faults import plan
from tests.chaos.history import Event, History, Reader, Teller, fingerprint

KEY, CONN, FAMILY = "ann/work", "c1", "f1"


def event(kind: str, t: float, **values: Any) -> Event:
    return {"kind": kind, "t": t, **values}


def call(t0: float, gen: int, token: str, *, t: float | None = None, **changes: Any) -> Event:
    values = {"w": "0.0", "key": KEY, "lends": [[CONN, gen, token]], "error": None, "failed": False} | changes
    return event("call", t0 + 0.1 if t is None else t, t0=t0, **values)


def refreshed(n: str, t: float, old: str, access: str, refresh: str, *, status: int | None = 200) -> list[Event]:
    """A refresh that the provider acted on, from its request to its answer."""
    worker = n.partition("#")[0]
    return [
        event("sent", t, w=worker, n=n, what="refresh", token=old),
        event("arrived", t + 0.01, n=n, what="refresh", token=old, family=FAMILY, fault=""),
        event("issued", t + 0.02, n=n, parent=old, access=access, refresh=refresh, family=FAMILY, subject=KEY),
        event("got", t + 0.03, w=worker, n=n, status=status),
    ]


def saved(w: str, t: float, gen: int, access: str, refresh: str, **changes: Any) -> Event:
    values = {"conn": CONN, "gen": gen, "access": access, "refresh": refresh, "key": KEY, "t0": t - 0.01} | changes
    return event("saved", t, w=w, **values)


def leased(w: str, t: float, gen: int) -> Event:
    return event("lease", t, w=w, conn=CONN, gen=gen, t0=t - 0.01, ttl=2.4)


def state(t: float, **changes: Any) -> Event:
    row = {"key": KEY, "conn": CONN, "gen": 2, "health": "ok", "cause": "", "lease": "", "sealed_by": "k1"}
    row |= {name: value for name, value in changes.items() if name in row}
    rest = {name: value for name, value in changes.items() if name not in row}
    return event("state", t, w="0.0", t0=t, rows=[row], **{"journal": 0, "revocations": 0, "newest": "k1"} | rest)


CONNECTED = [
    event("issued", 1.0, n="0.0#1", parent=None, access="a1", refresh="r1", family=FAMILY, subject=KEY),
    saved("0.0", 1.1, 1, "a1", "r1"),
    event("connect", 1.2, w="0.0", key=KEY, t0=0.9, error=None),
    call(2.0, 1, "a1"),
]
RENEWED = [leased("0.0", 4.9, 1), *refreshed("0.0#2", 5.0, "r1", "a2", "r2"), saved("0.0", 5.2, 2, "a2", "r2")]
SETTLED = [
    call(6.0, 2, "a2", w="1.0"),
    event("phase", 50.0, name="heal"),
    call(51.0, 2, "a2"),
    state(52.0),
    event("phase", 53.0, name="end"),
    event("exit", 54.0, w="0.0", code=0),
    event("alive", 54.0, families=[FAMILY]),
]
SOUND = [*CONNECTED, *RENEWED, *SETTLED]
ENDED = [
    event("ending", 60.0, w="0.0", key=KEY),
    event("deleted", 60.1, w="0.0", conn=CONN, gen=2, key=KEY, t0=60.0),
    event("disconnect", 60.2, w="0.0", key=KEY, conn=CONN, t0=60.0, revoked=True, queued=False, told=False, error=None),
]
KILLED = event("fault", 8.0, what="kill", w="0.0", t0=5.1)
STOOD = event("fault", 9.0, what="pause", w="1.0", t0=5.0)
REUSED = [
    leased("1.0", 7.9, 1),
    event("sent", 8.0, w="1.0", n="1.0#1", what="refresh", token="r1"),
    event("arrived", 8.01, n="1.0#1", what="refresh", token="r1", family=FAMILY, fault=""),
    event("dead", 8.02, family=FAMILY, why="reuse", n="1.0#1"),
    event("refused", 8.025, n="1.0#1", what="refresh", token="r1", family=FAMILY, status=400),
    event("got", 8.03, w="1.0", n="1.0#1", status=400),
]
MARKED = event("noting", 8.1, w="1.0", conn=CONN, gen=1, key=KEY, cause="lost_rotation")


def rules(events: list[Event], *, strict: bool = True) -> list[str]:
    return [finding.rule for finding in check(History(events, strict=strict, bound=9.0, longest=10.0))]


def without(kind: str, events: list[Event], **where: Any) -> list[Event]:
    return [
        each
        for each in events
        if each["kind"] != kind or not all(each.get(name) == value for name, value in where.items())
    ]


def test_a_sound_history_is_sound() -> None:
    assert rules(SOUND) == []


@pytest.mark.requirement("B.shown-chaos")
def test_a_refresh_token_that_is_presented_after_its_success_was_kept() -> None:
    assert rules([*SOUND, *REUSED]) == ["used twice"]


def test_a_refresh_token_that_is_presented_again_with_no_fault_at_all() -> None:
    unsaved = [*CONNECTED, *RENEWED[:-1], *REUSED]
    assert "used twice" in rules(unsaved)


@pytest.mark.parametrize("fault", [KILLED, event("stall", 8.0, w="0.0", t0=5.05, why="loop"), STOOD])
def test_a_fault_explains_that_it_is_presented_again(fault: Event) -> None:
    assert rules([*CONNECTED, *RENEWED[:-1], *REUSED, fault]) == []


def test_an_answer_that_never_came_explains_it_too() -> None:
    lost = refreshed("0.0#2", 5.0, "r1", "a2", "r2", status=None)
    assert rules([*CONNECTED, leased("0.0", 4.9, 1), *lost, *REUSED]) == []


def test_who_stood_still_between_lease_and_request_may_not_have_known() -> None:
    held = [leased("1.0", 4.0, 1), *REUSED[1:], event("fault", 7.95, what="pause", w="1.0", t0=4.1)]
    freed = event("freeing", 4.8, w="1.0", conn=CONN, gen=1)
    assert rules([*SOUND, *held, freed]) == []


def test_a_kill_does_not_explain_what_was_kept_before() -> None:
    assert "used twice" in rules([*SOUND, *REUSED, event("fault", 8.0, what="kill", w="0.0", t0=5.5)])


def test_two_in_flight_for_one_generation() -> None:
    second = event("sent", 5.01, w="1.0", n="1.0#1", what="refresh", token="r1")
    assert "two in flight" in rules([*SOUND, second])
    stood = [leased("1.0", 2.4, 1), event("fault", 5.005, what="pause", w="1.0", t0=2.5)]
    assert "two in flight" not in rules([*SOUND, second, *stood])


def test_a_lease_that_is_granted_to_two() -> None:
    assert rules([*SOUND, leased("1.0", 5.1, 1)]) == ["lease held twice"]
    assert rules([*SOUND, leased("1.0", 7.4, 1)]) == []


def test_a_lease_that_was_given_back_may_be_granted_again() -> None:
    given = event("freeing", 5.05, w="0.0", conn=CONN, gen=1)
    assert rules([*SOUND, given, leased("1.0", 5.1, 1)]) == []


@pytest.mark.requirement("B.shown-chaos")
def test_a_call_that_is_lent_what_was_replaced_before_it_began() -> None:
    assert rules([*SOUND, call(5.3, 1, "a1", w="1.0")]) == ["stale read"]


def test_a_call_that_had_begun_before_may_be_lent_the_old_one() -> None:
    assert rules([*SOUND, call(5.15, 1, "a1", w="1.0", t=5.4)]) == []


def test_a_row_that_was_read_counts_as_written() -> None:
    read = event("read", 5.2, w="1.0", conn=CONN, gen=2, t0=5.1)
    assert rules([*without("saved", SOUND, gen=2), read, call(5.3, 1, "a1")]) == ["stale read"]


@pytest.mark.requirement("B.shown-chaos")
@pytest.mark.parametrize("subject", ["ann/default", "bob/work", None])
def test_a_token_of_another_account(subject: str | None) -> None:
    foreign = [] if subject is None else [
        event("issued", 5.0, n="2.0#1", parent=None, access="x", refresh="y", family="f2", subject=subject)
    ]  # fmt: skip
    assert rules([*SOUND, *foreign, call(6.5, 2, "x")]) == ["wrong owner"]


def test_a_call_that_is_lent_a_token_after_its_end() -> None:
    gone = without("alive", [*SOUND, *ENDED])
    assert rules(gone) == []
    assert "lent after its end" in rules([*gone, call(60.3, 2, "a2")])
    assert rules([*gone, call(60.05, 2, "a2", t=60.4)]) == []


def test_a_connection_that_comes_back_by_a_late_refresh() -> None:
    gone = without("alive", [*SOUND, *ENDED])
    assert rules([*gone, saved("1.0", 60.4, 3, "a2", "r2")]) == ["revived"]
    assert "revived" in rules([*gone, leased("1.0", 60.4, 2)])


def test_a_token_that_outlives_its_connection_at_the_provider() -> None:
    assert rules([*SOUND, *ENDED]) == ["lives on"]
    told = [*without("disconnect", ENDED), ENDED[-1] | {"told": True}]
    assert rules([*SOUND, *told]) == []


def test_a_person_who_is_needed_while_the_family_lives() -> None:
    assert "needs a person, unexplained" in rules([*CONNECTED, MARKED])


def test_a_clock_that_was_off_explains_a_token_that_was_refused_although_it_looked_good() -> None:
    rejected = MARKED | {"cause": "rejected"}
    assert "needs a person, unexplained" in rules([*CONNECTED, rejected])
    assert rules([*CONNECTED, rejected, event("fault", 2.0, what="clock", w="0.0", t0=0.5)]) == []
    assert rules([*CONNECTED, rejected, event("fault", 9.0, what="clock", w="1.0", t0=8.0)]) == []


def test_a_loss_is_explained_without_a_grace_only() -> None:
    lost = [*CONNECTED, *RENEWED[:-1], *REUSED, KILLED, MARKED]
    assert rules(lost) == []
    assert rules(lost, strict=False) == ["lost within the grace"]


def test_a_lost_rotation_that_is_called_something_else() -> None:
    lost = [*CONNECTED, *RENEWED[:-1], *REUSED, KILLED, MARKED | {"cause": "refused"}]
    assert rules(lost) == ["cause not told"]


def test_a_consent_that_was_withdrawn_explains_a_refusal_with_a_grace_too() -> None:
    withdrawn = event("dead", 7.0, family=FAMILY, why="withdrawn", n="")
    refused = [*CONNECTED, withdrawn, MARKED | {"cause": "refused"}]
    assert rules(refused, strict=False) == []


def test_a_person_who_is_asked_for_an_account_that_is_there() -> None:
    asked = call(10.0, 0, "", lends=[], error="AuthRequired")
    assert rules([*SOUND, asked]) == ["a person asked for nothing"]
    assert rules([*SOUND, event("ending", 10.05, w="0.0", key=KEY), asked]) == []
    assert rules([*SOUND, call(0.5, 0, "", lends=[], error="AuthRequired")]) == []


def test_a_connection_that_serves_nobody_after_the_faults() -> None:
    assert rules(without("call", SOUND, t0=51.0)) == ["does not serve again"]
    assert rules([*without("call", SOUND, t0=51.0), call(59.5, 2, "a2")]) == ["does not serve again"]


def test_one_that_needs_a_person_need_not_serve() -> None:
    down = [*without("state", without("call", SOUND, t0=51.0)), state(52.0, health="needs_reauth")]
    assert rules(down) == []


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"lease": "somebody"}, "lease hangs"),
        ({"sealed_by": "k0"}, "old key"),
        ({"journal": 1}, "left in the journal"),
        ({"revocations": 2}, "left in the revocations"),
    ],
)
def test_what_is_left_at_the_end(changes: dict[str, Any], rule: str) -> None:
    assert rules([*without("state", SOUND), state(52.0, **changes)]) == [rule]


def test_one_that_needs_a_person_has_the_new_key_all_the_same() -> None:
    assert rules([*without("state", SOUND), state(52.0, health="needs_reauth", sealed_by="k0")]) == ["old key"]


def test_a_lease_that_was_just_taken_does_not_hang() -> None:
    fresh = [*without("state", SOUND), leased("0.0", 51.5, 2), state(52.0, lease="somebody")]
    assert rules(fresh) == []


@pytest.mark.parametrize("error", ["KeyError", "RefreshFailed", "VaultError", "StoreUnavailable"])
def test_an_error_that_no_caller_should_meet(error: str) -> None:
    assert rules([*SOUND, call(10.0, 2, "a2", error=error)]) == ["unexpected error"]


def test_an_error_that_a_fault_explains() -> None:
    away = call(10.0, 2, "a2", error="StoreUnavailable")
    assert rules([*SOUND, away, event("fault", 10.5, what="lock", w=None, t0=9.5)]) == []
    damaged = call(10.0, 0, "", key=DAMAGED, lends=[], error="VaultError")
    assert rules([*SOUND, damaged]) == []


def test_a_call_that_takes_too_long_unless_its_process_stood_still() -> None:
    slow = call(10.0, 2, "a2", t=21.0)
    assert rules([*SOUND, slow]) == ["too slow"]
    assert rules([*SOUND, slow, event("fault", 15.0, what="pause", w="0.0", t0=12.0)]) == []


def test_a_call_that_ends_well_without_a_token() -> None:
    assert rules([*SOUND, call(10.0, 0, "", lends=[])]) == ["lent nothing"]


@pytest.mark.parametrize(
    ("told", "rule"),
    [
        (event("leak", 60.0, where="worker-0.0.log", what="a token"), "token in a log"),
        (event("noise", 60.0, where="worker-0.0.log", line="Traceback"), "noise"),
        (event("noise", 60.0, where="worker-0.0.log", line="upkeep (x) failed with TypeError"), "noise"),
        (event("exit", 60.0, w="1.0", code=1), "worker ended"),
    ],
)
def test_what_the_runner_finds(told: Event, rule: str) -> None:
    assert rules([*SOUND, told]) == [rule]


def test_work_in_the_background_may_meet_a_database_that_is_away() -> None:
    away = event("noise", 60.0, where="worker-0.0.log", line="work in the background failed with StoreUnavailable")
    assert rules([*SOUND, away]) == []


def test_a_history_is_read_while_it_is_written(tmp_path) -> None:
    teller, reader = Teller(tmp_path / "a.jsonl", w="0.0"), Reader(tmp_path)
    teller.tell("call", t0=1.0)
    assert [each["t0"] for each in reader.more()] == [1.0]
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"kind": "half')
    assert reader.more() == []
    teller.close()


def test_a_token_goes_by_a_name_that_is_not_its_value() -> None:
    assert fingerprint("secret") != fingerprint("secret2")
    assert "secret" not in fingerprint("secret")


def test_a_plan_is_the_same_for_the_same_seed() -> None:
    assert plan(7, 60.0) == plan(7, 60.0)
    assert plan(7, 60.0) != plan(8, 60.0)
    assert {"kill", "pause", "database", "rotate", "damage"} <= {fault.kind for fault in plan(7, 10.0)}
