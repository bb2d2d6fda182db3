"""When to refresh ahead of the end, and when to try again after a failure."""

from __future__ import annotations

from typing import Any

from valetkey.model.connections import Cause, Connection, Credential, Grant, Health
from valetkey.ports.world import Entropy

SHARE = 0.2
"""The part of a token's life, before its end, in which it is refreshed ahead."""

JITTER = 0.2
"""How far that part varies, so that accounts connected together are not refreshed together."""

SHORTEST, LONGEST = 60.0, 900.0
"""Seconds before the end within which refreshing ahead begins, jitter apart."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds after a failure until the next try."""

MINIMUM = 30.0
"""Seconds between two refreshes of a token that still serves."""

LEAST = 1.0
"""Seconds that a token which was just obtained has to live; one with less has ended already."""

_DOUBLINGS = 16


def fraction(entropy: Entropy) -> float:
    """A number in [0, 1)."""
    return int.from_bytes(entropy.bytes(6)) / 2**48


def soft_expiry(*, issued_at: float, expires_at: float, entropy: Entropy) -> float:
    """When to refresh a token ahead of its end, in seconds since the epoch.

    A fifth of its life before, at least a minute and at most a quarter of an hour, give or take a fifth of that;
    never in the first half of its life.
    """
    life = expires_at - issued_at
    ahead = min(max(SHORTEST, SHARE * life), LONGEST)
    ahead *= 1 - JITTER + 2 * JITTER * fraction(entropy)
    return expires_at - min(ahead, life / 2)


def believed(grant: Grant, before: Credential, now: float) -> float | None:
    """Until when a renewed token is used, in seconds since the epoch; None: its life is not known.

    One that is the same as before, or has ended already, is used for ``MINIMUM`` seconds whatever its end: asking at
    once would only bring it again. A short life that is a new token's own is kept.
    """
    ends, new, old = grant.expires_at, grant.credential.access_token, before.access_token
    if ends is None or (new != old and ends >= now + LEAST):
        return ends
    return max(ends, now + MINIMUM)


def pause(failures: int, entropy: Entropy) -> float:
    """Seconds until the next try after that many failures in a row: exponential, with full jitter."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, _DOUBLINGS))
    return FIRST_PAUSE + fraction(entropy) * (longest - FIRST_PAUSE)


def left_to_wait(connection: Connection, now: float) -> float:
    """Seconds until the connection may be tried again; none where the wall clock was set back since that was noted."""
    if now < connection.updated_at - 1:
        return 0.0
    return max(0.0, connection.next_try_at - now)


def soft(connection: Connection, now: float) -> bool:
    """Whether its token should be refreshed ahead by now."""
    return connection.refresh_at is not None and now >= connection.refresh_at


def lifetime(grant: Grant, now: float, entropy: Entropy) -> dict[str, Any]:
    """What a new credential changes of a connection's state: its life begins, and all is well."""
    ends = grant.expires_at
    return {
        "issued_at": now,
        "expires_at": ends,
        "refresh_at": None if ends is None else soft_expiry(issued_at=now, expires_at=ends, entropy=entropy),
        "health": Health.OK,
        "cause": Cause.NONE,
        "reason": "",
        "fail_count": 0,
        "updated_at": now,
    }
