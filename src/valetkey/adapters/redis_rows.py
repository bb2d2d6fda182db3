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


def columns(text: str, kind: type, default: Any = _REQUIRED) -> list[_Column]:
    """Columns of that kind, named in one text; without a default they have to be there."""
    return [(name, kind, default) for name in text.split()]


# In the order of adapters/sql/tables.py. A default stands where an older version wrote nothing.
_CONNECTION = (
    *columns("id workspace issuer subject provider handler profile scopes", str),
    *columns("sealed", bytes),
    *columns("generation", int),
    *columns("issued_at expires_at", float, None),
    *columns("refreshable", int),
    *columns("account", str, None),
    *columns("health reason lease_owner", str),
    *columns("lease_until", float),
    *columns("attempt_id", str),
    *columns("attempt_started", float),
    *columns("fail_count", int),
    *columns("next_try_at created_at updated_at", float),
    *columns("refresh_at", float, None),
    *columns("cause key_id", str, ""),
    *columns("lease_ticks", float, 0.0),
)
_INTERACTION = (
    *columns("id kind workspace issuer subject topic phase about", str),
    *columns("payload", bytes),
    *columns("answer", bytes, None),
    *columns("version", int),
    *columns("created_at expires_at", float),
    *columns("claimed_by reason", str),
)
_REVOCATION = (
    *columns("id workspace issuer subject provider handler", str),
    *columns("sealed", bytes),
    *columns("created_at", float),
    *columns("tries", int),
    *columns("next_try_at", float),
    *columns("reason", str),
)


def connection(fields: Fields) -> Connection:
    """A stored connection.

    Raises:
        DamagedRow: a column is missing, or holds what it cannot hold.
    """
    return connection_from(row_of(fields, _CONNECTION))


def interaction(fields: Fields) -> Interaction:
    """A stored interaction.

    Raises:
        DamagedRow: a column is missing, or holds what it cannot hold.
    """
    return interaction_from(row_of(fields, _INTERACTION))


def revocation(fields: Fields) -> Revocation:
    """A stored revocation.

    Raises:
        DamagedRow: a column is missing, or holds what it cannot hold.
    """
    return revocation_from(row_of(fields, _REVOCATION))


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


def row_of(fields: Fields, expected: Iterable[_Column]) -> tuple[Any, ...]:
    """A row as SQL has it.

    Raises:
        DamagedRow: a column is missing, or holds what it cannot hold.
    """
    return tuple(_value(fields.get(name.encode()), kind, default) for name, kind, default in expected)


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
