"""What we ask of a database for the clients that we registered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from valetkey.model.connections import Sealed
from valetkey.model.registrations import Registration


class ClientStore(Protocol):
    """Registered clients. Every method is one unit of work; all raise ``StoreUnavailable``."""

    async def get(self, registration_id: str) -> Registration | None:
        """The client of that id.

        Raises:
            StoreUnavailable: its row is damaged, too: another client must not be registered for that.
        """
        ...

    async def insert(self, registration: Registration) -> bool:
        """Save a new one; False when the id is taken: nothing is written."""
        ...

    async def replace(self, registration: Registration, *, client_id: str) -> bool:
        """Save a newer client where the row still has the one of that id; False: it moved on."""
        ...

    async def delete(self, registration_id: str, *, client_id: str) -> bool:
        """Remove the row where it still has the client of that id; False: it moved on."""
        ...

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Registration]:
        """All of them by id, following that one. A damaged row is logged and left out."""
        ...

    async def reseal(self, registration: Registration, sealed: Sealed) -> bool:
        """Replace what is sealed where it still is as given."""
        ...
