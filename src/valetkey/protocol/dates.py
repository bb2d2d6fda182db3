"""RFC 9110 §5.6.7, §10.2.3: dates in headers, and how long a server asks to be left alone."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_PAUSE = 3600.0
"""Seconds that a Retry-After is obeyed."""


def http_date(value: str | None) -> float | None:
    """A date in seconds since the epoch; None where it makes no sense."""
    if value is None:
        return None
    try:
        date = parsedate_to_datetime(value.strip())
        # A date without a zone is in UTC.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds of a Retry-After header, at most an hour; None where it makes no sense.

    Args:
        value: seconds, or a date.
        now: the time to which a date is compared, in seconds since the epoch: best that of the same answer.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_PAUSE)
    date = http_date(value)
    return None if date is None else min(max(date - now, 0.0), LONGEST_PAUSE)
