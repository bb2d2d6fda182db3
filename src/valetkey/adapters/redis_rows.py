"""Rows of Redis in, values out, and back: a hash for each row, its columns by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from valetkey.adapters.sql.rows import (
    DamagedRow,
    connection_from,
    connection_values,
    interaction_from,
    interaction_values,
    revocation_from,
    revocation_values,
)
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection
from valetkey.model.interactions import Interaction
from valetkey.model.revocations import Revocation

Fields = Mapping[bytes, bytes]
"""One row as it is stored; what no version of ours asks for is passed over."""

_REQUIRED = object()
_Column = tuple[str, type, Any]


def _columns(text: str, kind: type, default: Any = _REQUIRED) -> list[_Column]:
    return [(name, kind, default) for name in text.split()]


# In the order of adapters/sql/tables.py. A default stands where an older version wrote nothing.
_CONNECTION = (
    *_columns("id workspace issuer subject provider handler profile scopes", str),
    *_columns("sealed", bytes),
    *_columns("generation", int),
    *_columns("issued_at expires_at", float, None),
    *_columns("refreshable", int),
    *_columns("account", str, None),
    *_columns("health reason lease_owner", str),
    *_columns("lease_until", float),
    *_columns("attempt_id", str),
    *_columns("attempt_started", float),
    *_columns("fail_count", int),
    *_columns("next_try_at created_at updated_at", float),
    *_columns("refresh_at", float, None),
    *_columns("cause key_id", str, ""),
    *_columns("lease_ticks", float, 0.0),
)
_INTERACTION = (
    *_columns("id kind workspace issuer subject topic phase about", str),
    *_columns("payload", bytes),
    *_columns("answer", bytes, None),
    *_columns("version", int),
    *_columns("created_at expires_at", float),
    *_columns("claimed_by reason", str),
)
_REVOCATION = (
    *_columns("id workspace issuer subject provider handler", str),
    *_columns("sealed", bytes),
    *_columns("created_at", float),
    *_columns("tries", int),
    *_columns("next_try_at", float),
    *_columns("reason", str),
)


def connection(fields: Fields) -> Connection:
    """A stored connection.

    Raises:
        DamagedRow: a column is missing, or holds what it cannot hold.
    """
    return connection_from(_row(fields, _CONNECTION))


def interaction(fields: Fields) -> Interaction:
    """A stored interaction.

    Raises:
        DamagedRow: a column is missing, or holds what it cannot hold.
    """
    return interaction_from(_row(fields, _INTERACTION))


def revocation(fields: Fields) -> Revocation:
    """A stored revocation.

    Raises:
        DamagedRow: a column is missing, or holds what it cannot hold.
    """
    return revocation_from(_row(fields, _REVOCATION))


def of_connection(value: Connection) -> list[bytes]:
    """A connection for a script's ``write``.

    Raises:
        InvalidArguments: a name or an id is no text that every database keeps.
    """
    return written(connection_values(value))


def of_interaction(value: Interaction) -> list[bytes]:
    """An interaction for a script's ``write``.

    Raises:
        InvalidArguments: a name or an id is no text that every database keeps.
    """
    return written(interaction_values(value))


def of_revocation(value: Revocation) -> list[bytes]:
    """A revocation for a script's ``write``.

    Raises:
        InvalidArguments: a name or an id is no text that every database keeps.
    """
    return written(revocation_values(value))


def written(values: Mapping[str, object]) -> list[bytes]:
    """Columns as a script's ``write`` takes them: how many have no value, these, and all others with theirs."""
    empty = [name.encode() for name, value in values.items() if value is None]
    full = [part for name, value in values.items() if value is not None for part in (name.encode(), _bytes(value))]
    return [str(len(empty)).encode(), *empty, *full]


def owned(owner: Owner, *names: str) -> bytes:
    """What an index begins with: names that hold no NUL, each ended by one, so that none runs into the next.

    Raises:
        UnicodeEncodeError: one is no text; nothing is stored under it.
        ValueError: one holds a NUL, likewise.
    """
    parts = (owner.workspace, owner.issuer, owner.subject, *names)
    if any("\0" in part for part in parts):
        raise ValueError("nothing is stored under a name that holds a NUL")
    return b"".join(part.encode() + b"\0" for part in parts)


def sought(text: str) -> bytes:
    """An id or a name that is looked for; what is no text is looked for as what nobody can have saved."""
    return text.encode("utf-8", "surrogatepass")


def pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """What HGETALL gives, by name."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else repr(value).encode()


def _row(fields: Fields, columns: Iterable[_Column]) -> tuple[Any, ...]:
    return tuple(_value(fields.get(name.encode()), kind, default) for name, kind, default in columns)


def _value(stored: bytes | None, kind: type, default: Any) -> Any:
    if stored is None:
        if default is _REQUIRED:
            raise DamagedRow("a column is missing")
        return default
    if kind is bytes:
        return stored
    try:
        text = stored.decode()
        return text if kind is str else kind(text)
    except ValueError as error:
        raise DamagedRow("a column holds what it cannot hold") from error
