"""Record who did what to which, hash-chained; no record, no credential."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Protocol

from valetkey.errors import KeyUnavailable, StoreUnavailable, ValetkeyError, VaultError
from valetkey.model.audit import Action, Entry, Record, clean, shown
from valetkey.model.events import Audited, Suspicious
from valetkey.ports.messages import Recorder
from valetkey.ports.stores import AuditStore
from valetkey.ports.world import Clock, Home
from valetkey.vault.keyring import Keyring, Purpose

BATCH = 200
"""Records that are saved in one transaction."""

QUEUE = 10_000
"""Entries that wait to be saved at most; a further one is refused, or dropped and said, as its teller chose."""

ROUNDS = 200
"""How often a batch is numbered anew because other instances wrote meanwhile."""

FAULTS = 1_000
"""Faults that a verification lists; further ones are counted."""

_log = logging.getLogger("valetkey.audit")
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The request that is being served: from where, and its correlation id."""

    address: str = ""
    request: str = ""


ORIGIN: ContextVar[Origin | None] = ContextVar("valetkey_audit_origin", default=None)
"""Set by the way in; entries that say nothing of it themselves are noted with it."""


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


class Switch:
    """The audit log of a system, put in place by whoever opens a server over it; until then there is none.

    Attributes:
        log: where entries go.
    """

    def __init__(self, log: Audit | None = None) -> None:
        self.log = log

    async def note(self, entry: Entry) -> None:
        """As the log does."""
        if self.log is not None:
            await self.log.note(entry)

    def tell(self, entry: Entry) -> None:
        """As the log does."""
        if self.log is not None:
            self.log.tell(entry)


def kept(audit: Audit | None) -> Audit | None:
    """The log that really takes entries; None: there is none, and none need be made."""
    if isinstance(audit, Switch):
        return kept(audit.log)
    return None if isinstance(audit, NoAudit) else audit


def canonical(record: Record) -> bytes:
    """What the chain covers of a record: JSON (RFC 8785: sorted, no space) of all but the ``mac``."""
    return _encode(shown(record)).encode()


def link(key: bytes, before: str, record: Record) -> str:
    """The ``mac`` of a record that follows one with the ``mac`` before; empty before the first."""
    return hmac.digest(key, before.encode() + b"\n" + canonical(record), "sha256").hex()


Waiting = tuple[float, Entry, "asyncio.Future[None] | None"]


class AuditLog:
    """The log in the database: entries of one moment are saved in one transaction, in the order in which they came.

    While the database cannot be used, what is noted is refused; what was told waits, and is saved with what comes
    next.

    Args:
        also: get every saved record: a file, the metrics. One that fails is logged, and harms nothing.
    """

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
        self._waiting: list[Waiting] = []
        self._saving: asyncio.Task[None] | None = None
        self._failing: set[Callable[[Record], None]] = set()
        self._newest: Record | None = None
        self.dropped = 0
        """Entries that were told and are lost: the log could not be written for too long."""

    async def note(self, entry: Entry) -> None:
        """Record it; it is saved when this returns.

        Raises:
            StoreUnavailable: it cannot be.
        """
        noted = _from(entry)
        if self._home.here():
            await self._note(noted)
        else:
            await self._home.run(lambda: self._note(noted))

    def tell(self, entry: Entry) -> None:
        """Record it soon; never raises, never waits."""
        try:
            told = _from(entry)
            if self._home.here():
                self._take(told)
            else:
                self._home.spawn(lambda: self._told(told))
        except Exception as error:  # noqa: BLE001 - what it is told of was refused, or is done: it stays so
            _log.error("an audit entry is lost: %s", type(error).__name__)

    async def drain(self) -> None:
        """Wait until all that was told is saved, or cannot be."""
        await self._home.run(self._drain)

    async def _drain(self) -> None:
        saving = self._saving
        if saving is None and self._waiting:
            saving = self._begin()
        if saving is not None:
            await asyncio.wait([saving])

    async def _note(self, entry: Entry) -> None:
        saved = asyncio.get_running_loop().create_future()
        self._put(entry, saved)
        await saved

    async def _told(self, entry: Entry) -> None:
        self._take(entry)

    def _take(self, entry: Entry) -> None:
        try:
            self._put(entry, None)
        except StoreUnavailable:
            self._drop(1)

    def _drop(self, count: int) -> None:
        if self.dropped == 0:
            _log.error("the audit log cannot be written for too long: entries are lost from now on")
        self.dropped += count

    def _put(self, entry: Entry, saved: asyncio.Future[None] | None) -> None:
        if len(self._waiting) >= QUEUE:
            raise StoreUnavailable("The audit log cannot be written fast enough. Look after the database.")
        self._waiting.append((self._clock.now(), entry, saved))
        if self._saving is None:
            self._begin()

    def _begin(self) -> asyncio.Task[None]:
        self._saving = asyncio.create_task(self._save())
        return self._saving

    async def _save(self) -> None:
        batch: Sequence[Waiting] = ()
        singly = 0
        try:
            while self._waiting:
                size = 1 if singly > 0 else BATCH
                batch, self._waiting = self._waiting[:size], self._waiting[size:]
                singly -= len(batch)
                try:
                    records = await self._append([(at, entry) for at, entry, _ in batch])
                except (StoreUnavailable, VaultError):
                    raise
                except Exception as error:  # noqa: BLE001 - an entry that no database takes must not be in all others' way
                    if len(batch) > 1:
                        singly, self._waiting = len(batch), [*batch, *self._waiting]
                    else:
                        self._lose(batch[0], error)
                    continue
                for _, _, saved in batch:
                    if saved is not None and not saved.done():
                        saved.set_result(None)
                batch = ()
                for record in records:
                    self._hand_on(record)
        except BaseException as error:
            self._give_up(batch, error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._saving = None

    def _lose(self, one: Waiting, error: Exception) -> None:
        _log.error("an audit entry (%s) cannot be saved: %s", one[1].action, type(error).__name__)
        if one[2] is None:
            self.dropped += 1
        else:
            _refuse(one[2])

    def _give_up(self, batch: Sequence[Waiting], error: BaseException) -> None:
        """Refuse what waits to be noted; keep what was told for the next time."""
        waiting = [*batch, *self._waiting]
        self._waiting = [each for each in waiting if each[2] is None][:QUEUE]
        why = error.message if isinstance(error, ValetkeyError) else type(error).__name__
        _log.error("the audit log cannot be written now: %s", why)
        for _, _, saved in waiting:
            if saved is not None:
                _refuse(saved)

    def _hand_on(self, record: Record) -> None:
        for sink in self._also:
            try:
                sink(record)
                self._failing.discard(sink)
            except Exception as error:  # noqa: BLE001 - it is in the database: that is what decides
                if sink not in self._failing:
                    _log.error("a further place for the audit log failed: %s", type(error).__name__)
                    self._failing.add(sink)

    async def _append(self, entries: Sequence[tuple[float, Entry]]) -> list[Record]:
        key_id = self._keyring.newest
        key = self._keyring.subkey(Purpose.HASH, key_id)
        newest, self._newest = self._newest, None
        for _ in range(ROUNDS):
            # What this log wrote last is asked for only once somebody else wrote after it: their number is taken then.
            head = newest or await self._store.head()
            newest = None
            seq, before = (0, "") if head is None else (head.seq, head.mac)
            records: list[Record] = []
            for at, entry in entries:
                seq += 1
                record = Record(seq=seq, at=at, entry=entry, mac="", key_id=key_id)
                before = link(key, before, record)
                records.append(replace(record, mac=before))
            if await self._store.append(records):
                self._newest = records[-1]
                return records
        raise StoreUnavailable("The audit log cannot be written: others write to it all the time.")


def _refuse(saved: asyncio.Future[None]) -> None:
    if not saved.done():
        saved.set_exception(
            StoreUnavailable("The audit log cannot be written, and nothing is lent without it. Try again.")
        )


def _from(entry: Entry) -> Entry:
    origin = ORIGIN.get()
    return clean(entry) if origin is None else clean(entry, address=origin.address, request=origin.request)


def counted(recorder: Recorder) -> Callable[[Record], None]:
    """What hands saved records to the metrics: which action, and how it ended."""

    def sink(record: Record) -> None:
        recorder.record(Audited(action=record.entry.action.value, outcome=record.entry.outcome))
        if record.entry.action is Action.SUSPICIOUS:
            recorder.record(Suspicious(kind=record.entry.details.get("kind", "")))

    return sink


def suspect(audit: Audit) -> Callable[[str, str, str], None]:
    """What ``limits.Watch`` tells of too many failures: of what kind, of whom, and how many."""

    def tell(kind: str, who: str, count: str) -> None:
        entry = Entry(action=Action.SUSPICIOUS, outcome="failures", details={"kind": kind, "count": count})
        audit.tell(replace(entry, address=who) if kind == "address" else replace(entry, what=who))

    return tell


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the log.

    Attributes:
        seq: the record's number.
        what: ``missing``, ``changed``, ``key_missing``, ``differs_from_file``, ``not_in_database``.
    """

    seq: int
    what: str


@dataclass(slots=True, kw_only=True)
class Report:
    """What a verification found; ``faults`` in order, at most so many.

    Attributes:
        records: how many were checked.
        count: how many faults there are.
        head: the last record's number.
    """

    records: int = 0
    count: int = 0
    head: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return self.count == 0

    def add(self, seq: int, what: str, *, times: int = 1) -> None:
        """Take one more."""
        self.count += times
        self.faults += [Fault(seq + each, what) for each in range(min(times, FAULTS - len(self.faults)))]


async def verify(store: AuditStore, keyring: Keyring, *, kept: Mapping[int, str] | None = None) -> Report:
    """Walk the whole log and name each record that was changed, removed, inserted or moved.

    A removed tail leaves no trace in a chain: ``kept`` tells it, the ``mac`` of records by number as another place
    has them, such as the JSON lines file.

    Raises:
        StoreUnavailable: the log cannot be read.
    """
    report = Report()
    kept = kept or {}
    before, last = "", 0
    while records := await store.page(after=last, limit=500):
        for record in records:
            gap = record.seq - last - 1
            if gap:
                report.add(last + 1, "missing", times=gap)
            try:
                key = keyring.subkey(Purpose.HASH, record.key_id)
            except KeyUnavailable:
                report.add(record.seq, "key_missing")
            else:
                # After a gap the mac before is not known; the next record's tells whether this one is as it was.
                if not gap and not hmac.compare_digest(link(key, before, record), record.mac):
                    report.add(record.seq, "changed")
            other = kept.get(record.seq)
            if other is not None and not hmac.compare_digest(other.encode(), record.mac.encode()):
                report.add(record.seq, "differs_from_file")
            before, last = record.mac, record.seq
            report.records += 1
    report.head = last
    for seq in sorted(seq for seq in kept if seq > last):
        report.add(seq, "not_in_database")
    return report
