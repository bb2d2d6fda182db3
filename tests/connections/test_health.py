"""What is said of a connection: its state and why, when it last worked, when it is tried again."""

import json
from typing import Any

import pytest

from tests.stores.values import NOW, a_connection
from valetkey.connections.health import describe
from valetkey.model.connections import Cause, Connection, Health, Sealed


def failed(health: Health, cause: Cause, **more: Any) -> Connection:
    return a_connection(health=health, cause=cause, **{"reason": "The provider said no.", "fail_count": 2} | more)


@pytest.mark.requirement("B6.connection")
def test_a_good_connection_as_json() -> None:
    connection = a_connection(refresh_at=NOW + 3000, sealed=Sealed(b"canary-77c1"), reason="")
    assert describe(connection, now=NOW + 10).as_dict() == {
        "state": "ok",
        "cause": None,
        "reason": None,
        "next_step": "Nothing: it can be used.",
        "last_success": "2025-06-15T15:06:40Z",
        "expires_at": "2025-06-15T16:06:40Z",
        "refresh_at": "2025-06-15T15:56:40Z",
        "next_try_at": None,
        "fail_count": 0,
        "refreshing": False,
        "unclear": False,
        "servable": True,
    }


@pytest.mark.requirement("B6.connection")
def test_after_a_failure_that_may_pass_it_says_when_it_is_tried_again() -> None:
    connection = failed(Health.TRANSIENT, Cause.UNAVAILABLE, next_try_at=NOW + 60)
    condition = describe(connection, now=NOW)
    assert condition.servable
    assert condition.next_try_at == NOW + 60
    assert condition.next_step == (
        "Nothing: the credential that is there is used meanwhile, and renewing it is tried again at the next call"
        " after 2025-06-15T15:07:40Z."
    )
    assert condition.as_dict()["reason"] == "The provider said no."
    ended = describe(connection, now=NOW + 4000)
    assert not ended.servable
    assert ended.next_try_at is None  # its time has come
    assert ended.next_step == "Nothing: renewing it is tried again at the next call."


@pytest.mark.requirement("B6.connection")
@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (Cause.REFUSED, "Connect the account again."),
        (Cause.LOST_ROTATION, "the answer never reached us"),
        (Cause.REJECTED, "look at the provider"),
        (Cause.NONE, "Connect the account again."),
    ],
)
def test_a_connection_that_needs_a_person_is_not_lent_and_not_tried_again(cause: Cause, words: str) -> None:
    connection = failed(Health.NEEDS_REAUTH, cause, next_try_at=NOW + 60, refresh_at=NOW + 3000)
    condition = describe(connection, now=NOW)
    assert words in condition.next_step
    assert condition.next_step.startswith("Connect the account again")
    assert [condition.servable, condition.next_try_at, condition.refresh_at] == [False, None, None]


def test_a_wrong_setting_is_for_the_operator() -> None:
    condition = describe(failed(Health.CONFIG_ERROR, Cause.SETUP, next_try_at=NOW + 300), now=NOW)
    assert "Correct the settings" in condition.next_step
    assert condition.servable
    assert condition.next_try_at == NOW + 300


def test_a_token_that_has_ended() -> None:
    assert describe(a_connection(), now=NOW + 3600.4).servable
    ended = describe(a_connection(), now=NOW + 3600.5)
    assert not ended.servable
    assert ended.next_step == "Nothing: it is renewed at the next call."
    for_good = describe(a_connection(refreshable=False), now=NOW + 4000)
    assert for_good.next_step.startswith("Connect the account again")
    assert describe(a_connection(expires_at=None, refreshable=False), now=NOW + 10**9).servable


def test_a_refresh_in_flight_is_told_from_one_whose_outcome_nobody_knows() -> None:
    # The lease's end is on the store's own clock: here it has begun 5 s ago.
    flying = failed(
        Health.TRANSIENT,
        Cause.UNAVAILABLE,
        lease_owner="p1",
        lease_until=17.0,
        attempt_id="a1",
        attempt_started=NOW - 2,
    )
    condition = describe(flying, now=NOW + 4000)
    assert [condition.refreshing, condition.unclear] == [False, True]  # its holder died long ago
    condition = describe(flying, now=NOW)
    assert [condition.refreshing, condition.unclear] == [True, False]
    assert condition.next_step == "Nothing: it is being renewed."
    released = describe(a_connection(attempt_id="a1", attempt_started=NOW - 2), now=NOW)
    assert [released.refreshing, released.unclear] == [False, True]
    idle = describe(a_connection(), now=NOW)
    assert [idle.refreshing, idle.unclear] == [False, False]


def test_a_reason_is_one_line_without_control_characters() -> None:  # E-02
    said = 'no\r\nlevel=error msg="forged"\x1b[31m\u2028\u202e\x00 end'
    reason = describe(failed(Health.TRANSIENT, Cause.UNAVAILABLE, reason=said), now=NOW).reason
    assert reason == 'no level=error msg="forged" [31m end'
    assert len(json.dumps({"reason": reason}, ensure_ascii=False).splitlines()) == 1


@pytest.mark.parametrize("absurd", [float("inf"), float("nan"), 1e20, -1e20])
def test_a_time_that_no_calendar_has_is_left_out(absurd: float) -> None:
    shown = describe(a_connection(expires_at=absurd, issued_at=absurd), now=NOW).as_dict()
    assert [shown["expires_at"], shown["last_success"]] == [None, None]
    json.dumps(shown, allow_nan=False)


@pytest.mark.requirement("B6.connection")
def test_nothing_secret_is_in_it() -> None:
    condition = describe(a_connection(sealed=Sealed(b"canary-77c1"), account="ada@example.com"), now=NOW)
    for text in (repr(condition), json.dumps(condition.as_dict())):
        assert "canary" not in text
        assert "ada" not in text
