"""Registered clients, in a dict."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from valetkey.adapters.sql.names import check_registration
from valetkey.model.connections import Sealed
from valetkey.model.registrations import Registration


class MemoryClients:
    """The port ``ClientStore`` within one process, and gone with it. For any loop and any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, Registration] = {}

    async def get(self, registration_id: str) -> Registration | None:
        """The client of that id."""
        with self._lock:
            return self._rows.get(registration_id)

    async def insert(self, registration: Registration) -> bool:
        """Save a new one; False when the id is taken: nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        check_registration(registration)
        with self._lock:
            return self._rows.setdefault(registration.id, registration) is registration

    async def replace(self, registration: Registration, *, client_id: str) -> bool:
        """Save a newer client where the row still has the one of that id; False: it moved on.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        check_registration(registration)
        with self._lock:
            held = self._rows.get(registration.id)
            if held is None or held.client_id != client_id:
                return False
            self._rows[registration.id] = registration
        return True

    async def delete(self, registration_id: str, *, client_id: str) -> bool:
        """Remove the row where it still has the client of that id; False: it moved on."""
        with self._lock:
            held = self._rows.get(registration_id)
            if held is None or held.client_id != client_id:
                return False
            del self._rows[registration_id]
        return True

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Registration]:
        """All of them by id, following that one."""
        with self._lock:
            return [self._rows[each] for each in sorted(self._rows) if each > after][:limit]

    async def reseal(self, registration: Registration, sealed: Sealed) -> bool:
        """Replace what is sealed where it still is as given."""
        with self._lock:
            held = self._rows.get(registration.id)
            if held is None or held.sealed != registration.sealed:
                return False
            self._rows[held.id] = replace(held, sealed=sealed)
        return True
