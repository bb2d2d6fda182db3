"""How a connection fares and why, in words: for people, for the command line, for APIs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from valetkey.connections.refresh import LEASE
from valetkey.connections.states import expired
from valetkey.model.connections import Cause, Connection, Health


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One connection at one moment, as its row tells. Times are seconds since the epoch; no secret is here.

    Attributes:
        reason: what the last refresh met, as one line; empty where all is well.
        next_step: what to do now, as a sentence.
        last_success: when the token that is there was obtained; None: unknown.
        expires_at: when it ends; None: unknown or never.
        refresh_at: when it is refreshed ahead of its end; None: it is not.
        next_try_at: a refresh waits until then; None: none waits.
        fail_count: refreshes that failed in a row.
        refreshing: whether a refresh is in flight.
        unclear: whether the outcome of the last refresh is not known: it ended without an answer.
        servable: whether the token can be lent right now, without a refresh.
    """

    state: Health
    cause: Cause
    reason: str
    next_step: str
    last_success: float | None
    expires_at: float | None
    refresh_at: float | None
    next_try_at: float | None
    fail_count: int
    refreshing: bool
    unclear: bool
    servable: bool

    def as_dict(self) -> dict[str, object]:
        """As JSON; times in UTC (ISO 8601, RFC 3339), without fractions of a second."""
        return {
            "state": self.state.value,
            "cause": self.cause.value or None,
            "reason": self.reason or None,
            "next_step": self.next_step,
            "last_success": _utc(self.last_success),
            "expires_at": _utc(self.expires_at),
            "refresh_at": _utc(self.refresh_at),
            "next_try_at": _utc(self.next_try_at),
            "fail_count": self.fail_count,
            "refreshing": self.refreshing,
            "unclear": self.unclear,
            "servable": self.servable,
        }


def describe(connection: Connection, *, now: float) -> Condition:
    """The condition of a connection at ``now`` (seconds since the epoch)."""
    # The lease ends by the store's clock, which nobody reads here; when it was taken is wall time. A holder that
    # died leaves its name behind, so a lease of which time has run out counts for nothing.
    begun = now - connection.attempt_started
    refreshing = bool(connection.lease_owner) and -LEASE < begun < LEASE
    servable = connection.health is not Health.NEEDS_REAUTH and not expired(connection, now)
    renewable = connection.refreshable and connection.health is not Health.NEEDS_REAUTH
    waits = renewable and connection.next_try_at > now and connection.health is not Health.OK
    next_try_at = connection.next_try_at if waits else None
    return Condition(
        state=connection.health,
        cause=connection.cause,
        reason=_line(connection.reason),
        next_step=_next_step(connection, servable=servable, refreshing=refreshing, next_try_at=next_try_at),
        last_success=connection.issued_at,
        expires_at=connection.expires_at,
        refresh_at=connection.refresh_at if renewable else None,
        next_try_at=next_try_at,
        fail_count=connection.fail_count,
        refreshing=refreshing,
        unclear=bool(connection.attempt_id) and not refreshing,
        servable=servable,
    )


_REAUTH = {
    Cause.LOST_ROTATION: (
        "Connect the account again: the provider had renewed its credential, and the answer never reached us."
    ),
    Cause.REJECTED: (
        "Connect the account again. If its credential is refused again, look at the provider whether this account"
        " may still be used by programs."
    ),
}


def _next_step(connection: Connection, *, servable: bool, refreshing: bool, next_try_at: float | None) -> str:
    if connection.health is Health.NEEDS_REAUTH:
        return _REAUTH.get(connection.cause, "Connect the account again.")
    if connection.health is Health.CONFIG_ERROR:
        return "Correct the settings of this provider, as the reason says; the account stays connected meanwhile."
    if not servable and not connection.refreshable:
        return "Connect the account again: its credential has ended and cannot be renewed."
    if connection.health is Health.OK:
        return f"Nothing: it {'can be used' if servable else 'is renewed at the next call'}."
    if refreshing:
        return "Nothing: it is being renewed."
    when = f"at the next call after {_utc(next_try_at)}" if next_try_at else "at the next call"
    using = "the credential that is there is used meanwhile, and " if servable else ""
    return f"Nothing: {using}renewing it is tried again {when}."


def _line(text: str) -> str:
    """One line without control characters: a provider's words may be in it, and it goes to logs and terminals."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _utc(seconds: float | None) -> str | None:
    """ISO 8601; None too for a time that no calendar has."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(int(seconds), tz=UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None
