"""Rows that are really sealed, in stores, and whether all of them still open."""

import itertools
from dataclasses import replace

from tests.stores.values import ADA, BOB, Stores, a_connection, a_revocation, a_workspace, an_interaction
from tests.vault.keys import FULL, Dice, a_ring
from valetkey.model.connections import Connection, Credential, key_id_of
from valetkey.model.events import Event
from valetkey.ports.world import KeySource
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock
from valetkey.vault.held import Holdings
from valetkey.vault.reseal import Resealer
from valetkey.vault.seal import Sealer
from valetkey.vault.variables import ENVIRONS, bound, written

_numbers = itertools.count()


class Events:
    """Takes events, and keeps them."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def record(self, event: Event) -> None:
        """Take one."""
        self.seen.append(event)


class NoEntries:
    """A journal with nothing in it, or what a test put there."""

    def __init__(self) -> None:
        self.held: list[tuple[Connection, int]] = []

    def put(self, connection: Connection, *, generation: int) -> None:
        """Keep it."""
        self.held.append((connection, generation))

    def of(self, connection_id: str) -> tuple[Connection, int] | None:
        """None."""
        return None

    def entries(self) -> list[tuple[Connection, int]]:
        """What a test put there."""
        return self.held

    def remove(self, connection: Connection) -> None:
        """Do nothing."""


class Vault:
    """Stores, a sealer over a source of keys, and the walk."""

    def __init__(
        self, stores: Stores, source: KeySource, *, clock: ManualClock | None = None, seed: str = "vault"
    ) -> None:
        self.stores = stores
        self.clock = clock or ManualClock()
        self.sealer = Sealer(a_ring(source), Dice(f"{seed} {next(_numbers)}"))
        self.events = Events()
        self.journal = NoEntries()
        self.resealer = Resealer(
            connections=stores.connections,
            interactions=stores.interactions,
            revocations=stores.revocations,
            clients=stores.clients,
            workspaces=stores.identity.workspaces,
            leaders=stores.leaders,
            sealer=self.sealer,
            clock=self.clock,
            entropy=Dice(f"walk {next(_numbers)}"),
            recorder=self.events,
        )
        self.holdings = Holdings(
            connections=stores.connections,
            interactions=stores.interactions,
            revocations=stores.revocations,
            clients=stores.clients,
            workspaces=stores.identity.workspaces,
            tokens=stores.identity.tokens,
            audit=stores.identity.audit,
            journal=self.journal,
            clock=self.clock,
        )

    async def keep(self, *, generation: int = 1, credential: Credential = FULL) -> Connection:
        """One more connection."""
        row = a_connection(owner=(ADA, BOB)[next(_numbers) % 2], profile=f"p{next(_numbers)}", generation=generation)
        row = replace(row, sealed=self.sealed(row, credential))
        assert await self.stores.connections.insert(row)
        return row

    def sealed(self, row: Connection, credential: Credential = FULL):
        """A credential for that row's generation."""
        return self.sealer.seal_credential(
            credential,
            connection_id=row.id,
            owner=row.owner,
            provider=row.provider,
            generation=row.generation,
        )

    async def ask(self, *, answered: bool = True):
        """One more question, with two private parts or one."""
        row = an_interaction(topic=f"slack/p{next(_numbers)}")
        parts = {
            part: self.sealer.seal_private(
                {"part": part, "id": row.id}, interaction_id=row.id, owner=row.owner, part=part
            )
            for part in ("payload", "answer")
        }
        row = replace(row, payload=parts["payload"], answer=parts["answer"] if answered else None)
        return await self.stores.interactions.open(row)

    async def owe(self):
        """One more revocation."""
        row = a_revocation()
        sealed = self.sealer.seal_revocation(FULL, revocation_id=row.id, owner=row.owner, provider=row.provider)
        row = replace(row, sealed=sealed)
        await self.stores.revocations.add(row)
        return row

    async def share(self, count: int = 2):
        """One more workspace, with that many variables."""
        row = a_workspace(id=f"ws-{next(_numbers)}")
        kept = {
            f"V{number}": written(self.sealer.seal(Secret(f"{row.id} {number}"), bound=bound(row.id, f"V{number}")))
            for number in range(count)
        }
        row = row.model_copy(update={"config": {**row.config, ENVIRONS: kept}})
        assert await self.stores.identity.workspaces.insert(row)
        return row

    async def fill(self, count: int = 3) -> None:
        """That many of each kind."""
        for number in range(count):
            await self.keep(generation=1 + number)
            await self.ask(answered=number % 2 == 0)
            await self.owe()

    async def keys(self) -> set[str]:
        """The keys by which anything that is stored was sealed."""
        found = set()
        for row in await self.stores.connections.page():
            found.add(key_id_of(row.sealed))
        for asked in await self.stores.interactions.page():
            found |= {key_id_of(part) for part in (asked.payload, asked.answer) if part is not None}
        for owed in await self.stores.revocations.page():
            found.add(key_id_of(owed.sealed))
        return found

    async def open_all(self) -> int:
        """Open every row; how many there are.

        Raises:
            VaultError: one of them does not open.
        """
        connections = await self.stores.connections.page(limit=100_000)
        for row in connections:
            assert self.sealer.open_credential(row).access_token
        interactions = await self.stores.interactions.page(limit=100_000)
        for asked in interactions:
            assert self.sealer.open_private(asked, "payload") == {"part": "payload", "id": asked.id}
            if asked.answer is not None:
                assert self.sealer.open_private(asked, "answer") == {"part": "answer", "id": asked.id}
        revocations = await self.stores.revocations.page(limit=100_000)
        for owed in revocations:
            assert self.sealer.open_revocation(owed) == FULL
        return len(connections) + len(interactions) + len(revocations)


def token(text: str) -> Credential:
    """A credential with that access token."""
    return Credential(access_token=Secret(text))
