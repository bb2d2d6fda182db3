"""A chain over two verifiers made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from valetkey.adapters.local_messages import LocalWakeups
from valetkey.errors import StoreUnavailable, Unauthenticated
from valetkey.identity.chain import Chain, Vouch
from valetkey.model.caller import Caller, Owner
from valetkey.model.calls import BEARER, Presented
from valetkey.model.stops import Stop, StopKind
from valetkey.model.users import UserInfo
from valetkey.secret import Secret
from valetkey.stops import Stops
from valetkey.testing.clock import ManualClock


class StopRows:
    """Stops in a list, which can be made unreachable."""

    def __init__(self) -> None:
        self.rows: list[Stop] = []
        self.broken = False

    async def revision(self) -> int:
        if self.broken:
            raise StoreUnavailable("down")
        return len(self.rows)

    async def since(self, revision: int) -> Sequence[Stop]:
        return self.rows[revision:]

    async def put(self, stop: Stop) -> None:
        self.rows.append(
            Stop(kind=stop.kind, target=stop.target, created_at=stop.created_at, revision=len(self.rows) + 1)
        )

    async def lift(self, kind: StopKind, target: str, *, now: float) -> bool:
        self.rows.append(Stop(kind=kind, target=target, created_at=now, revision=len(self.rows) + 1, lifted=True))
        return True

    async def active(self, *, now: float) -> Sequence[Stop]:
        return self.rows

    async def sweep(self, *, before: float) -> int:
        return 0


class Known:
    """Knows some credentials."""

    def __init__(self, how: str, known: dict[str, Vouch | str]) -> None:
        self.how = how
        self.known = known
        self.asked: list[str] = []

    async def verify(self, presented: Presented) -> Vouch | None:
        text = presented.value.reveal() if isinstance(presented.value, Secret) else presented.value
        found = self.known.get(text)
        if found is None:
            return None
        self.asked.append(text)
        if isinstance(found, str):
            raise Unauthenticated(found)
        return found


class Chained:
    """Two verifiers, a clock wound by hand, and stops."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = StopRows()
        self.stops = Stops(store=self.store, clock=self.clock, wakeups=LocalWakeups())
        owner = Owner(workspace="ws-user-alice", issuer="valetkey", subject="alice")
        user = UserInfo(id="alice", roles=[], parent="boss")
        now = self.clock.now()
        good = Vouch(owner=owner, how="first", until=now + 3600, user=user, token="good-id", keep=60)
        short = Vouch(owner=owner, how="first", until=now + 5, user=user, token="short-id", keep=60)
        self.first = Known("first", {"good": good, "bad": "bad", "short": short})
        self.second = Known("second", {"second's": Vouch(owner=owner, how="second", user=user, keep=60)})
        self.chain = Chain([self.first, self.second], stops=self.stops, clock=self.clock)

    async def identify(self, text: str) -> Caller:
        if text == "short" and self.clock.now() >= (self.first.known["short"].until or 0):  # type: ignore[union-attr]
            self.first.known["short"] = "over"
        return await self.chain.identify(Presented(scheme=BEARER, value=Secret(text)))

    async def stop(self, kind: StopKind, target: str) -> None:
        await self.stops.put(Stop(kind=kind, target=target, created_at=self.clock.now()))

    async def stop_elsewhere(self, kind: StopKind, target: str) -> None:
        await self.store.put(Stop(kind=kind, target=target, created_at=self.clock.now()))

    async def looked(self) -> None:
        """Let the look at the database that is under way end."""
        if self.stops._looking is not None:
            await self.stops._looking

    @staticmethod
    def hash_of(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()
