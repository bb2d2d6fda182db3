"""Every store, in a dict."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace

from valetkey.adapters.sql.names import check_connection, check_interaction, check_lease
from valetkey.errors import InvalidAuthState
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection
from valetkey.model.interactions import Interaction, InteractionKind, Phase

_OPEN = frozenset({Phase.OPEN, Phase.CLAIMED, Phase.ANSWERED, Phase.SETTLING})
_WAITS_TO_BE_SETTLED = frozenset({Phase.ANSWERED, Phase.SETTLING})


class MemoryConnections:
    """The port ``ConnectionStore`` within one process, and gone with it. For any loop and any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, Connection] = {}
        self._accounts: dict[Owner, dict[tuple[str, str], Connection]] = {}

    async def get(self, owner: Owner, provider: str, profile: str) -> Connection | None:
        """The owner's connection at that provider under that profile."""
        # No lock: values do not change, and each look into a dict is one step.
        accounts = self._accounts.get(owner)
        return None if accounts is None else accounts.get((provider, profile))

    async def by_id(self, connection_id: str) -> Connection | None:
        """One connection."""
        return self._rows.get(connection_id)

    async def of_owner(self, owner: Owner, provider: str | None = None) -> Sequence[Connection]:
        """The owner's connections, ordered by provider and profile."""
        with self._lock:
            accounts = sorted(self._accounts.get(owner, {}).items())
        return [row for _, row in accounts if provider in {None, row.provider}]

    async def insert(self, connection: Connection) -> bool:
        """Save a new one. False when (owner, provider, profile) or the id is taken: nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        check_connection(connection)
        with self._lock:
            if connection.id in self._rows or self._there(connection) is not None:
                return False
            self._put(connection)
        return True

    async def save(self, connection: Connection, *, generation: int) -> bool:
        """Replace the row where its generation still is ``generation``; False when it moved on.

        False too when it would take the (owner, provider, profile) of another one: nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        check_connection(connection)
        with self._lock:
            row = self._rows.get(connection.id)
            there = self._there(connection)
            if row is None or row.generation != generation or (there is not None and there.id != row.id):
                return False
            self._put(connection)  # first: a reader without the lock finds the one or the other
            if (row.owner, row.provider, row.profile) != (
                connection.owner,
                connection.provider,
                connection.profile,
            ):
                self._forget(row)
        return True

    async def lease(
        self, connection_id: str, *, generation: int, owner: str, attempt: str, now: float, until: float
    ) -> bool:
        """Take the refresh lease, where the generation still fits and no lease runs past ``now``.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        check_lease(owner, attempt)
        with self._lock:
            row = self._rows.get(connection_id)
            if row is None or row.generation != generation or row.lease_until > now:
                return False
            taken = replace(row, lease_owner=owner, lease_until=until, attempt_id=attempt, attempt_started=now)
            self._put(taken)
        return True

    async def release(self, connection_id: str, *, owner: str, attempt: str) -> None:
        """Give the lease back, with its attempt, where it still is ours; anything else is left alone."""
        with self._lock:
            row = self._rows.get(connection_id)
            if row is not None and (row.lease_owner, row.attempt_id) == (owner, attempt):
                self._put(replace(row, lease_owner="", lease_until=0.0, attempt_id="", attempt_started=0.0))

    async def delete(self, connection_id: str) -> Connection | None:
        """Remove it, and give what was removed."""
        with self._lock:
            row = self._rows.pop(connection_id, None)
            if row is not None:
                self._forget(row)
        return row

    def _there(self, connection: Connection) -> Connection | None:
        return self._accounts.get(connection.owner, {}).get((connection.provider, connection.profile))

    def _put(self, row: Connection) -> None:
        self._rows[row.id] = row
        self._accounts.setdefault(row.owner, {})[row.provider, row.profile] = row

    def _forget(self, row: Connection) -> None:
        accounts = self._accounts[row.owner]
        del accounts[row.provider, row.profile]
        if not accounts:
            del self._accounts[row.owner]


class MemoryInteractions:
    """The port ``InteractionStore`` within one process, and gone with it. For any loop and any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, Interaction] = {}
        self._open: dict[tuple[Owner, InteractionKind], dict[str, Interaction]] = {}

    async def open(self, interaction: Interaction) -> Interaction:
        """Save it, unless one of the same (kind, owner, topic) is open: then that one is given back.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
            InvalidAuthState: an interaction of that id was there before.
        """
        check_interaction(interaction)
        with self._lock:
            there = self._there(interaction)
            if there is not None and interaction.phase in _OPEN:
                return _copy(there)
            if interaction.id in self._rows:
                raise InvalidAuthState("This link was used before. Begin again with a new one.")
            self._put(_copy(interaction))
        return interaction

    async def get(self, interaction_id: str) -> Interaction | None:
        """One interaction, in whatever phase."""
        row = self._rows.get(interaction_id)
        return None if row is None else _copy(row)

    async def find_open(self, kind: InteractionKind, owner: Owner, topic: str) -> Interaction | None:
        """The open one."""
        row = self._open.get((owner, kind), {}).get(topic)
        return None if row is None else _copy(row)

    async def of_owner(self, owner: Owner, kind: InteractionKind) -> Sequence[Interaction]:
        """The owner's open interactions of that kind, oldest first."""
        with self._lock:
            rows = list(self._open.get((owner, kind), {}).values())
        return [_copy(row) for row in sorted(rows, key=lambda row: (row.created_at, row.id))]

    async def save(self, interaction: Interaction, *, version: int) -> bool:
        """Replace the row where its version still is ``version``; False when it moved on.

        False too when it would be a second open one of its (kind, owner, topic): nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        check_interaction(interaction)
        with self._lock:
            row = self._rows.get(interaction.id)
            there = self._there(interaction) if interaction.phase in _OPEN else None
            if row is None or row.version != version or (there is not None and there.id != row.id):
                return False
            self._put(_copy(interaction))  # first, as with connections
            if interaction.phase not in _OPEN or self._place(row) != self._place(interaction):
                self._forget(row)
        return True

    async def sweep(self, *, before: float) -> int:
        """Remove those whose time ran out before that (epoch seconds), ended or never answered; how many."""
        with self._lock:
            rows = list(self._rows.values())
            over = [row for row in rows if row.expires_at < before and row.phase not in _WAITS_TO_BE_SETTLED]
            for row in over:
                del self._rows[row.id]
                self._forget(row)
        return len(over)

    def _there(self, interaction: Interaction) -> Interaction | None:
        return self._open.get((interaction.owner, interaction.kind), {}).get(interaction.topic)

    @staticmethod
    def _place(row: Interaction) -> tuple[Owner, InteractionKind, str]:
        return row.owner, row.kind, row.topic

    def _put(self, row: Interaction) -> None:
        self._rows[row.id] = row
        if row.phase in _OPEN:
            self._open.setdefault((row.owner, row.kind), {})[row.topic] = row

    def _forget(self, row: Interaction) -> None:
        if row.phase in _OPEN:
            waiting = self._open[row.owner, row.kind]
            del waiting[row.topic]
            if not waiting:
                del self._open[row.owner, row.kind]


def _copy(row: Interaction) -> Interaction:
    # As with any database, what one side does to its facts later does not change the other's.
    return replace(row, about=json.loads(json.dumps(dict(row.about))))
