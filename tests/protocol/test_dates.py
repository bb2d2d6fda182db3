"""Dates in headers, and how long a server asks to be left alone: RFC 9110 §5.6.7, §10.2.3, case T-05."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.protocol.dates import http_date, retry_after

NOW = 1_700_000_000.0
WORDS = ("Sun,", "Nov", "06", "1994", "08:49:37", "GMT", "+9999", "-0000", "99", "9" * 20, "1e9", ":", "-5")


class TestRetryAfter:
    @pytest.mark.requirement("T-05")
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("0", 0.0),
            ("7", 7.0),
            (" 7 ", 7.0),
            ("3600", 3600.0),
            ("3601", 3600.0),
            ("1000000000", 3600.0),
            ("9" * 400, 3600.0),
            ("-5", None),
            ("7.5", None),
            ("soon", None),
            ("", None),
            ("\u0667", None),
            ("Wed, 99 Nov 2023 25:61:61 GMT", None),
            (None, None),
        ],
    )
    def test_seconds(self, value, seconds):
        assert retry_after(value, NOW) == seconds

    @pytest.mark.requirement("T-05")
    @pytest.mark.parametrize(("ahead", "seconds"), [(90, 90.0), (0, 0.0), (-90, 0.0), (7200, 3600.0)])
    def test_a_date(self, ahead, seconds):
        date = datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=ahead)
        assert retry_after(format_datetime(date, usegmt=True), NOW) == seconds

    def test_a_date_of_the_standard(self, monkeypatch):
        monkeypatch.setenv("TZ", "EST5")
        time.tzset()
        # RFC 9110 §5.6.7: 784111777 seconds since the epoch.
        assert retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_700.0) == 77.0
        assert retry_after("Sun Nov  6 08:49:37 1994", 784_111_700.0) == 77.0
        monkeypatch.undo()
        time.tzset()

    @pytest.mark.parametrize(
        "value",
        [
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 +99999999999999999999",
            "Sat, 01 Jan 0001 00:00:00 +9999",
            "Sun, 06 Nov 0 08:49:37",
        ],
    )
    def test_a_date_beyond_all_calendars(self, value):
        assert retry_after(value, NOW) in (None, 0.0)

    @pytest.mark.requirement("T-05")
    @given(st.text())
    def test_garbage_is_no_pause(self, value):
        pause = retry_after(value, NOW)
        assert pause is None or 0 <= pause <= 3600

    @given(st.lists(st.sampled_from(WORDS)))
    def test_what_is_nearly_a_date_is_no_crash(self, words):
        date = http_date(" ".join(words))
        assert date is None or isinstance(date, float)


def test_no_date():
    assert http_date(None) is None
    assert http_date("yesterday") is None
    assert http_date(" Sun, 06 Nov 1994 08:49:37 GMT ") == 784_111_777.0
