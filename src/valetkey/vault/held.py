"""How many rows each key sealed, signed or hashed, and with that whether it may go."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from valetkey.model.connections import key_id_of
from valetkey.model.interactions import Interaction
from valetkey.ports.registrations import ClientStore
from valetkey.ports.stores import (
    AuditStore,
    ConnectionStore,
    InteractionStore,
    RevocationStore,
    TokenStore,
    WorkspaceStore,
)
from valetkey.ports.world import Clock, Journal
from valetkey.vault import variables

BATCH = 100
"""Rows that are read, or sealed anew, in one go."""


STILL_TAKEN = 300.0
"""Seconds past its end that some clock may still take a token."""


class _Row(Protocol):
    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=_Row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Rows that one key sealed, and what else needs it.

    Attributes:
        clients: that we registered at providers.
        variables: of workspaces.
        waiting: renewed connections on this machine's disk that the database does not have yet.
        tokens: tokens of ours, good still, that it signed or hashed: without it they end at once.
        audit: whether records of the audit log were made under it: without it they cannot be verified.
    """

    connections: int = 0
    interactions: int = 0
    revocations: int = 0
    clients: int = 0
    variables: int = 0
    waiting: int = 0
    tokens: int = 0
    audit: bool = False

    @property
    def needed(self) -> bool:
        """Whether anything is lost without it."""
        return bool(self.total or self.tokens or self.audit)

    @property
    def total(self) -> int:
        """All that it sealed."""
        return self.connections + self.interactions + self.revocations + self.clients + self.variables + self.waiting


class Holdings:
    """Counts over all that is stored; nothing is opened."""

    def __init__(
        self,
        *,
        connections: ConnectionStore,
        interactions: InteractionStore,
        revocations: RevocationStore,
        clients: ClientStore,
        workspaces: WorkspaceStore,
        tokens: TokenStore,
        audit: AuditStore,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._connections = connections
        self._interactions = interactions
        self._revocations = revocations
        self._clients = clients
        self._workspaces = workspaces
        self._tokens = tokens
        self._audit = audit
        self._journal = journal
        self._clock = clock

    async def count(self, *, thorough: bool = False) -> dict[str, Held]:
        """Rows by the id of the key that they need; under an empty id those whose header is damaged.

        ``thorough``: every row is looked at. Else the database says for connections what it noted when it wrote them.

        Raises:
            StoreUnavailable: the database cannot be used.
        """
        connections = Counter(dict(await self._connections.keys()))
        if thorough:
            seen: Counter[str] = Counter()
            async for rows in pages(self._connections.page):
                seen.update(key_id_of(row.sealed) for row in rows)
            connections |= seen  # the larger of both: what either knows of is in the way
        interactions: Counter[str] = Counter()
        async for asked in pages(self._interactions.page):
            for interaction in asked:
                interactions.update(keys_of(interaction))
        revocations: Counter[str] = Counter()
        async for owed in pages(self._revocations.page):
            revocations.update(key_id_of(row.sealed) for row in owed)
        clients: Counter[str] = Counter()
        async for registered in pages(self._clients.page):
            clients.update(key_id_of(row.sealed) for row in registered)
        shared: Counter[str] = Counter()
        async for places in pages(self._workspaces.page):
            for place in places:
                shared.update(variables.keys_of(place.config))
        waiting = Counter(key_id_of(connection.sealed) for connection, _ in self._journal.entries())
        tokens = await self._tokens.key_ids(now=self._clock.now() - STILL_TAKEN)
        audit = await self._audit.key_ids()
        sealed = (connections, interactions, revocations, clients, shared, waiting)
        return {
            key_id: Held(
                connections=connections[key_id],
                interactions=interactions[key_id],
                revocations=revocations[key_id],
                clients=clients[key_id],
                variables=shared[key_id],
                waiting=waiting[key_id],
                tokens=tokens.get(key_id, 0),
                audit=key_id in audit,
            )
            for key_id in sorted(set().union(*sealed, tokens, audit))
        }


def keys_of(interaction: Interaction) -> set[str]:
    """The keys that sealed an interaction's private parts."""
    parts = (interaction.payload, interaction.answer)
    return {key_id_of(part) for part in parts if part}


async def pages(page: Callable[..., Awaitable[Sequence[R]]], **where: object) -> AsyncIterator[Sequence[R]]:
    """All rows of a store, a batch at a time, by id."""
    after = ""
    while rows := await page(after=after, limit=BATCH, **where):
        yield rows
        after = rows[-1].id
