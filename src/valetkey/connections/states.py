"""The life of a connection as one table; seed 002's six states are a view of it."""

from __future__ import annotations

from enum import Enum

from valetkey.interactions.states import RESOLVED
from valetkey.model.connections import Connection, Health
from valetkey.model.interactions import Interaction

NEAR_EXPIRY = 300.0
"""Seconds before its end at which a token counts as expired; for tokens that live under twice that: half their life."""


class AuthState(Enum):
    """What an account's state means for one request (seed 002, "Session States")."""

    SKIP_AUTH = "skip_auth"
    """The authentication exists, and the request has the necessary permissions."""
    DO_AUTH = "do_auth"
    """Authentication exists, but the request requires additional permissions."""
    DO_REFRESH = "do_refresh"
    """Authentication exists but has expired, or is about to."""
    NO_SESSION = "no_session"
    """No authentication exists."""
    PENDING_RESOLVE = "pending_resolve"
    """Waiting for the person to follow the link."""
    RESOLVED = "resolved"
    """The person has followed the link, and the answer is here."""


def satisfies(connection: Connection, scopes: frozenset[str], *, scoped: bool) -> bool:
    """Whether a connection grants what is asked for."""
    return connection.health is not Health.NEEDS_REAUTH and (not scoped or scopes <= connection.scopes)


def margin(connection: Connection) -> float:
    """Seconds before its end at which the connection's token is to be refreshed."""
    if connection.expires_at is None or connection.issued_at is None:
        return NEAR_EXPIRY
    life = connection.expires_at - connection.issued_at
    return life / 2 if life < 2 * NEAR_EXPIRY else NEAR_EXPIRY


def near_expiry(connection: Connection, now: float) -> bool:
    """Whether the token has ended or is about to."""
    return connection.expires_at is not None and connection.expires_at - now < margin(connection)


def expired(connection: Connection, now: float) -> bool:
    """Whether the token has ended."""
    return connection.expires_at is not None and connection.expires_at <= now


# (does the connection satisfy the request, is it near its end) and (is a question open, is it answered) to the state.
# "None" stands for: it does not matter.
TABLE: tuple[tuple[bool | None, bool | None, bool | None, bool | None, AuthState], ...] = (
    # satisfied  near_end  open   answered
    (True, False, None, None, AuthState.SKIP_AUTH),
    (True, True, None, None, AuthState.DO_REFRESH),
    (False, None, True, False, AuthState.PENDING_RESOLVE),
    (False, None, True, True, AuthState.RESOLVED),
)


def view(
    connection: Connection | None,
    pending: Interaction | None,
    *,
    scopes: frozenset[str],
    scoped: bool,
    now: float,
) -> AuthState:
    """The state of a request with these scopes."""
    satisfied = connection is not None and satisfies(connection, scopes, scoped=scoped)
    facts = (
        satisfied,
        connection is not None and near_expiry(connection, now),
        pending is not None,
        pending is not None and pending.phase in RESOLVED,
    )
    for *conditions, state in TABLE:
        if all(wanted is None or wanted is fact for wanted, fact in zip(conditions, facts, strict=True)):
            return state
    if connection is not None and connection.health is not Health.NEEDS_REAUTH:
        return AuthState.DO_AUTH
    return AuthState.NO_SESSION
