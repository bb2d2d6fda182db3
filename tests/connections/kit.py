"""The rooms that keep accounts fresh, over stores in memory, with a clock wound by hand and dice that are told."""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from valetkey.adapters.home import HomeLoop
from valetkey.adapters.journal import NoJournal
from valetkey.adapters.keysources import EnvironmentKey
from valetkey.adapters.local_messages import LocalWakeups
from valetkey.adapters.memory import MemoryConnections
from valetkey.adapters.memory_queues import MemoryRevocations
from valetkey.connections.at_provider import World
from valetkey.connections.breaker import Breakers
from valetkey.connections.handler import Handler
from valetkey.connections.refresh import Refresher
from valetkey.connections.revoke import Revoker
from valetkey.connections.rotations import Rotations
from valetkey.errors import UnknownProvider
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Credential, Grant, Sealed
from valetkey.oauth.issuers import Issuers
from valetkey.ports.world import Journal
from valetkey.providers.base import Provider
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock
from valetkey.testing.recorder import KeepingRecorder
from valetkey.vault.keyring import Keyring
from valetkey.vault.seal import Sealer

ADA = Owner(workspace="local", issuer="host", subject="ada")
LIFE = 3600.0
KEY = EnvironmentKey(Secret(base64.b64encode(hashlib.sha256(b"a key of tests").digest()).decode()), name="tests")


class Dice:
    """Randomness of which the fractions are told; everything else differs each time."""

    def __init__(self, fraction: float = 0.5) -> None:
        self.fraction = fraction
        self._drawn = 0

    def token(self, size: int = 32) -> str:
        self._drawn += 1
        return f"drawn-{self._drawn}"

    def bytes(self, size: int) -> bytes:
        if size == 6:  # of a fraction
            return int(self.fraction * 2**48).to_bytes(6)
        self._drawn += 1
        return self._drawn.to_bytes(size)


class Provided(Handler):
    """A handler whose provider does what a test tells it: each ``answer`` is a grant, an error or a coroutine."""

    name = "example-oauth2"
    provider = Provider(name="example", title="Example", handlers=())
    scoped = True

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.answers: list[Any] = []
        self.seen: list[str] = []
        self.revoked: list[str] = []
        self.revoking: list[Any] = []
        self.asked = asyncio.Event()

    def grants(self, number: int, life: float | None = LIFE) -> Grant:
        """The credential of that generation."""
        credential = Credential(access_token=Secret(f"at-{number}"), refresh_token=Secret(f"rt-{number}"))
        return Grant(credential=credential, expires_at=None if life is None else self.clock.now() + life)

    async def refresh(self, credential: Credential, scopes: frozenset[str]) -> Grant:
        assert credential.refresh_token is not None
        token = credential.refresh_token.reveal()
        self.seen.append(token)
        self.asked.set()
        answer = self.answers.pop(0) if self.answers else self.grants(int(token.removeprefix("rt-")) + 1)
        if callable(answer):
            answer = await answer()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def revoke(self, credential: Credential) -> bool:
        answer = self.revoking.pop(0) if self.revoking else True
        if isinstance(answer, BaseException):
            raise answer
        self.revoked.append(credential.access_token.reveal())
        return bool(answer)

    async def begin(self, flow: Any) -> Any:
        raise NotImplementedError

    def judge(self, private: Any, parameters: Any) -> Any:
        raise NotImplementedError

    async def finish(self, flow: Any, private: Any, answer: Any) -> Any:
        raise NotImplementedError

    def variables(self, credential: Credential) -> Any:
        return {}


class Kit:
    """One process; ``beside()`` makes another one over the same stores."""

    def __init__(self, other: "Kit | None" = None, *, journal: Journal | None = None) -> None:
        self.clock: ManualClock = other.clock if other else ManualClock()
        self.revocations: MemoryRevocations = other.revocations if other else MemoryRevocations()
        self.store: MemoryConnections = (
            other.store if other else MemoryConnections(ticks=self.clock.monotonic, revocations=self.revocations)
        )
        self.handler: Provided = other.handler if other else Provided(self.clock)
        self.journal: Journal = journal or (other.journal if other else NoJournal())
        self.dice = Dice()
        self.home = HomeLoop()
        self.home.adopt(asyncio.get_running_loop())
        self.recorder = KeepingRecorder()
        self.wakeups = LocalWakeups()
        self.sealer = Sealer(Keyring(KEY, ticks=self.clock.monotonic), self.dice)
        self.revoker = Revoker(
            store=self.revocations,
            connections=self.store,
            sealer=self.sealer,
            finder=self,
            clock=self.clock,
            entropy=self.dice,
            home=self.home,
            recorder=self.recorder,
        )
        self.rotations = Rotations(
            store=self.store, journal=self.journal, sealer=self.sealer, revoker=self.revoker, wakeups=self.wakeups
        )
        self.breakers = Breakers(clock=self.clock, entropy=self.dice, recorder=self.recorder)
        self.refresher = Refresher(
            store=self.store,
            sealer=self.sealer,
            clock=self.clock,
            entropy=self.dice,
            home=self.home,
            wakeups=self.wakeups,
            rotations=self.rotations,
            breakers=self.breakers,
            recorder=self.recorder,
        )

    def beside(self) -> "Kit":
        """Another process."""
        return Kit(self)

    def find(self, name: str | None, provider: str | None) -> Handler:
        if provider != "example":
            raise UnknownProvider("There is none of that name.")
        return self.handler

    async def connected(self, *, life: float | None = LIFE, **changes: Any) -> Connection:
        """An account that was just connected."""
        now = self.clock.now()
        row = Connection(
            id=self.dice.bytes(16).hex(),
            owner=ADA,
            provider="example",
            handler="example-oauth2",
            profile="default",
            scopes=frozenset({"read"}),
            sealed=Sealed(b""),
            issued_at=now,
            expires_at=None if life is None else now + life,
            refreshable=True,
            created_at=now,
            updated_at=now,
        )
        row = replace(row, **changes)
        sealed = self.sealer.seal_credential(
            self.handler.grants(1).credential,
            connection_id=row.id,
            owner=row.owner,
            provider=row.provider,
            generation=row.generation,
        )
        row = replace(row, sealed=sealed)
        assert await self.store.insert(row)
        return row

    async def row(self, connection: Connection) -> Connection:
        """It as it is in the store."""
        found = await self.store.by_id(connection.id)
        assert found is not None
        return found

    def token(self, connection: Connection) -> str:
        """Its access token."""
        return self.sealer.open_credential(connection).access_token.reveal()

    async def fresh(self, connection: Connection, *, rejected: bool = False) -> Connection:
        return await self.refresher.fresh(connection, self.handler, rejected=rejected)


async def advanced(clock: ManualClock, seconds: float, until: Callable[[], bool]) -> None:
    """Wind the clock on, in small steps, as often as somebody sleeps, until something is so."""
    async with asyncio.timeout(5):
        while not until():
            await asyncio.sleep(0)
            clock.advance(seconds)


def world(clients, fetcher, entropy, clock):
    """What OAuth 2 handlers are made of."""
    issuers = Issuers(fetcher, clock)
    return World(clients=clients, issuers=issuers, fetcher=fetcher, entropy=entropy, clock=clock)
