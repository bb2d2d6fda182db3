"""What is obtained without a person: asked for once, kept sealed in memory while it lives, never in a store."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from valetkey.connections.flights import Flights, follow
from valetkey.connections.handler import Flow, Handler
from valetkey.connections.keep import Keeper
from valetkey.errors import AuthRefused, InvalidSetting, ProviderUnavailable, ValetkeyError
from valetkey.model.caller import OURS, Caller, Owner
from valetkey.model.connections import Connection, Grant
from valetkey.model.needs import Need
from valetkey.ports.world import Clock
from valetkey.vault.seal import Sealer

MARGIN, SHARE = 60.0, 0.1
"""A token is not lent any more that many seconds before its end, or in that share of its life, whichever is less."""

UNKNOWN_LIFE = 300.0
"""Seconds that a token is used of which the provider does not say how long it lives."""

AGAIN = 30.0
"""Seconds between two times that a token is thrown away because an API refused it."""

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0
"""Seconds for which a provider that refuses us is not asked again; twice as many each time."""

ENTRIES = 1000
"""How many are kept; the one not used for longest goes first."""

OWNERS = 1000
"""For how many owners each is kept ready."""


@dataclass(slots=True)
class _Kept:
    """One token, sealed for nobody, and as the connections of those who use it."""

    holder: Connection
    ends: float
    renewed: float
    asked: frozenset[str]
    made: OrderedDict[tuple[Owner, str], Connection] = field(default_factory=OrderedDict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    """A provider that refused us: why, until when it is left alone (monotonic), and how long that was."""

    error: ValetkeyError
    until: float
    pause: float


class Obtained:
    """Obtains what needs no person. For any loop and any thread.

    One token serves a whole workspace, or one subject token's holder: the handler says what it is kept by. Who asks
    meanwhile waits for the one who asked first. Another workspace has its own.
    """

    def __init__(self, *, keeper: Keeper, sealer: Sealer, flights: Flights, clock: Clock) -> None:
        self._keeper = keeper
        self._sealer = sealer
        self._flights = flights
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._refused: OrderedDict[str, _Refused] = OrderedDict()

    async def get(
        self, handler: Handler, owner: Owner, need: Need, profile: str, *, caller: Caller | None = None
    ) -> Connection:
        """A connection with what the handler obtains, or obtained before.

        Raises:
            ValetkeyError: as the handler does; what the operator has to see to is told again, without asking the
                provider, until some time is over or settings change.
        """
        flow = _flow(owner, need, profile, caller)
        parts = handler.kept_as(flow)
        if parts is None:
            grant = await handler.finish(flow, {}, {})
            return self._keeper.make(grant, handler, owner, profile=profile, asked=need.scopes, kept=False)
        key = _key(owner.workspace, handler, parts)
        entry = self._fresh(key)
        if entry is None:
            entry = await self._obtain(key, handler, flow)
        return self._for(entry, handler, owner, profile)

    async def renew(self, handler: Handler, held: Connection, need: Need, *, caller: Caller) -> Connection | None:
        """Another one than that, which the provider's API refused; None where there is none, or was just another.

        Raises:
            ValetkeyError: as ``get`` does.
        """
        parts = handler.kept_as(_flow(held.owner, need, held.profile, caller))
        if parts is None:
            return None
        key = _key(held.owner.workspace, handler, parts)
        with self._lock:
            entry = self._kept.get(key)
            if entry is not None and entry.made.get((held.owner, held.profile)) is held:
                now = self._clock.monotonic()
                if now < entry.renewed + AGAIN:
                    return None
                del self._kept[key]
                renewed = True
            else:
                renewed = False
        again = await self.get(handler, held.owner, need, held.profile, caller=caller)
        if renewed:
            with self._lock:
                entry = self._kept.get(key)
                if entry is not None:
                    entry.renewed = self._clock.monotonic()
        return again

    def _fresh(self, key: str) -> _Kept | None:
        """What is kept and good; a provider that refused us a moment ago is not asked again.

        Raises:
            ValetkeyError: it refused us.
        """
        now = self._clock.monotonic()
        with self._lock:
            entry = self._kept.get(key)
            if entry is not None and now < entry.ends:
                self._kept.move_to_end(key)
                return entry
            self._kept.pop(key, None)
            refused = self._refused.get(key)
        if refused is None or now >= refused.until:
            return None
        if isinstance(refused.error, ProviderUnavailable):
            raise ProviderUnavailable(str(refused.error), retry_after=refused.until - now)
        raise type(refused.error)(str(refused.error))

    async def _obtain(self, key: str, handler: Handler, flow: Flow) -> _Kept:
        async def work() -> Connection:
            # Who boarded just after another one landed finds what that one brought.
            entry = self._fresh(key) or self._keep(key, handler, flow, await self._ask(key, handler, flow))
            return entry.holder

        flight, mine = self._flights.board(key, ahead=False)
        if mine:
            await self._flights.fly(key, flight, work, at_home=handler.at_home)
        holder = await follow(flight)
        with self._lock:
            entry = self._kept.get(key)
        if entry is None or entry.holder is not holder:  # pushed out, or thrown away, in this very moment
            raise ProviderUnavailable(f"The token of {handler.provider.title} changes all the time. Call again.")
        return entry

    async def _ask(self, key: str, handler: Handler, flow: Flow) -> Grant:
        try:
            grant = await handler.finish(flow, {}, {})
        except (InvalidSetting, AuthRefused, ProviderUnavailable) as error:
            self._leave_alone(key, error)
            raise
        with self._lock:
            self._refused.pop(key, None)
        return grant

    def _leave_alone(self, key: str, error: ValetkeyError) -> None:
        with self._lock:
            before = self._refused.get(key)
            pause = FIRST_PAUSE if before is None else min(2 * before.pause, LONGEST_PAUSE)
            if isinstance(error, ProviderUnavailable):
                if error.retry_after is None:
                    return  # the next call asks again: nothing was decided
                pause = error.retry_after
            self._refused[key] = _Refused(error=error, until=self._clock.monotonic() + pause, pause=pause)
            while len(self._refused) > ENTRIES:
                self._refused.popitem(last=False)

    def _keep(self, key: str, handler: Handler, flow: Flow, grant: Grant) -> _Kept:
        nobody = Owner(workspace=flow.owner.workspace, issuer=OURS, subject=f"obtained:{key}")
        holder = self._keeper.make(grant, handler, nobody, profile="", asked=flow.scopes, kept=False)
        entry = _Kept(
            holder=holder,
            ends=self._clock.monotonic() + self._usable(grant),
            renewed=float("-inf"),
            asked=flow.scopes,
        )
        with self._lock:
            self._kept[key] = entry
            while len(self._kept) > ENTRIES:
                self._kept.popitem(last=False)
        return entry

    def _usable(self, grant: Grant) -> float:
        """Seconds for which it is lent."""
        if grant.expires_at is None:
            return UNKNOWN_LIFE
        left = max(grant.expires_at - self._clock.now(), 0.0)
        return left - min(MARGIN, SHARE * left)

    def _for(self, entry: _Kept, handler: Handler, owner: Owner, profile: str) -> Connection:
        """The owner's own connection with it: a credential is sealed for whoever it is lent to."""
        with self._lock:
            made = entry.made.get((owner, profile))
            if made is not None:
                entry.made.move_to_end((owner, profile))
                return made
        holder = entry.holder
        grant = Grant(
            credential=self._sealer.open_credential(holder),
            scopes=holder.scopes,
            expires_at=holder.expires_at,
            account=holder.account,
        )
        connection = self._keeper.make(grant, handler, owner, profile=profile, asked=entry.asked, kept=False)
        with self._lock:
            connection = entry.made.setdefault((owner, profile), connection)
            if len(entry.made) > OWNERS:
                entry.made.popitem(last=False)
        return connection


def _flow(owner: Owner, need: Need, profile: str, caller: Caller | None) -> Flow:
    return Flow(state="", owner=owner, profile=profile, scopes=need.scopes, redirect_uri="", pages="", caller=caller)


def _key(workspace: str, handler: Handler, parts: tuple[str, ...]) -> str:
    hashed = hashlib.sha256()
    for part in (workspace, handler.provider.name, handler.name, *parts):
        hashed.update(f"{len(part)}:{part};".encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()
