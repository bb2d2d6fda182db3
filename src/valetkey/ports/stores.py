"""What we ask of a database: connections and interactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from valetkey.model.caller import Owner
from valetkey.model.connections import Connection
from valetkey.model.interactions import Interaction, InteractionKind


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
        self, connection_id: str, *, generation: int, owner: str, attempt: str, now: float, until: float
    ) -> bool:
        """Take the refresh lease, where the generation still fits and no lease runs past ``now``.

        The attempt is committed when this returns True.
        """
        ...

    async def release(self, connection_id: str, *, owner: str, attempt: str) -> None:
        """Give the lease back where it still is ours; anything else is left alone."""
        ...

    async def delete(self, connection_id: str) -> Connection | None:
        """Remove it, and give what was removed."""
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

    async def sweep(self, *, before: float) -> int:
        """Remove those that ended, or expired unanswered, before that time (epoch seconds); how many."""
        ...
