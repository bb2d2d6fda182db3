"""Here first, then upstream, with a truthful report."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from valetkey.connections.answer import Answering, Finder
from valetkey.errors import AuthExpired, InvalidAuthState, ValetkeyError
from valetkey.interactions.service import Interactions
from valetkey.interactions.states import ENDED, WAITING, Event
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection
from valetkey.model.interactions import InteractionKind, Phase
from valetkey.ports.messages import Wakeups
from valetkey.ports.stores import ConnectionStore
from valetkey.ports.world import Home
from valetkey.vault.seal import Sealer

EXCHANGE = 12.0
"""Seconds that an exchange which is under way may still take: its deadline, and the time to save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of an account.

    Attributes:
        deleted: whether there was one here, or a flow for one; it is gone now.
        revoked: whether the provider said that its tokens are revoked (RFC 7009).
        reason: where they are not: why.
    """

    deleted: bool
    revoked: bool = False
    reason: str = ""


class Disconnector:
    """Forgets accounts."""

    def __init__(
        self,
        *,
        store: ConnectionStore,
        interactions: Interactions,
        answering: Answering,
        finder: Finder,
        sealer: Sealer,
        home: Home,
        wakeups: Wakeups,
    ) -> None:
        self._store = store
        self._interactions = interactions
        self._answering = answering
        self._finder = finder
        self._sealer = sealer
        self._home = home
        self._wakeups = wakeups

    async def disconnect(self, owner: Owner, provider: str, profile: str) -> Report:
        """Delete the owner's connection and withdraw an open flow; then revoke at the provider, if it can be."""
        withdrawn = await self._withdraw(owner, provider, profile)
        held = await self._store.get(owner, provider, profile)
        removed = None if held is None else await self._store.delete(held.id)
        if removed is None:
            return Report(deleted=withdrawn)
        self._wakeups.wake(removed.id)
        return await self._revoke(removed)

    async def _withdraw(self, owner: Owner, provider: str, profile: str) -> bool:
        topic = self._answering.topic(provider, profile)
        pending = await self._interactions.find(InteractionKind.CONNECT, owner, topic)
        if pending is not None and pending.phase is Phase.SETTLING:
            # The code is being exchanged: what it brings is deleted, too.
            with suppress(AuthExpired, InvalidAuthState):
                await self._interactions.waiting.until(pending.id, ENDED | {Phase.ANSWERED}, timeout=EXCHANGE)
            pending = await self._interactions.find(InteractionKind.CONNECT, owner, topic)
        if pending is None or pending.phase not in WAITING | {Phase.ANSWERED}:
            return False
        moved = await self._interactions.move(pending, Event.EXPIRE, reason="This flow was withdrawn. Begin again.")
        return moved is not None

    async def _revoke(self, removed: Connection) -> Report:
        try:
            handler = self._finder.find(removed.handler, removed.provider)
            credential = self._sealer.open_credential(removed)
            revoked = await self._home.run(lambda: handler.revoke(credential))
        except ValetkeyError as error:
            return Report(deleted=True, reason=f"It is gone here; it could not be revoked at the provider: {error}")
        if revoked:
            return Report(deleted=True, revoked=True)
        return Report(deleted=True, reason=f"It is gone here; {handler.provider.title} offers no way to revoke it.")
