"""Record who did what to which, hash-chained; no record, no credential."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

from valetkey.errors import StoreUnavailable, ValetkeyError
from valetkey.model.audit import Entry, Record
from valetkey.ports.stores import AuditStore
from valetkey.ports.world import Clock, Home
from valetkey.vault.keyring import Keyring, Purpose

BATCH = 200
"""Records that are saved in one transaction."""

QUEUE = 10_000
"""Entries that wait to be saved at most; a further one is refused, or dropped and said, as its teller chose."""

_log = logging.getLogger("valetkey.audit")


class Audit(Protocol):
    """Takes entries; from any loop."""

    async def note(self, entry: Entry) -> None:
        """Record it; it is saved when this returns.

        Raises:
            StoreUnavailable: it cannot be: what it was to be noted for must not be done.
        """
        ...

    def tell(self, entry: Entry) -> None:
        """Record it soon; never raises, never waits. For what was refused, and what cannot be undone."""
        ...


class NoAudit:
    """Where the settings ask for none."""

    async def note(self, entry: Entry) -> None:
        """Nothing."""

    def tell(self, entry: Entry) -> None:
        """Nothing."""


def canonical(record: Record) -> bytes:
    """What the chain covers of a record: JSON (RFC 8785: sorted, no space) of all but the ``mac``."""
    shown = {"seq": record.seq, "at": record.at, "key_id": record.key_id, **asdict(record.entry)}
    return json.dumps(shown, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def link(key: bytes, before: str, record: Record) -> str:
    """The ``mac`` of a record that follows one with the ``mac`` before; empty before the first."""
    return hmac.new(key, before.encode() + b"\n" + canonical(record), hashlib.sha256).hexdigest()


class AuditLog:
    """The log in the database: entries of one moment are saved in one transaction, in the order in which they came."""

    def __init__(
        self,
        *,
        store: AuditStore,
        keyring: Keyring,
        clock: Clock,
        home: Home,
        also: Sequence[Callable[[Record], None]] = (),
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._home = home
        self._also = tuple(also)
        self._waiting: list[tuple[float, Entry, asyncio.Future[None] | None]] = []
        self._saving: asyncio.Task[None] | None = None
        self._dropped = 0

    async def note(self, entry: Entry) -> None:
        """Record it; it is saved when this returns.

        Raises:
            StoreUnavailable: it cannot be.
        """
        await self._home.run(lambda: self._note(entry))

    def tell(self, entry: Entry) -> None:
        """Record it soon; never raises, never waits."""
        try:
            self._home.spawn(lambda: self._told(entry))
        except RuntimeError:
            _log.error("an audit entry (%s) came after the end, and is lost", entry.action)

    async def drain(self) -> None:
        """Wait until all that was told is saved, or cannot be."""
        saving = self._saving
        if saving is not None:
            await asyncio.wait([saving])

    async def _note(self, entry: Entry) -> None:
        saved = asyncio.get_running_loop().create_future()
        self._put(entry, saved)
        await saved

    async def _told(self, entry: Entry) -> None:
        try:
            self._put(entry, None)
        except StoreUnavailable:
            self._dropped += 1

    def _put(self, entry: Entry, saved: asyncio.Future[None] | None) -> None:
        if len(self._waiting) >= QUEUE:
            raise StoreUnavailable("The audit log cannot be written fast enough. Look after the database.")
        self._waiting.append((self._clock.now(), entry, saved))
        if self._saving is None:
            self._saving = asyncio.create_task(self._save())

    async def _save(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                try:
                    records = await self._append([(at, entry) for at, entry, _ in batch])
                except ValetkeyError as error:
                    self._give_up(batch, error)
                    continue
                for _, _, saved in batch:
                    if saved is not None and not saved.done():
                        saved.set_result(None)
                for record in records:
                    for sink in self._also:
                        sink(record)
        finally:
            self._saving = None

    def _give_up(self, batch: Sequence[tuple[float, Entry, asyncio.Future[None] | None]], error: ValetkeyError) -> None:
        _log.error("%d audit records cannot be saved: %s", len(batch), error)
        for _, _, saved in batch:
            if saved is not None and not saved.done():
                saved.set_exception(
                    StoreUnavailable("The audit log cannot be written, and nothing is lent without it. Try again.")
                )

    async def _append(self, entries: Sequence[tuple[float, Entry]]) -> list[Record]:
        key_id = self._keyring.newest
        key = self._keyring.subkey(Purpose.HASH, key_id)
        while True:
            head = await self._store.head()
            seq, before = (0, "") if head is None else (head.seq, head.mac)
            records = []
            for at, entry in entries:
                seq += 1
                record = Record(seq=seq, at=at, entry=entry, mac="", key_id=key_id)
                before = link(key, before, record)
                records.append(Record(seq=seq, at=at, entry=entry, mac=before, key_id=key_id))
            if await self._store.append(records):
                return records
