"""The walk over all that is stored: what an older key sealed is sealed anew with the newest."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from valetkey.errors import KeyUnavailable, VaultError
from valetkey.model.connections import Connection, Sealed, key_id_of
from valetkey.model.events import Resealed, Unreadable
from valetkey.model.interactions import Interaction
from valetkey.model.registrations import Registration
from valetkey.model.revocations import Revocation
from valetkey.ports.messages import Recorder
from valetkey.ports.registrations import ClientStore
from valetkey.ports.stores import ConnectionStore, InteractionStore, LeaderStore, RevocationStore, WorkspaceStore
from valetkey.ports.world import Clock, Entropy
from valetkey.vault import variables
from valetkey.vault.held import keys_of, pages
from valetkey.vault.seal import Sealer, registered_at

if TYPE_CHECKING:
    from valetkey.model.workspaces import WorkspaceInfo

WORK = "reseal"
"""Under which name it is led."""

TTL = 30.0
"""Seconds for which a walk that was killed keeps others from going on."""

THOROUGH_EVERY = 3_600.0
"""Seconds after which questions, revocations and variables are looked through again, where none of them was left."""

_PASSES = 20  # over rows that others saved meanwhile; each is shorter than the one before
_TOLD = 10_000  # rows whose alarm was given and is not repeated

_log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a walk is, or how it ended.

    Attributes:
        led: whether this process walked; False: another one does.
        done: rows sealed anew.
        left: rows that are to be done, as counted at the beginning.
        lost: rows that cannot be opened because their key is not here, by its id.
        damaged: rows that cannot be opened although their key is here.
    """

    led: bool = True
    done: int = 0
    left: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    damaged: int = 0

    @property
    def failed(self) -> int:
        """Rows that stay as they are."""
        return sum(self.lost.values()) + self.damaged


class _NoLongerLeadingError(Exception):
    """Another process leads by now."""


@dataclass(slots=True)
class _Tally:
    """One walk's counts."""

    owner: str
    tell: Callable[[Progress], None] | None
    renew_at: float
    all: int = 0
    done: int = 0
    raced: int = 0
    damaged: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    unrecorded: int = 0

    def progress(self, *, led: bool = True, left: int | None = None) -> Progress:
        """What is to be told now."""
        failed = sum(self.lost.values()) + self.damaged
        if left is None:
            left = max(0, self.all - self.done - failed)
        return Progress(led=led, done=self.done, left=left, lost=dict(self.lost), damaged=self.damaged)


class Resealer:
    """Seals anew, in batches, what any other key than the newest sealed.

    The rows say what is left: a walk that ended anywhere is gone on with by the next one, in whichever process. It
    raises no generation, and whatever somebody saved meanwhile stays. A row that cannot be opened is left as it is,
    counted, and told once; it does not stop the others.
    """

    def __init__(
        self,
        *,
        connections: ConnectionStore,
        interactions: InteractionStore,
        revocations: RevocationStore,
        clients: ClientStore,
        workspaces: WorkspaceStore,
        leaders: LeaderStore,
        sealer: Sealer,
        clock: Clock,
        entropy: Entropy,
        recorder: Recorder,
    ) -> None:
        self._connections = connections
        self._interactions = interactions
        self._revocations = revocations
        self._clients = clients
        self._workspaces = workspaces
        self._leaders = leaders
        self._sealer = sealer
        self._clock = clock
        self._entropy = entropy
        self._recorder = recorder
        self._told: set[str] = set()
        self._lost: frozenset[str] = frozenset()
        self._clean: tuple[str, float] | None = None

    async def walk(self, tell: Callable[[Progress], None] | None = None) -> Progress:
        """Seal anew until nothing is left that can be; ``tell`` is called after every batch.

        Raises:
            KeyUnavailable: there is no key to seal with.
            StoreUnavailable: the database cannot be used; what is done stays done.
        """
        owner = self._entropy.token(12)
        if not await self._leaders.lead(WORK, owner=owner, ttl=TTL):
            return Progress(led=False)
        tally = _Tally(owner=owner, tell=tell, renew_at=self._clock.monotonic() + TTL / 3)
        try:
            await self._passes(tally)
        except _NoLongerLeadingError:
            return tally.progress(led=False)
        finally:
            await self._leaders.resign(WORK, owner=owner)
        return tally.progress(left=tally.raced)

    async def _passes(self, tally: _Tally) -> None:
        keyring = self._sealer.keyring
        for number in range(_PASSES):
            newest = keyring.newest
            others = await self._connections.key_ids() - {newest}
            counts = await self._connections.keys() if others else {}
            stale = {key_id: counts.get(key_id, 0) for key_id in others}
            # What was told to be lost, and still is, is not read again and again.
            known_lost = self._lost & frozenset(stale) - frozenset(keyring.ids())
            thorough = number > 0 or self._looks_through(newest)
            if number == 0:
                tally.all = sum(stale.values()) + (await self._count(newest) if thorough else 0)
            tally.raced = tally.damaged = 0
            tally.lost = Counter({key_id: stale[key_id] for key_id in known_lost})
            if stale.keys() - known_lost:
                tally.lost.clear()
                for key_id in sorted(stale):
                    await self._reseal_connections(tally, key_id)
            if thorough:
                await self._reseal_interactions(tally, newest)
                await self._reseal_revocations(tally, newest)
                await self._reseal_clients(tally, newest)
                await self._reseal_workspaces(tally, newest)
                self._clean = (newest, self._clock.monotonic())
            if not tally.raced and keyring.newest == newest:
                break
        for key_id in tally.lost.keys() - self._lost:
            _log.error("%d stored rows need the vault key %s, which is not here.", tally.lost[key_id], key_id)
        self._lost = frozenset(tally.lost)

    def _looks_through(self, newest: str) -> bool:
        """Whether the other rows are due: a few, of which nobody counts whose they are."""
        if self._clean is None or self._clean[0] != newest:
            return True
        return self._clock.monotonic() - self._clean[1] >= THOROUGH_EVERY

    async def _count(self, newest: str) -> int:
        found = 0
        async for asked in pages(self._interactions.page):
            found += sum(bool(keys_of(interaction) - {newest}) for interaction in asked)
        async for rows in pages(self._revocations.page):
            found += sum(key_id_of(row.sealed) != newest for row in rows)
        async for clients in pages(self._clients.page):
            found += sum(key_id_of(row.sealed) != newest for row in clients)
        async for places in pages(self._workspaces.page):
            found += sum(bool(variables.keys_of(place.config).keys() - {newest}) for place in places)
        return found

    async def _reseal_connections(self, tally: _Tally, key_id: str) -> None:
        async for rows in pages(partial(self._connections.sealed_by, key_id)):
            changes: list[tuple[Connection, Sealed]] = []
            for row in rows:
                try:
                    changes.append((row, self._sealer.reseal_connection(row)))
                except VaultError as error:
                    self._fail(tally, "connection", row.id, (row.sealed,), error)
            count = await self._connections.reseal(changes) if changes else 0
            tally.raced += len(changes) - count
            await self._step(tally, count)

    async def _reseal_interactions(self, tally: _Tally, newest: str) -> None:
        async for rows in pages(self._interactions.page):
            count = 0
            for row in rows:
                if keys_of(row) - {newest}:
                    count += await self._reseal_interaction(tally, row)
            await self._step(tally, count)

    async def _reseal_interaction(self, tally: _Tally, row: Interaction) -> bool:
        try:
            payload = self._sealer.reseal_private(row, "payload") if row.payload else row.payload
            answer = self._sealer.reseal_private(row, "answer") if row.answer else row.answer
        except VaultError as error:
            self._fail(tally, "interaction", row.id, (row.payload, row.answer or b""), error)
            return False
        done = await self._interactions.reseal(row, payload=payload, answer=answer)
        tally.raced += not done
        return done

    async def _reseal_revocations(self, tally: _Tally, newest: str) -> None:
        async for rows in pages(self._revocations.page):
            count = 0
            for row in rows:
                if key_id_of(row.sealed) != newest:
                    count += await self._reseal_revocation(tally, row)
            await self._step(tally, count)

    async def _reseal_revocation(self, tally: _Tally, row: Revocation) -> bool:
        try:
            sealed = self._sealer.reseal_revocation(row)
        except VaultError as error:
            self._fail(tally, "revocation", row.id, (row.sealed,), error)
            return False
        done = await self._revocations.reseal(row, sealed)
        tally.raced += not done
        return done

    async def _reseal_clients(self, tally: _Tally, newest: str) -> None:
        async for rows in pages(self._clients.page):
            count = 0
            for row in rows:
                if key_id_of(row.sealed) != newest:
                    count += await self._reseal_client(tally, row)
            await self._step(tally, count)

    async def _reseal_client(self, tally: _Tally, row: Registration) -> bool:
        try:
            sealed = self._sealer.reseal(row.sealed, registered_at(row.id))
        except VaultError as error:
            self._fail(tally, "client", row.id, (row.sealed,), error)
            return False
        done = await self._clients.reseal(row, sealed)
        tally.raced += not done
        return done

    async def _reseal_workspaces(self, tally: _Tally, newest: str) -> None:
        async for rows in pages(self._workspaces.page):
            count = 0
            for row in rows:
                if variables.keys_of(row.config).keys() - {newest}:
                    count += await self._reseal_variables(tally, row, newest)
            await self._step(tally, count)

    async def _reseal_variables(self, tally: _Tally, row: WorkspaceInfo, newest: str) -> bool:
        """Those of one workspace; one that cannot be opened does not stop the others."""
        kept = variables.variables_of(row.config)
        stays: tuple[bytes, VaultError] | None = None
        changed = False
        for name, value in kept.items():
            sealed = b""
            try:
                sealed = variables.read(value)
                if key_id_of(sealed) != newest:
                    kept[name] = variables.written(self._sealer.reseal(sealed, variables.bound(row.id, name)))
                    changed = True
            except VaultError as error:
                stays = sealed, error
        if changed:
            newer = row.model_copy(update={"config": {**row.config, variables.ENVIRONS: kept}})
            if not await self._workspaces.save(newer, was=row):
                tally.raced += 1
                return False
        if stays is not None:
            self._fail(tally, "workspace", row.id, stays[:1], stays[1])
        return stays is None

    def _fail(self, tally: _Tally, kind: str, row_id: str, parts: tuple[bytes, ...], error: VaultError) -> None:
        """Count a row that stays as it is; the alarm is given once, and not at every walk."""
        here = self._sealer.keyring.ids()
        missing = [key_id for key_id in map(key_id_of, parts) if key_id and key_id not in here]
        if isinstance(error, KeyUnavailable) and missing:
            tally.lost[missing[0]] += 1
        else:
            tally.damaged += 1
        if row_id in self._told:
            return
        if len(self._told) >= _TOLD:
            self._told.clear()
        self._told.add(row_id)
        tally.unrecorded += 1
        self._recorder.record(Unreadable(what=kind))
        if not missing:  # rows of a lost key are told by their key, and all at once
            _log.error("The %s %s cannot be opened: %s", kind, row_id, error.message)

    async def _step(self, tally: _Tally, count: int) -> None:
        """Between two batches: count, tell, let others run, and stay the leader."""
        tally.done += count
        if count or tally.unrecorded:
            self._recorder.record(Resealed(rows=count, failed=tally.unrecorded))
            tally.unrecorded = 0
        if tally.tell is not None:
            tally.tell(tally.progress())
        await self._clock.sleep(0)
        if self._clock.monotonic() >= tally.renew_at:
            if not await self._leaders.lead(WORK, owner=tally.owner, ttl=TTL):
                raise _NoLongerLeadingError
            tally.renew_at = self._clock.monotonic() + TTL / 3
