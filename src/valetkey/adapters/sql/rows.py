"""Rows in, values out, and back; nothing here knows a database."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from valetkey.adapters.sql.names import check_connection, check_interaction, check_revocation
from valetkey.model.caller import Owner
from valetkey.model.connections import Cause, Connection, Health, Sealed, Standing, key_id_of
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.model.revocations import Revocation

Row = tuple[Any, ...]
"""One row's columns, in the order of its table."""

Kinds = frozenset[type]
"""The types that a column's value may have, as the database gives it."""
TEXT: Kinds = frozenset({str})
TEXT_OR_NONE: Kinds = TEXT | {type(None)}
BYTES: Kinds = frozenset({bytes})
BYTES_OR_NONE: Kinds = BYTES | {type(None)}
INTEGER: Kinds = frozenset({int})
REAL: Kinds = frozenset({float, int})
REAL_OR_NONE: Kinds = REAL | {type(None)}
# In the order of tables.py. SQLite keeps whatever it is given: what is read is judged here.
_CONNECTION = (
    *([TEXT] * 8),
    BYTES,
    INTEGER,
    REAL_OR_NONE,
    REAL_OR_NONE,
    INTEGER,
    TEXT_OR_NONE,
    *([TEXT] * 3),
    REAL,
    TEXT,
    REAL,
    INTEGER,
    *([REAL] * 3),
    REAL_OR_NONE,
    TEXT,
    TEXT,
    REAL,
)
_REVOCATION = (*([TEXT] * 6), BYTES, REAL, INTEGER, REAL, TEXT)
_INTERACTION = (
    *([TEXT] * 8),
    BYTES,
    BYTES_OR_NONE,
    INTEGER,
    REAL,
    REAL,
    TEXT,
    TEXT,
)


class DamagedRow(ValueError):
    """A row that no version of ours wrote, or a newer one did."""


@lru_cache(maxsize=1024)  # a row read again is compared, not parsed again: that is most of a read's time
def connection_from(row: Row) -> Connection:
    """A row of ``connections``.

    Raises:
        DamagedRow: a column holds what it cannot hold.
    """
    check_row(row, _CONNECTION)
    try:
        return Connection(
            id=row[0],
            owner=Owner(workspace=row[1], issuer=row[2], subject=row[3]),
            provider=row[4],
            handler=row[5],
            profile=row[6],
            scopes=frozenset(json.loads(row[7])),
            sealed=Sealed(row[8]),
            generation=row[9],
            issued_at=row[10],
            expires_at=row[11],
            refreshable=bool(row[12]),
            account=row[13],
            health=Health(row[14]),
            reason=row[15],
            lease_owner=row[16],
            lease_until=row[17],
            attempt_id=row[18],
            attempt_started=row[19],
            fail_count=row[20],
            next_try_at=row[21],
            created_at=row[22],
            updated_at=row[23],
            refresh_at=row[24],
            cause=Cause(row[25]),
        )
    except (ValueError, TypeError) as error:
        raise DamagedRow("a column holds what it cannot hold") from error


def connection_values(connection: Connection) -> dict[str, object]:
    """A connection's columns by name.

    Raises:
        InvalidArguments: a name or an id is no text that every database keeps.
    """
    check_connection(connection)
    return {
        "id": connection.id,
        **owner_values(connection.owner),
        "provider": connection.provider,
        "handler": connection.handler,
        "profile": connection.profile,
        "scopes": json.dumps(sorted(connection.scopes)),
        "sealed": connection.sealed,
        "key_id": key_id_of(connection.sealed),
        "generation": connection.generation,
        "issued_at": connection.issued_at,
        "expires_at": connection.expires_at,
        "refreshable": int(connection.refreshable),
        "account": None if connection.account is None else printable(connection.account),
        "health": connection.health.value,
        "cause": connection.cause.value,
        "reason": printable(connection.reason),
        "lease_owner": connection.lease_owner,
        "lease_until": connection.lease_until,
        "attempt_id": connection.attempt_id,
        "attempt_started": connection.attempt_started,
        "fail_count": connection.fail_count,
        "next_try_at": connection.next_try_at,
        "created_at": connection.created_at,
        "updated_at": connection.updated_at,
        "refresh_at": connection.refresh_at,
        "lease_ticks": 0.0,  # only a lease sets it
    }


def standing_values(standing: Standing) -> dict[str, object]:
    """A standing's columns by name."""
    return {
        "health": standing.health.value,
        "cause": standing.cause.value,
        "reason": printable(standing.reason),
        "fail_count": standing.fail_count,
        "next_try_at": standing.next_try_at,
        "updated_at": standing.at,
    }


def interaction_from(row: Row) -> Interaction:
    """A row of ``interactions``.

    Raises:
        DamagedRow: a column holds what it cannot hold.
    """
    check_row(row, _INTERACTION)
    try:
        about = json.loads(row[7])
        kind, phase = InteractionKind(row[1]), Phase(row[6])
    except ValueError as error:
        raise DamagedRow("a column holds what it cannot hold") from error
    if not isinstance(about, dict):
        raise DamagedRow("about is no object")
    return Interaction(
        id=row[0],
        kind=kind,
        owner=Owner(workspace=row[2], issuer=row[3], subject=row[4]),
        topic=row[5],
        phase=phase,
        about=about,
        payload=Sealed(row[8]),
        answer=None if row[9] is None else Sealed(row[9]),
        version=row[10],
        created_at=row[11],
        expires_at=row[12],
        claimed_by=row[13],
        reason=row[14],
    )


def interaction_values(interaction: Interaction) -> dict[str, object]:
    """An interaction's columns by name.

    Raises:
        InvalidArguments: a name or an id is no text that every database keeps.
    """
    check_interaction(interaction)
    return {
        "id": interaction.id,
        "kind": interaction.kind.value,
        **owner_values(interaction.owner),
        "topic": interaction.topic,
        "phase": interaction.phase.value,
        "about": json.dumps(dict(interaction.about)),
        "payload": interaction.payload,
        "answer": interaction.answer,
        "version": interaction.version,
        "created_at": interaction.created_at,
        "expires_at": interaction.expires_at,
        "claimed_by": interaction.claimed_by,
        "reason": printable(interaction.reason),
    }


def revocation_from(row: Row) -> Revocation:
    """A row of ``revocations``.

    Raises:
        DamagedRow: a column holds what it cannot hold.
    """
    check_row(row, _REVOCATION)
    return Revocation(
        id=row[0],
        owner=Owner(workspace=row[1], issuer=row[2], subject=row[3]),
        provider=row[4],
        handler=row[5],
        sealed=Sealed(row[6]),
        created_at=row[7],
        tries=row[8],
        next_try_at=row[9],
        reason=row[10],
    )


def revocation_values(revocation: Revocation) -> dict[str, object]:
    """A revocation's columns by name.

    Raises:
        InvalidArguments: a name or an id is no text that every database keeps.
    """
    check_revocation(revocation)
    return {
        "id": revocation.id,
        **owner_values(revocation.owner),
        "provider": revocation.provider,
        "handler": revocation.handler,
        "sealed": revocation.sealed,
        "created_at": revocation.created_at,
        "tries": revocation.tries,
        "next_try_at": revocation.next_try_at,
        "reason": printable(revocation.reason),
    }


def owner_values(owner: Owner) -> dict[str, object]:
    """An owner's columns by name."""
    return {"workspace": owner.workspace, "issuer": owner.issuer, "subject": owner.subject}


def check_row(row: Row, kinds: tuple[Kinds, ...]) -> None:
    """Refuse a row whose columns are not of these types.

    Raises:
        DamagedRow: they are not.
    """
    if len(row) != len(kinds):
        raise DamagedRow("the row has another number of columns")
    for value, kind in zip(row, kinds, strict=True):
        if type(value) not in kind:
            raise DamagedRow("a column holds a value of another type")


def printable(text: str) -> str:
    """A text for people, as every database keeps it."""
    # What a provider calls an account is shown, never compared: it must not cost the credential beside it.
    return text.encode("utf-8", "replace").decode().replace("\0", "?")
