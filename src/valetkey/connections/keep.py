"""Turn a grant into the owner's connection: a new row, or the next generation of the one that is there."""

from __future__ import annotations

from dataclasses import replace

from valetkey.connections.handler import Handler
from valetkey.connections.pace import lifetime
from valetkey.connections.refresh import unleased
from valetkey.errors import StoreUnavailable
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Grant, Sealed
from valetkey.ports.messages import Wakeups
from valetkey.ports.stores import ConnectionStore
from valetkey.ports.world import Clock, Entropy
from valetkey.vault.seal import Sealer

ATTEMPTS = 8


class Keeper:
    """Saves what a handler obtained. A row that a refresh moves on meanwhile is read again: the new grant wins."""

    def __init__(
        self, *, store: ConnectionStore, sealer: Sealer, clock: Clock, entropy: Entropy, wakeups: Wakeups
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._entropy = entropy
        self._wakeups = wakeups

    def make(
        self,
        grant: Grant,
        handler: Handler,
        owner: Owner,
        *,
        profile: str,
        asked: frozenset[str],
        kept: bool,
    ) -> Connection:
        """A connection with that grant, saved nowhere yet; one that is not ``kept`` never will be."""
        return self._fill(
            Connection(
                id=self._entropy.bytes(16).hex(),
                owner=owner,
                provider=handler.provider.name,
                handler=handler.name,
                profile=profile,
                scopes=frozenset(),
                sealed=Sealed(b""),
                generation=1,
                created_at=self._clock.now(),
                kept=kept,
            ),
            grant,
            handler,
            asked,
        )

    async def keep(
        self, grant: Grant, handler: Handler, owner: Owner, *, profile: str, asked: frozenset[str]
    ) -> Connection:
        """Save it as the owner's connection at that provider under that profile.

        Raises:
            StoreUnavailable: it could not be written.
        """
        for _ in range(ATTEMPTS):
            held = await self._store.get(owner, handler.provider.name, profile)
            if held is None:
                fresh = self.make(grant, handler, owner, profile=profile, asked=asked, kept=True)
                saved = await self._store.insert(fresh)
            else:
                following = replace(unleased(held), generation=held.generation + 1, handler=handler.name)
                fresh = self._fill(following, grant, handler, asked)
                saved = await self._store.save(fresh, generation=held.generation)
            if saved:
                self._wakeups.wake(fresh.id)
                return fresh
        raise StoreUnavailable("The account could not be saved: its row changes all the time. Connect it again.")

    def _fill(self, connection: Connection, grant: Grant, handler: Handler, asked: frozenset[str]) -> Connection:
        return replace(
            connection,
            sealed=self._sealer.seal_credential(
                grant.credential,
                connection_id=connection.id,
                owner=connection.owner,
                provider=connection.provider,
                generation=connection.generation,
                kept=connection.kept,
            ),
            scopes=asked if grant.scopes is None else grant.scopes,
            refreshable=handler.can_refresh(grant.credential),
            account=grant.account,
            next_try_at=0.0,
            **lifetime(grant, self._clock.now(), self._entropy),
        )
