"""Registered clients in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Executable, bindparam, delete, insert, select, update

from valetkey.adapters.sql.damaged import page
from valetkey.adapters.sql.database import Database, Taken
from valetkey.adapters.sql.names import check_registration
from valetkey.adapters.sql.rows import BYTES, REAL, TEXT, DamagedRow, Row, check_row
from valetkey.adapters.sql.tables import clients
from valetkey.errors import StoreUnavailable
from valetkey.model.connections import Sealed
from valetkey.model.registrations import Registration

_KINDS = (TEXT, TEXT, TEXT, TEXT, BYTES, REAL, REAL)
_still = (clients.c.id == bindparam("where_id"), clients.c.client_id == bindparam("where_client"))
_NEW = ("registrar", "redirect_uri", "client_id", "sealed", "created_at", "expires_at")

_GET: Executable = select(clients).where(clients.c.id == bindparam("id"))
_INSERT: Executable = insert(clients)
_REPLACE: Executable = update(clients).where(*_still).values({name: bindparam(f"new_{name}") for name in _NEW})
_DELETE: Executable = delete(clients).where(*_still)
_PAGE: Executable = (
    select(clients).where(clients.c.id > bindparam("after")).order_by(clients.c.id).limit(bindparam("limit"))
)
_RESEAL: Executable = (
    update(clients)
    .where(clients.c.id == bindparam("where_id"), clients.c.sealed == bindparam("before"))
    .values(sealed=bindparam("new_sealed"))
)


class SqlClients:
    """The port ``ClientStore`` over a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, registration_id: str) -> Registration | None:
        """The client of that id."""
        rows = await self._database.read(_GET, {"id": registration_id})
        return _registration(rows[0]) if rows else None

    async def insert(self, registration: Registration) -> bool:
        """Save a new one; False when the id is taken: nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        try:
            await self._database.write((_INSERT, registration_values(registration)))
        except Taken:
            return False
        return True

    async def replace(self, registration: Registration, *, client_id: str) -> bool:
        """Save a newer client where the row still has the one of that id; False: it moved on.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        values = registration_values(registration)
        new = {f"new_{name}": values[name] for name in _NEW}
        where = {"where_id": registration.id, "where_client": client_id}
        (outcome,) = await self._database.write((_REPLACE, {**new, **where}), erase=True)
        return outcome.count == 1

    async def delete(self, registration_id: str, *, client_id: str) -> bool:
        """Remove the row where it still has the client of that id; False: it moved on."""
        where = {"where_id": registration_id, "where_client": client_id}
        (outcome,) = await self._database.write((_DELETE, where), erase=True)
        return outcome.count == 1

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Registration]:
        """All of them by id, following that one. A damaged row is logged and left out."""
        return await page(self._database, _PAGE, {}, _registration, after=after, limit=limit)

    async def reseal(self, registration: Registration, sealed: Sealed) -> bool:
        """Replace what is sealed where it still is as given."""
        values = {"where_id": registration.id, "before": registration.sealed, "new_sealed": sealed}
        (outcome,) = await self._database.write((_RESEAL, values), erase=True)
        return outcome.count == 1


def registration_from(row: Row) -> Registration:
    """A row of ``clients``.

    Raises:
        DamagedRow: a column holds what it cannot hold.
    """
    check_row(row, _KINDS)
    return Registration(
        id=row[0],
        registrar=row[1],
        redirect_uri=row[2],
        client_id=row[3],
        sealed=Sealed(row[4]),
        created_at=row[5],
        expires_at=row[6],
    )


def registration_values(registration: Registration) -> dict[str, object]:
    """A registered client's columns by name.

    Raises:
        InvalidArguments: a name or an id is no text that every database keeps.
    """
    check_registration(registration)
    return {
        "id": registration.id,
        "registrar": registration.registrar,
        "redirect_uri": registration.redirect_uri,
        "client_id": registration.client_id,
        "sealed": registration.sealed,
        "created_at": registration.created_at,
        "expires_at": registration.expires_at,
    }


def _registration(row: Row) -> Registration:
    try:
        return registration_from(row)
    except DamagedRow as error:
        raise StoreUnavailable(
            f"The registered client {row[0]} cannot be read: its row is damaged, or of a newer version."
            " Upgrade valetkey, or restore the database."
        ) from error
