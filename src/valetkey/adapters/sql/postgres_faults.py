"""What goes wrong with PostgreSQL, and what is said about it: never SQL, an address or a password."""

from __future__ import annotations

import ssl

import asyncpg

from valetkey.adapters.sql.postgres_pool import FAULTS, PoolClosed, PoolExhausted
from valetkey.errors import StoreUnavailable

SETTING = "VALETKEY_DATABASE_URL"

_BUSY = "is locked by another program. Try again; if it stays so, end the program that holds it"
_STOPPED = "is stopping or starting. Try again in some seconds"
_LOGIN = f"refuses the login. Put the right user and password into {SETTING}"
_FULL = "cannot grow: the server's disk is full. Free some space there; nothing that was saved is lost"
_SLOW = "did not answer in time. Try again; if it stays so, see what the server is busy with"
_DAMAGED = "is damaged, as its server says. Restore it from its backup"
_BY_STATE = {
    "08P01": "was refused by the server, or by the pgbouncer before it. See the log there",
    "25006": f"may only be read: it is a standby, or set so. Point {SETTING} to the primary server",
    "25P03": "was waited for too long, as this program stood still. Try again",
    "28000": _LOGIN,
    "28P01": _LOGIN,
    "3D000": f"is not there. Make it by CREATE DATABASE, or correct {SETTING}",
    "40001": _BUSY,
    "40P01": _BUSY,
    "42501": "does not let its user do what is needed. Give that user CREATE and USAGE on its schema, and its tables",
    "42P01": "has lost its tables. Restore it from its backup; an empty one is filled at the next use",
    "42P07": "holds tables of another program under the same names. Give valetkey a database of its own",
    "53100": _FULL,
    "53200": "has too little memory. Look after the server",
    "53300": "has no connection left. Try again; if it stays so, raise its max_connections, or use pgbouncer",
    "55P03": _BUSY,
    "57014": _SLOW,
    "57P01": _STOPPED,
    "57P02": _STOPPED,
    "57P03": _STOPPED,
    "58030": "cannot be read or written: the server's disk reports an error. Look after that disk",
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
_BY_KIND: tuple[tuple[type[BaseException], str], ...] = (  # the first that fits
    (PoolClosed, "was closed, as the program ends. Open Valetkey again"),
    (PoolExhausted, "is slower than it is asked: every connection is in use. Try again"),
    (TimeoutError, "does not answer. See that its server runs and can be reached from here; then try again"),
    (
        asyncpg.ClientConfigurationError,
        f"has an address that cannot be used. Correct {SETTING}: postgresql://user:password@host:5432/name",
    ),
    (
        asyncpg.TargetServerAttributeNotMatched,
        f"has no server of the kind that target_session_attrs in {SETTING} asks for. Try again after a fail-over",
    ),
    (
        ssl.SSLError,
        f"cannot be reached safely. See the server's TLS certificate, and sslmode in {SETTING}",
    ),
    (OSError, f"cannot be reached. See that its server runs, and that host and port in {SETTING} are right"),
)
_LOST = {"25P03", "57P01", "57P02", "57P03", "57P05"}
_AGAIN = {"40001", "40P01"}


def lost(error: BaseException) -> bool:
    """Whether the connection is gone, so that another may do better; not where time ran out."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate)
        return state in _LOST or state.startswith("08")
    return isinstance(error, FAULTS) and not isinstance(error, TimeoutError | asyncpg.ClientConfigurationError)


def suspicious(error: BaseException) -> bool:
    """Whether the server or the way to it may have failed: the connection is gone, or no answer came in time."""
    return lost(error) or (isinstance(error, TimeoutError) and not isinstance(error, PoolExhausted))


def given_way(error: BaseException) -> bool:
    """Whether the server undid the transaction for the sake of another, and says to try again."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _AGAIN


def tables_gone(error: BaseException) -> bool:
    """Whether a table that was there is not."""
    return isinstance(error, asyncpg.UndefinedTableError)


def cause(error: BaseException) -> BaseException:
    """What asyncpg or the system raised, beneath what SQLAlchemy made of it."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, FAULTS):
        seen = getattr(seen, "orig", None) or seen.__cause__ or seen.__context__
    return seen or error


def unavailable(error: BaseException, *, saving: bool = False) -> StoreUnavailable:
    """What to tell. ``saving``: the end of a transaction was asked for, and no answer came."""
    if saving:
        return StoreUnavailable(
            "The PostgreSQL database was lost while it saved. Whether it has saved is not known: look before you"
            " do it again."
        )
    return StoreUnavailable(f"The PostgreSQL database {_reason(error)}.")


def _reason(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None)
    if isinstance(error, asyncpg.PostgresError) and state is not None:
        # The server's own words may quote a value: only the name of the error goes on.
        return _BY_STATE.get(state, f"cannot be used now ({type(error).__name__}). See the server's log")
    return next((reason for kind, reason in _BY_KIND if isinstance(error, kind)), "cut the connection. Try again")
