"""End a credential at its provider, too: asked for in the database, tried until it is confirmed or its time is over."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from valetkey.connections.finder import Finder
from valetkey.connections.handler import Handler
from valetkey.connections.pace import fraction
from valetkey.errors import InvalidSetting, MissingSetting, UnknownProvider, ValetkeyError, VaultError
from valetkey.model.connections import Connection, Credential
from valetkey.model.events import Outcome, Revoked
from valetkey.model.revocations import Revocation
from valetkey.ports.messages import Recorder
from valetkey.ports.stores import ConnectionStore, RevocationStore
from valetkey.ports.world import Clock, Entropy, Home
from valetkey.vault.seal import Sealer

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 6 * 3600.0
"""Seconds between two tries; longer than any exchange takes, so that no two are under way."""

GIVEN_UP = 7 * 86_400.0
"""Seconds after which a revocation that nobody confirmed is given up."""

AGAIN = "The account was connected again meanwhile, and this provider would end that one, too."

_log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What became of a revocation.

    Attributes:
        revoked: the provider confirmed it.
        queued: it did not, and is asked again later.
        reason: where it is not revoked: why.
    """

    revoked: bool = False
    queued: bool = False
    reason: str = ""


class Revoker:
    """Revokes upstream (RFC 7009), over rows that outlive a crash and a provider's bad day."""

    def __init__(
        self,
        *,
        store: RevocationStore,
        connections: ConnectionStore,
        sealer: Sealer,
        finder: Finder,
        clock: Clock,
        entropy: Entropy,
        home: Home,
        recorder: Recorder,
    ) -> None:
        self._store = store
        self._connections = connections
        self._sealer = sealer
        self._finder = finder
        self._clock = clock
        self._entropy = entropy
        self._home = home
        self._recorder = recorder

    def prepare(self, connection: Connection, credential: Credential) -> Revocation:
        """The revocation of what a connection holds, saved nowhere yet.

        Raises:
            KeyUnavailable: there is no key to seal it.
        """
        now = self._clock.now()
        revocation_id = self._entropy.bytes(16).hex()
        return Revocation(
            id=revocation_id,
            owner=connection.owner,
            provider=connection.provider,
            handler=connection.handler,
            sealed=self._sealer.seal_revocation(
                credential, revocation_id=revocation_id, owner=connection.owner, provider=connection.provider
            ),
            created_at=now,
            next_try_at=now,
        )

    async def discard(self, connection: Connection, credential: Credential) -> None:
        """End a credential that came too late for its connection, which is gone."""
        revocation = self.prepare(connection, credential)
        await self._store.add(revocation)
        await self.revoke(revocation)

    async def revoke(self, revocation: Revocation, handler: Handler | None = None) -> Ended:
        """Try one that is in the store, once; who else tries it at this moment is left to it."""
        now = self._clock.now()
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(revocation.tries, 16))
        pause *= 1 + fraction(self._entropy)
        if not await self._store.claim(revocation, next_try_at=now + pause):
            return Ended(queued=True, reason="Another process revokes it at the provider.")
        try:
            handler = handler or self._finder.find(revocation.handler, revocation.provider)
            if handler.revocation_ends_all and await self._came_again(revocation):
                await self._store.remove(revocation.id)
                return Ended(reason=AGAIN)
            credential = self._sealer.open_revocation(revocation)
            revoked = await self._run(handler, credential)
        except ValetkeyError as error:
            return await self._failed(revocation, error, now)
        await self._store.remove(revocation.id)
        if revoked:
            self._recorder.record(Revoked(provider=revocation.provider, outcome=Outcome.OK))
            return Ended(revoked=True)
        return Ended(reason=f"{handler.provider.title} offers no way to revoke it.")

    async def catch_up(self, *, limit: int = 50) -> int:
        """Try those whose time has come; how many were tried."""
        due = await self._store.due(now=self._clock.now(), limit=limit)
        for revocation in due:
            await self.revoke(revocation)
        return len(due)

    async def _came_again(self, revocation: Revocation) -> bool:
        rows = await self._connections.of_owner(revocation.owner, revocation.provider)
        return any(row.created_at >= revocation.created_at for row in rows)

    async def _run(self, handler: Handler, credential: Credential) -> bool:
        if not handler.at_home:
            return await handler.revoke(credential)
        return await self._home.run(lambda: handler.revoke(credential))

    async def _failed(self, revocation: Revocation, error: ValetkeyError, now: float) -> Ended:
        setup = isinstance(error, InvalidSetting | MissingSetting | UnknownProvider | VaultError)
        outcome = Outcome.CONFIG_ERROR if setup else Outcome.TRANSIENT
        self._recorder.record(Revoked(provider=revocation.provider, outcome=outcome))
        if now - revocation.created_at < GIVEN_UP:
            await self._store.fail(revocation.id, reason=error.message)
            return Ended(queued=True, reason=error.message)
        _log.error(
            "a credential of %s was not revoked within %d days, and is given up: %s",
            revocation.provider,
            GIVEN_UP // 86_400,
            error.message,
        )
        await self._store.remove(revocation.id)
        return Ended(reason=error.message)
