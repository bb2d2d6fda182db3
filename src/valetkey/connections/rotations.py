"""A renewed credential is never thrown away: into the row, else into the journal, and from there into the row."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace

from valetkey.connections.revoke import Revoker
from valetkey.errors import KeyUnavailable, StoreUnavailable, ValetkeyError, VaultError
from valetkey.model.connections import Connection
from valetkey.ports.messages import Wakeups
from valetkey.ports.stores import ConnectionStore
from valetkey.ports.world import Journal
from valetkey.vault.seal import Sealer

SAVE = 4.0
"""Seconds that the database may take for a renewed credential before the journal gets it: the lease still holds."""

_log = logging.getLogger("valetkey")


class Rotations:
    """Brings renewed connections into their rows, however long the database cannot take them.

    What waits is in the journal; where even the disk fails, this process holds it. Both go before the row.
    """

    def __init__(
        self, *, store: ConnectionStore, journal: Journal, sealer: Sealer, revoker: Revoker, wakeups: Wakeups
    ) -> None:
        self._store = store
        self._journal = journal
        self._sealer = sealer
        self._revoker = revoker
        self._wakeups = wakeups
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Connection, int]] = {}

    async def keep(self, renewed: Connection, *, generation: int) -> Connection | None:
        """Save what replaces that generation; what holds from now on. None: the connection is gone."""
        try:
            return await self._save(renewed, generation, within=SAVE)
        except (StoreUnavailable, KeyUnavailable) as error:
            _log.warning("%s A renewed credential waits in the journal until then.", error)
            self._hold(renewed, generation)
            return renewed
        except BaseException:
            # Whoever waits for it gave up, as the end of a program does; what the provider gave is kept.
            self._hold(renewed, generation)
            raise

    async def settle(self, connection: Connection) -> Connection | None:
        """What waits for that connection, in its row if that can be; None: nothing waits, the row is right."""
        waiting = self._waiting(connection.id)
        if waiting is None:
            return None
        renewed, generation = waiting
        if connection.generation > generation and connection.sealed != renewed.sealed:
            _log.warning("connection %s moved on while its renewed credential waited", connection.id)
            self._forget(renewed)
            return None
        try:
            kept = await self._save(renewed, generation)
        except (StoreUnavailable, KeyUnavailable):
            return renewed
        self._forget(renewed)
        return kept

    def over(self, connection: Connection) -> Connection:
        """What this process renewed and could not save yet, in place of a row that is behind it."""
        waiting = self._held.get(connection.id)
        return waiting[0] if waiting is not None and waiting[1] >= connection.generation else connection

    async def replay(self) -> int:
        """Save all that waits, as far as the database takes it; how many still wait."""
        left = 0
        for renewed, generation in self._all():
            try:
                await self._save(renewed, generation)
            except StoreUnavailable:
                left += 1
            except ValetkeyError as error:
                _log.error("what waits for connection %s cannot be used: %s", renewed.id, error)
                left += 1
            else:
                self._forget(renewed)
        return left

    def newer_than(self, connection: Connection) -> bool:
        """Whether what waits for that connection is to replace it."""
        waiting = self._waiting(connection.id)
        return waiting is not None and waiting[1] >= connection.generation

    async def _save(self, renewed: Connection, generation: int, *, within: float | None = None) -> Connection | None:
        try:
            async with asyncio.timeout(within):
                row = await self._store.by_id(renewed.id)
                if row is not None and row.generation == generation:
                    renewed = replace(renewed, profile=row.profile)  # it may have been renamed since it was read
                saved = await self._store.save(renewed, generation=generation)
        except TimeoutError:
            # It may save it all the same; whoever brings the journal home finds out.
            raise StoreUnavailable("The database takes its time to save.") from None
        if saved:
            self._wakeups.wake(renewed.id)
            return renewed
        newer = await self._store.by_id(renewed.id)
        if newer is None:
            await self._gone(renewed)
            return None
        if newer.sealed == renewed.sealed:
            return newer  # an earlier try came through, and its acknowledgement did not
        _log.warning("connection %s moved on while it was refreshed; the newer credential is used", renewed.id)
        return newer

    async def _gone(self, renewed: Connection) -> None:
        """It was disconnected meanwhile: nobody else knows of what the refresh brought."""
        try:
            credential = self._sealer.open_credential(renewed)
        except KeyUnavailable:
            raise  # it may be back in a moment, and so may what is to be revoked
        except VaultError as error:
            _log.error("what was renewed for a connection that is gone cannot be revoked: %s", error)
            return
        await self._revoker.discard(renewed, credential)

    def _hold(self, renewed: Connection, generation: int) -> None:
        with self._lock:
            self._held[renewed.id] = (renewed, generation)
        try:
            self._journal.put(renewed, generation=generation)
        except StoreUnavailable as error:
            _log.error("%s The renewed credential of connection %s lives in this process only.", error, renewed.id)

    def _waiting(self, connection_id: str) -> tuple[Connection, int] | None:
        with self._lock:
            held = self._held.get(connection_id)
        return held or self._journal.of(connection_id)

    def _all(self) -> list[tuple[Connection, int]]:
        entries = {renewed.id: (renewed, generation) for renewed, generation in self._journal.entries()}
        with self._lock:
            return list((entries | self._held).values())

    def _forget(self, renewed: Connection) -> None:
        with self._lock:
            self._held.pop(renewed.id, None)
        self._journal.remove(renewed)
