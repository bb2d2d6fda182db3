"""What is remembered of a provider between two requests: T-19, R-38."""

import logging
from email.utils import formatdate

import pytest

from valetkey.oauth.notes import Notes
from valetkey.secret import Secret

NOW = 1_700_000_000.0
ONE, TWO = Secret("canary-one"), Secret("canary-two")


def test_secrets_are_tried_in_their_order_and_the_one_that_was_taken_first():
    notes = Notes("Example")
    assert notes.ordered([ONE, TWO]) == [ONE, TWO]
    notes.took(TWO)
    assert notes.ordered([ONE, TWO]) == [TWO, ONE]
    assert notes.ordered([TWO, ONE]) == [TWO, ONE]
    assert notes.ordered([ONE]) == [ONE], "one that settings know no more is forgotten"
    notes.took(ONE)
    assert notes.ordered([ONE, TWO]) == [ONE, TWO]
    assert notes.ordered([]) == []


@pytest.mark.parametrize(("skew", "words"), [(301, "5 minutes ahead of"), (-7200, "120 minutes behind")])
def test_a_clock_that_is_far_off_is_told_once(caplog, skew, words):
    notes = Notes("Example")
    for _ in range(100):
        notes.hear(formatdate(NOW + skew, usegmt=True), now=NOW)
    (told,) = caplog.records
    assert told.levelno == logging.WARNING
    assert f"The clock of Example is {words} ours" in told.getMessage()


def test_each_provider_is_told_of(caplog):
    for name in ("Example", "Other"):
        Notes(name).hear(formatdate(NOW + 7200, usegmt=True), now=NOW)
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    "date",
    [None, "", "soon", formatdate(NOW + 300, usegmt=True), formatdate(NOW - 300, usegmt=True), "9" * 400],
)
def test_a_clock_that_is_right_or_says_nothing_is_not(caplog, date):
    Notes("Example").hear(date, now=NOW)
    assert caplog.records == []


def test_warnings_of_different_things_do_not_hide_each_other(caplog):
    notes = Notes("Example")
    notes.warn("one", "%(provider)s: one")
    notes.warn("two", "%(provider)s: two, %(more)s", {"more": "100 % sure"})
    notes.warn("one", "%(provider)s: one again")
    assert [record.getMessage() for record in caplog.records] == ["Example: one", "Example: two, 100 % sure"]
