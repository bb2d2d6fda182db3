"""What we ask of a database: connections, interactions, revocations, who leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Health, Sealed, Standing
from valetkey.model.interactions import Interaction, InteractionKind
from valetkey.model.revocations import Revocation


class ConnectionStore(Protocol):
    """Connections, one for each (owner, provider, profile). Every method is one unit of work.

    All methods raise ``StoreUnavailable`` when the database cannot be used.
    """

    async def get(self, owner: Owner, provider: str, profile: str) -> Connection | None:
        """The owner's connection at that provider under that profile."""
        ...

    async def by_id(self, connection_id: str) -> Connection | None:
        """One connection."""
        ...

    async def of_owner(self, owner: Owner, provider: str | None = None) -> Sequence[Connection]:
        """The owner's connections, ordered by provider and profile."""
        ...

    async def insert(self, connection: Connection) -> bool:
        """Save a new one. False when (owner, provider, profile) or the id is taken: nothing is written."""
        ...

    async def save(self, connection: Connection, *, generation: int) -> bool:
        """Replace the row where its generation still is ``generation`` (compare-and-set); False when it moved on.

        The lease columns are written as the connection has them.
        """
        ...

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

        ``seen``: only where that is the attempt in the row still, so that none in between goes unnoticed.

        How long somebody holds it is told by the store's own clock, which no wall clock of a caller moves. ``now``
        (epoch seconds) is noted as the attempt's beginning. The attempt is committed when this returns True.
        """
        ...

    async def release(self, connection_id: str, *, owner: str, attempt: str, unclear: bool) -> None:
        """Give the lease back where it still is ours; anything else is left alone.

        ``unclear``: what became of the attempt is not known, so that its trace stays.
        """
        ...

    async def note(
        self,
        connection_id: str,
        *,
        generation: int,
        standing: Standing,
        attempt: str | None = None,
        unclear: bool = False,
    ) -> bool:
        """Write a standing where the generation still fits; False when it moved on.

        With an ``attempt``: only where that is the present one; its lease is given back, and its trace stays where
        its outcome is ``unclear``. Without one the lease is left alone.
        """
        ...

    async def delete(
        self, connection_id: str, *, generation: int | None = None, revocation: Revocation | None = None
    ) -> Connection | None:
        """Remove it, and give what was removed; in the same transaction, ask for a revocation.

        With a ``generation``: only where it still fits; else nothing is done and None given.
        """
        ...

    async def due(self, *, now: float, limit: int) -> Sequence[Connection]:
        """Those to refresh ahead of their end: ``refresh_at`` has come, ``next_try_at`` too; the most urgent first."""
        ...

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Connection]:
        """Connections of all owners by id, following that one. A damaged row is logged and left out."""
        ...

    async def sealed_by(self, key_id: str, *, after: str = "", limit: int = 500) -> Sequence[Connection]:
        """Those that this key sealed, by id, following that one. A damaged row is logged and left out."""
        ...

    async def reseal(self, changes: Sequence[tuple[Connection, Sealed]]) -> int:
        """Replace what is sealed, and nothing else, where generation and ciphertext still are as given; how many."""
        ...

    async def keys(self) -> Mapping[str, int]:
        """How many rows each key sealed, by its id."""
        ...

    async def key_ids(self) -> frozenset[str]:
        """The keys that sealed any row; cheap, however many rows there are."""
        ...

    async def census(self) -> Mapping[tuple[str, Health], int]:
        """How many there are, by provider and health."""
        ...


class RevocationStore(Protocol):
    """Revocations to do upstream. Every method is one unit of work; ``ConnectionStore.delete`` adds to them, too."""

    async def add(self, revocation: Revocation) -> None:
        """Ask for one; one of that id is left as it is."""
        ...

    async def due(self, *, now: float, limit: int) -> Sequence[Revocation]:
        """Those whose ``next_try_at`` has come, the oldest first."""
        ...

    async def claim(self, revocation: Revocation, *, next_try_at: float) -> bool:
        """Count one try and set the time of the next, where ``tries`` still is as given: only one may try."""
        ...

    async def fail(self, revocation_id: str, *, reason: str) -> None:
        """Note what the last try met."""
        ...

    async def remove(self, revocation_id: str) -> None:
        """It is done, or given up. Its credential is erased from the database's own files, too."""
        ...

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Revocation]:
        """All of them by id, following that one. A damaged row is logged and left out."""
        ...

    async def reseal(self, revocation: Revocation, sealed: Sealed) -> bool:
        """Replace what is sealed where it still is as given."""
        ...


class LeaderStore(Protocol):
    """Who does what is done by one process only. Every method is one unit of work."""

    async def lead(self, name: str, *, owner: str, ttl: float) -> bool:
        """Become or stay the leader of that work for ``ttl`` seconds, on the store's own clock; False: another is."""
        ...

    async def resign(self, name: str, *, owner: str) -> None:
        """Let another lead at once, where we still do."""
        ...


class InteractionStore(Protocol):
    """Interactions, at most one open for each (kind, owner, topic). Every method is one unit of work.

    Open means: phase open, claimed, answered or settling.
    """

    async def open(self, interaction: Interaction) -> Interaction:
        """Save it, unless one of the same (kind, owner, topic) is open: then that one is given back."""
        ...

    async def get(self, interaction_id: str) -> Interaction | None:
        """One interaction, in whatever phase."""
        ...

    async def find_open(self, kind: InteractionKind, owner: Owner, topic: str) -> Interaction | None:
        """The open one."""
        ...

    async def of_owner(self, owner: Owner, kind: InteractionKind) -> Sequence[Interaction]:
        """The owner's open interactions of that kind, oldest first."""
        ...

    async def save(self, interaction: Interaction, *, version: int) -> bool:
        """Replace the row where its version still is ``version`` (compare-and-set); False when it moved on."""
        ...

    async def sweep(self, *, before: float, unsettled_before: float | None = None) -> int:
        """Remove those whose time ran out before that (epoch seconds), ended or never answered; how many.

        ``unsettled_before``: answered ones, for which nobody came back, go when theirs ran out before that; None: stay.
        """
        ...

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Interaction]:
        """All of them by id, following that one. A damaged row is logged and left out."""
        ...

    async def reseal(self, interaction: Interaction, *, payload: Sealed, answer: Sealed | None) -> bool:
        """Replace what is sealed, and nothing else, where version and payload still are as given."""
        ...
