"""Every store, in a dict."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from valetkey.adapters.memory_queues import MemoryRevocations
from valetkey.adapters.sql.names import check_connection, check_interaction, check_lease
from valetkey.errors import InvalidAuthState
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Health, Sealed, Standing, key_id_of
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.model.revocations import Revocation

_OPEN = frozenset({Phase.OPEN, Phase.CLAIMED, Phase.ANSWERED, Phase.SETTLING})
_WAITS_TO_BE_SETTLED = frozenset({Phase.ANSWERED, Phase.SETTLING})


class MemoryConnections:
    """The port ``ConnectionStore`` within one process, and gone with it. For any loop and any thread.

    Args:
        ticks: seconds that never go back; leases are told by them.
        revocations: where a deletion asks for a revocation.
    """

    def __init__(self, *, ticks: Callable[[], float], revocations: MemoryRevocations) -> None:
        self._ticks = ticks
        self._revocations = revocations
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
        self,
        connection_id: str,
        *,
        generation: int,
        owner: str,
        attempt: str,
        now: float,
        ttl: float,
        seen: str | None = None,
    ) -> bool:
        """Take the refresh lease for ``ttl`` seconds, where the generation still fits and nobody holds it.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        check_lease(owner, attempt)
        with self._lock:
            ticks = self._ticks()
            row = self._rows.get(connection_id)
            if row is None or row.generation != generation or seen not in {None, row.attempt_id}:
                return False
            if ticks < row.lease_until <= ticks + ttl:
                return False
            self._put(replace(row, lease_owner=owner, lease_until=ticks + ttl, attempt_id=attempt, attempt_started=now))
        return True

    async def release(self, connection_id: str, *, owner: str, attempt: str, unclear: bool) -> None:
        """Give the lease back where it still is ours; anything else is left alone."""
        with self._lock:
            row = self._rows.get(connection_id)
            if row is not None and (row.lease_owner, row.attempt_id) == (owner, attempt):
                self._put(_freed(row, unclear=unclear))

    async def note(
        self,
        connection_id: str,
        *,
        generation: int,
        standing: Standing,
        attempt: str | None = None,
        unclear: bool = False,
    ) -> bool:
        """Write a standing where the generation, and the attempt if one is given, still fit."""
        with self._lock:
            row = self._rows.get(connection_id)
            if row is None or row.generation != generation or attempt not in {None, row.attempt_id}:
                return False
            noted = replace(
                row,
                health=standing.health,
                cause=standing.cause,
                reason=standing.reason,
                fail_count=standing.fail_count,
                next_try_at=standing.next_try_at,
                updated_at=standing.at,
            )
            self._put(noted if attempt is None else _freed(noted, unclear=unclear))
        return True

    async def delete(
        self, connection_id: str, *, generation: int | None = None, revocation: Revocation | None = None
    ) -> Connection | None:
        """Remove it, and give what was removed; ask for a revocation with it."""
        with self._lock:
            row = self._rows.get(connection_id)
            if row is None or generation not in {None, row.generation}:
                return None
            if revocation is not None:
                self._revocations.put(revocation)
            del self._rows[connection_id]
            self._forget(row)
        return row

    async def due(self, *, now: float, limit: int) -> Sequence[Connection]:
        """Those to refresh ahead of their end, the most urgent first."""
        with self._lock:
            rows = list(self._rows.values())
        found = [
            (row.refresh_at, row.id, row)
            for row in rows
            if row.refreshable
            and row.health is not Health.NEEDS_REAUTH
            and row.refresh_at is not None
            and max(row.refresh_at, row.next_try_at) <= now
        ]
        return [row for *_, row in sorted(found, key=lambda each: each[:2])[:limit]]

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Connection]:
        """Connections of all owners by id, following that one."""
        with self._lock:
            rows = sorted(self._rows.items())
        return [row for name, row in rows if name > after][:limit]

    async def sealed_by(self, key_id: str, *, after: str = "", limit: int = 500) -> Sequence[Connection]:
        """Those that this key sealed, by id, following that one."""
        rows = await self.page(after=after, limit=len(self._rows))
        return [row for row in rows if key_id_of(row.sealed) == key_id][:limit]

    async def reseal(self, changes: Sequence[tuple[Connection, Sealed]]) -> int:
        """Replace what is sealed, and nothing else, where generation and ciphertext still are as given; how many."""
        count = 0
        with self._lock:
            for before, sealed in changes:
                row = self._rows.get(before.id)
                if row is not None and (row.generation, row.sealed) == (before.generation, before.sealed):
                    self._put(replace(row, sealed=sealed))
                    count += 1
        return count

    async def keys(self) -> Mapping[str, int]:
        """How many rows each key sealed, by its id."""
        with self._lock:
            return Counter(key_id_of(row.sealed) for row in self._rows.values())

    async def key_ids(self) -> frozenset[str]:
        """The keys that sealed any row."""
        return frozenset(await self.keys())

    async def census(self) -> Mapping[tuple[str, Health], int]:
        """How many there are, by provider and health."""
        with self._lock:
            return Counter((row.provider, row.health) for row in self._rows.values())

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


def _freed(row: Connection, *, unclear: bool) -> Connection:
    free = replace(row, lease_owner="", lease_until=0.0)
    return free if unclear else replace(free, attempt_id="", attempt_started=0.0)


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

    async def sweep(self, *, before: float, unsettled_before: float | None = None) -> int:
        """Remove those whose time ran out before that (epoch seconds), ended or never answered; how many.

        ``unsettled_before``: answered ones, for which nobody came back, go when theirs ran out before that.
        """
        limits = dict.fromkeys(Phase, before) | dict.fromkeys(_WAITS_TO_BE_SETTLED, unsettled_before or 0.0)
        with self._lock:
            over = [row for row in self._rows.values() if row.expires_at < limits[row.phase]]
            for row in over:
                del self._rows[row.id]
                self._forget(row)
        return len(over)

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Interaction]:
        """All of them by id, following that one."""
        with self._lock:
            rows = sorted(self._rows.items())
        return [_copy(row) for name, row in rows if name > after][:limit]

    async def reseal(self, interaction: Interaction, *, payload: Sealed, answer: Sealed | None) -> bool:
        """Replace what is sealed, and nothing else, where version and payload still are as given."""
        with self._lock:
            row = self._rows.get(interaction.id)
            if row is None or (row.version, row.payload) != (interaction.version, interaction.payload):
                return False
            self._put(replace(row, payload=payload, answer=answer))
        return True

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
