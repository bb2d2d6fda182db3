"""The audit log: one chain whoever writes, well-formed whatever is in it, and nothing is lent without it (E-02)."""

import asyncio
import contextlib
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.kit import home
from tests.vault.keys import Given
from valetkey.adapters.audit_file import AuditFile
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.memory_identity import MemoryAudit
from valetkey.adapters.sql.audit import SqlAudit
from valetkey.adapters.sql.sqlite import SqliteDatabase
from valetkey.audit import ORIGIN, QUEUE, AuditLog, Fault, Origin, Report, counted, suspect, verify
from valetkey.cli.main import main
from valetkey.errors import KeyUnavailable, StoreUnavailable
from valetkey.model.audit import DETAILS, LONGEST, Action, Entry, Record, clean, line
from valetkey.model.events import Audited, Suspicious
from valetkey.ports.stores import AuditStore
from valetkey.testing.clock import ManualClock
from valetkey.testing.recorder import KeepingRecorder
from valetkey.vault.keyring import Keyring

ENTRY = Entry(action=Action.CALL, outcome="denied", subject="ann", what="post", rule="r", details={"entrance": "http"})
TEXTS = [field.name for field in fields(Entry) if field.name not in ("action", "details")]


class Store(MemoryAudit):
    """Rows in memory, of a database that may be away; and a hand for whoever tampers."""

    def __init__(self) -> None:
        super().__init__()
        self.away: Exception | None = None
        self.poison = ""
        self.appended: list[int] = []

    async def append(self, records: Sequence[Record]) -> bool:
        if self.away is not None:
            raise self.away
        if self.poison and any(record.entry.what == self.poison for record in records):
            raise ValueError("no database takes this")
        self.appended.append(len(records))
        return await super().append(records)

    def tamper(self, change: Callable[[dict[int, Record]], None]) -> None:
        change(self._rows)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def keys() -> Given:
    return Given("k1")


@pytest.fixture
def ring(keys: Given, clock: ManualClock) -> Keyring:
    return Keyring(keys, ticks=clock.monotonic)


@pytest.fixture
def store() -> Store:
    return Store()


def log_of(store: AuditStore, ring: Keyring, clock: ManualClock, *also: Callable[[Record], None]) -> AuditLog:
    return AuditLog(store=store, keyring=ring, clock=clock, home=home(), also=also)


async def written(store: AuditStore, ring: Keyring, clock: ManualClock, count: int = 6) -> AuditLog:
    log = log_of(store, ring, clock)
    for number in range(1, count + 1):
        await log.note(replace(ENTRY, what=f"tool{number}"))
    return log


@pytest.fixture
def file(tmp_path: Path, clock: ManualClock) -> Iterator[list[SqliteDatabase]]:
    opened = [SqliteDatabase(tmp_path / "v.db", ticks=clock.monotonic) for _ in range(2)]
    yield opened
    for database in opened:
        database.close()


@pytest.fixture(params=["memory", "sqlite"])
async def two(request: pytest.FixtureRequest, ring: Keyring, clock: ManualClock) -> list[AuditLog]:
    """The logs of two instances on one database; the second's store comes with it."""
    stores: list[AuditStore] = (
        [MemoryAudit()] * 2
        if request.param == "memory"
        else [SqlAudit(database) for database in request.getfixturevalue("file")]
    )
    return [log_of(store, ring, clock) for store in stores]


async def test_two_instances_that_write_at_once_write_one_chain(two, ring):
    one, other = two
    notes = [
        log.note(replace(ENTRY, what=f"{name}{number}"))
        for number in range(40)
        for name, log in (("a", one), ("b", other))
    ]
    await asyncio.gather(*notes[:40])
    one.tell(ENTRY)
    await asyncio.gather(*notes[40:])
    await one.drain()
    report = await verify(other._store, ring)
    assert (report.whole, report.records, report.head) == (True, 81, 81)
    found = [record.entry.what for record in await one._store.page(limit=100)]
    for name in "ab":
        assert [what for what in found if what[0] == name and what != "post"] == [f"{name}{n}" for n in range(40)]


async def test_what_comes_in_one_moment_is_saved_in_one_transaction(store, ring, clock):
    log = log_of(store, ring, clock)
    await asyncio.gather(*(log.note(ENTRY) for _ in range(50)))
    assert sum(store.appended) == 50
    assert len(store.appended) <= 2


@pytest.mark.requirement("E-03")
async def test_the_end_of_the_chain_is_asked_for_once_and_again_where_somebody_else_wrote(store, ring, clock):
    asked = []
    head = store.head

    def noted():
        asked.append(store._newest and store._newest.seq)
        return head()

    store.head = noted
    log, other = (log_of(store, ring, clock) for _ in range(2))
    for _ in range(3):
        await log.note(ENTRY)
    assert asked == [None], "its own are known"
    await other.note(ENTRY)
    await log.note(ENTRY)
    assert asked == [None, 3, 4], "the number was taken"
    store.away = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        await log.note(ENTRY)
    store.away = None
    await log.note(ENTRY)
    assert asked == [None, 3, 4, 5], "nobody knows what was saved"
    report = await verify(store, ring)
    assert (report.whole, report.records) == (True, 6)


async def test_a_record_has_who_what_when_and_the_request_that_is_served(store, ring, clock):
    log = log_of(store, ring, clock)
    ORIGIN.set(Origin(address="203.0.113.7", request="r-1"))
    await log.note(ENTRY)
    log.tell(replace(ENTRY, address="198.51.100.1"))
    await log.drain()
    first, second = await store.page()
    assert (first.entry.address, first.entry.request, first.at) == ("203.0.113.7", "r-1", clock.now())
    assert (second.entry.address, second.entry.request) == ("198.51.100.1", "r-1")


HOSTILE = [
    "\r\n{}",
    "\x1b[2J\x1b]0;x\x07",
    '","outcome":"ok',
    "\ud800x",
    "\0",
    "\u2028\u202e",
    "a" * 100_000,
    "\\u000a",
]


@pytest.mark.requirement("E-02")
@pytest.mark.parametrize("name", [*TEXTS, "detail", "name of a detail"])
@pytest.mark.parametrize("text", HOSTILE)
async def test_whatever_is_in_a_field_it_is_one_line_of_json(name, text, store, ring, clock, tmp_path):
    entry = {"detail": {"details": {"x": text}}, "name of a detail": {"details": {text: "x"}}}.get(name, {name: text})
    kept = AuditFile(tmp_path / "audit.jsonl")
    await log_of(store, ring, clock, kept).note(replace(ENTRY, **entry))
    kept.close()
    content = (tmp_path / "audit.jsonl").read_bytes()
    assert content.count(b"\n") == 1
    assert content.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in content[:-1])
    found = json.loads(content)
    assert found["action"] == "call"
    assert found["outcome"] == ("denied" if name != "outcome" else found["outcome"])
    assert len(content) < 3 * 6 * LONGEST
    assert (await verify(store, ring)).whole


@pytest.mark.requirement("E-02")
@given(st.text(max_size=700), st.dictionaries(st.text(max_size=80), st.text(max_size=80), max_size=4))
@settings(max_examples=60)
def test_any_text_gives_one_line_that_says_it(text, details):
    record = Record(seq=1, at=1.0, entry=clean(replace(ENTRY, subject=text, details=details)), mac="m", key_id="k")
    told = line(record)
    assert "\n" not in told
    assert told.isascii()
    assert json.loads(told)["subject"] == record.entry.subject
    if len(text) <= LONGEST and "\0" not in text and text == text.encode("utf-8", "replace").decode():
        assert record.entry.subject == text


def test_an_entry_has_so_many_details_and_no_more_and_what_is_no_text_becomes_one():
    many: dict[str, str] = {f"n{number}": "x" for number in range(100)}
    assert len(clean(replace(ENTRY, details=many)).details) == DETAILS
    odd = clean(replace(ENTRY, subject=None, what=7, details={"n": 3}))  # type: ignore[arg-type, dict-item]
    assert (odd.subject, odd.what, odd.details) == ("", "7", {"n": "3"})
    assert clean(replace(ENTRY, subject="x" * 600)).subject == "x" * (LONGEST - 1) + "…"


class TestFailing:
    """E-04: what cannot be recorded is refused where it is noted, and kept where it is told."""

    async def test_what_cannot_be_saved_is_refused(self, store, ring, clock):
        store.away = StoreUnavailable("away")
        log = log_of(store, ring, clock)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="nothing is lent without it"):
                await log.note(ENTRY)
        store.away = None
        await log.note(ENTRY)
        assert len(await store.page()) == 1

    async def test_without_a_key_nothing_is_recorded(self, store, keys, ring, clock):
        keys.error = KeyUnavailable("no key")
        with pytest.raises(StoreUnavailable):
            await log_of(store, ring, clock).note(ENTRY)

    @pytest.mark.requirement("R-34")
    async def test_what_is_told_while_the_database_is_away_is_saved_later_in_order(self, store, ring, clock):
        log = log_of(store, ring, clock)
        store.away = StoreUnavailable("away")
        log.tell(replace(ENTRY, what="1"))
        await log.drain()
        clock.advance(5)
        log.tell(replace(ENTRY, what="2"))
        await log.drain()
        store.away = None
        await log.note(replace(ENTRY, what="3"))
        records = await store.page()
        assert [record.entry.what for record in records] == ["1", "2", "3"]
        assert records[1].at - records[0].at == 5

    async def test_telling_never_raises(self, store, ring, clock):
        closed = HomeLoop()
        log = AuditLog(store=store, keyring=ring, clock=clock, home=closed)
        await asyncio.to_thread(lambda: closed.block(lambda: asyncio.sleep(0)))
        await asyncio.to_thread(closed.close)
        log.tell(ENTRY)
        log.tell(None)  # type: ignore[arg-type]

    async def test_an_entry_that_no_database_takes_is_in_nobodys_way(self, store, ring, clock):
        store.poison = "poison"
        log = log_of(store, ring, clock)
        told = [log.note(replace(ENTRY, what=what)) for what in ("a", "poison", "b")]
        ended = await asyncio.gather(*told, return_exceptions=True)
        assert [type(each) for each in ended] == [type(None), StoreUnavailable, type(None)]
        log.tell(replace(ENTRY, what="poison"))
        await log.drain()
        await log.note(replace(ENTRY, what="c"))
        assert [record.entry.what for record in await store.page()] == ["a", "b", "c"]
        assert log.dropped == 1

    async def test_only_so_many_entries_wait_and_what_is_lost_is_counted(self, store, ring, clock):
        store.away = StoreUnavailable("away")
        log = log_of(store, ring, clock)
        log._waiting = [(0.0, ENTRY, None)] * QUEUE
        log.tell(ENTRY)
        with pytest.raises(StoreUnavailable, match="fast enough"):
            await log.note(ENTRY)
        assert log.dropped == 1

    @pytest.mark.requirement("R-34")
    async def test_a_further_place_that_fails_harms_nothing_and_is_said_once(self, store, ring, clock, caplog):
        kept: list[Record] = []

        def broken(record: Record) -> None:
            raise OSError("disk full: secret-canary")

        log = log_of(store, ring, clock, broken, kept.append)
        for _ in range(3):
            await log.note(ENTRY)
        assert len(kept) == 3
        assert caplog.text.count("a further place for the audit log failed: OSError") == 1
        assert "canary" not in caplog.text

    async def test_who_waits_is_told_when_the_loop_ends(self, store, ring, clock):
        store.away = StoreUnavailable("away")
        own = HomeLoop()
        log = AuditLog(store=store, keyring=ring, clock=clock, home=own)
        with pytest.raises(StoreUnavailable):
            await log.note(ENTRY)
        await asyncio.to_thread(own.close)


def change(seq: int, **changes: object) -> Callable[[dict[int, Record]], None]:
    def tamper(rows: dict[int, Record]) -> None:
        rows[seq] = replace(rows[seq], entry=replace(rows[seq].entry, **changes))  # type: ignore[arg-type]

    return tamper


def swap(rows: dict[int, Record]) -> None:
    rows[3], rows[4] = replace(rows[4], seq=3), replace(rows[3], seq=4)


def swap_contents(rows: dict[int, Record]) -> None:
    rows[3], rows[4] = replace(rows[3], entry=rows[4].entry), replace(rows[4], entry=rows[3].entry)


def insert(rows: dict[int, Record]) -> None:
    for seq in range(6, 2, -1):
        rows[seq + 1] = replace(rows[seq], seq=seq + 1)
    rows[3] = replace(rows[2], seq=3)


TAMPERED = [
    (change(3, outcome="ok"), [(3, "changed")]),
    (change(1, subject="bob"), [(1, "changed")]),
    (change(6, details={}), [(6, "changed")]),
    (lambda rows: rows.update({3: replace(rows[3], at=rows[3].at + 1)}), [(3, "changed")]),
    (lambda rows: rows.pop(3), [(3, "missing")]),
    (lambda rows: rows.pop(1), [(1, "missing")]),
    (lambda rows: (rows.pop(3), rows.pop(4)), [(3, "missing"), (4, "missing")]),
    (swap, [(3, "changed"), (4, "changed"), (5, "changed")]),
    (swap_contents, [(3, "changed"), (4, "changed")]),
    (insert, [(3, "changed"), (4, "changed"), (5, "changed"), (6, "changed"), (7, "changed")]),
    (lambda rows: rows.update({7: replace(rows[6], seq=7)}), [(7, "changed")]),
    (lambda rows: rows.update({4: replace(rows[4], mac="0" * 64)}), [(4, "changed"), (5, "changed")]),
    (lambda rows: rows.update({4: replace(rows[4], key_id="k9")}), [(4, "key_missing")]),
]


@pytest.mark.requirement("C7.audit")
@pytest.mark.parametrize(("tamper", "found"), TAMPERED)
async def test_what_was_tampered_with_is_named_by_its_number(store, ring, clock, tamper, found):
    await written(store, ring, clock)
    assert (await verify(store, ring)).whole
    store.tamper(tamper)
    report = await verify(store, ring)
    assert report.faults == [Fault(*each) for each in found]
    assert not report.whole


@pytest.mark.requirement("C7.audit")
async def test_a_tail_that_was_removed_is_told_by_another_place(store, ring, clock):
    await written(store, ring, clock)
    kept = {record.seq: record.mac for record in await store.page()}
    store.tamper(lambda rows: (rows.pop(5), rows.pop(6)))
    assert (await verify(store, ring)).whole  # a chain alone cannot tell
    report = await verify(store, ring, kept=kept)
    assert report.faults == [Fault(5, "not_in_database"), Fault(6, "not_in_database")]


async def test_a_chain_that_was_written_anew_differs_from_the_other_place(store, ring, clock):
    await written(store, ring, clock)
    kept = {record.seq: record.mac for record in await store.page()}
    again = Store()
    await written(again, ring, clock, 5)
    clock.advance(1)
    await written(again, ring, clock, 1)
    assert (await verify(again, ring, kept=kept)).faults == [Fault(6, "differs_from_file")]


async def test_the_chain_goes_on_over_a_rotation_of_the_keys(store, ring, keys, clock):
    log = await written(store, ring, clock)
    keys.ids.insert(0, "k2")
    clock.advance(2)
    await log.note(ENTRY)
    assert [record.key_id for record in await store.page()] == ["k1"] * 6 + ["k2"]
    assert (await verify(store, ring)).whole


async def test_without_the_key_nobody_can_write_a_chain_that_holds(store, ring, clock):
    await written(store, ring, clock)
    forged = Store()
    await written(forged, Keyring(Given("k1-of-mine"), ticks=clock.monotonic), clock)
    forged.tamper(lambda rows: rows.update({n: replace(row, key_id="k1") for n, row in rows.items()}))
    assert (await verify(forged, ring)).count == 6


async def test_a_log_longer_than_a_page_is_walked_to_its_end(store, ring, clock):
    log = log_of(store, ring, clock)
    await asyncio.gather(*(log.note(ENTRY) for _ in range(1_203)))
    store.tamper(change(1_100, outcome="x"))
    report = await verify(store, ring)
    assert (report.records, report.faults) == (1_203, [Fault(1_100, "changed")])


def test_very_many_faults_are_counted_and_not_all_listed():
    report = Report()
    report.add(1, "missing", times=10_000_000)
    report.add(10_000_001, "changed")
    assert (report.count, len(report.faults)) == (10_000_001, 1_000)


class TestFile:
    async def test_only_its_owner_can_read_it_whatever_the_umask(self, tmp_path, store, ring, clock):
        path = tmp_path / "logs" / "audit.jsonl"
        before = os.umask(0)
        try:
            kept = AuditFile(path)
            await log_of(store, ring, clock, kept).note(ENTRY)
        finally:
            os.umask(before)
        kept.close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        [told] = map(json.loads, path.read_text().splitlines())
        assert (told["seq"], told["mac"], told["time"]) == (
            1,
            (await store.page())[0].mac,
            "2025-06-15T15:06:40.000+00:00",
        )

    async def test_it_is_opened_anew_when_it_was_rotated_away(self, tmp_path, store, ring, clock):
        path = tmp_path / "audit.jsonl"
        kept = AuditFile(path)
        log = log_of(store, ring, clock, kept)
        await log.note(ENTRY)
        path.rename(tmp_path / "audit.1")
        await log.note(ENTRY)
        path.unlink()
        await log.note(ENTRY)
        os.truncate(path, 0)
        await log.note(ENTRY)
        kept.close()
        assert [json.loads(line)["seq"] for line in path.read_text().splitlines()] == [4]
        assert json.loads((tmp_path / "audit.1").read_text())["seq"] == 1

    @pytest.mark.requirement("C7.audit")
    async def test_two_writers_share_it_without_mixing_their_lines(self, tmp_path, two):
        path = tmp_path / "audit.jsonl"
        files = [AuditFile(path), AuditFile(path)]
        for log, kept in zip(two, files, strict=True):
            log._also = (kept,)
        await asyncio.gather(*(log.note(ENTRY) for _ in range(20) for log in two))
        for kept in files:
            kept.close()
        assert sorted(json.loads(line)["seq"] for line in path.read_text().splitlines()) == list(range(1, 41))

    def test_one_that_others_can_read_is_closed_to_them(self, tmp_path):
        path = tmp_path / "audit.jsonl"
        path.touch(0o644)
        path.chmod(0o644)
        AuditFile(path)(Record(seq=1, at=1.0, entry=ENTRY, mac="m", key_id="k"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_link_in_its_place_is_not_followed(self, tmp_path):
        (tmp_path / "audit.jsonl").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match=r"symbolic|levels"):
            AuditFile(tmp_path / "audit.jsonl")(Record(seq=1, at=1.0, entry=ENTRY, mac="m", key_id="k"))
        assert not (tmp_path / "elsewhere").exists()


@pytest.mark.requirement("seed004.bp-monitoring", "d29.suspicious")
async def test_the_metrics_get_every_record_and_the_alarm(store, ring, clock):
    recorder = KeepingRecorder()
    log = log_of(store, ring, clock, counted(recorder))
    await log.note(ENTRY)
    suspect(log)("address", "203.0.113.7", "20")
    suspect(log)("subject", "ann", "20")
    await log.drain()
    assert recorder.of(Audited)[0] == Audited(action="call", outcome="denied")
    assert recorder.of(Suspicious) == (Suspicious(kind="address"), Suspicious(kind="subject"))
    _, address, subject = await store.page()
    assert (address.entry.address, address.entry.what, subject.entry.what) == ("203.0.113.7", "", "ann")


class TestCommand:
    def listed(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
        assert main(["audit", "list", "--json", *arguments]) == 0
        rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
        return rows

    @pytest.fixture(autouse=True)
    def blocked(self, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("ann", "bob", "\u202ecat"):
            main(["blocks", "add", "user", name])
        main(["blocks", "remove", "user", "ann"])
        capsys.readouterr()

    @pytest.mark.requirement("C7.audit", "d.commands-identity")
    def test_records_are_listed_the_newest_last_and_by_what_is_asked(self, capsys):
        assert [row["action"] for row in self.listed(capsys)] == ["block", "block", "unblock"]
        assert [row["number"] for row in self.listed(capsys, "--limit", "2")] == [2, 3]
        assert [row["what"] for row in self.listed(capsys, "--action", "unblock")] == ["ann"]
        assert [row["what"] for row in self.listed(capsys, "--action", "bl*")] == ["ann", "bob"]
        assert len(self.listed(capsys, "--user", "command line")) == 3
        assert self.listed(capsys, "--user", "ann") == []
        assert len(self.listed(capsys, "--since", "1h")) == 3
        assert self.listed(capsys, "--since", "2099-01-01") == []
        assert main(["audit", "list"]) == 0
        assert "unblock" in capsys.readouterr().out

    @pytest.mark.parametrize("arguments", [["--since", "soon"], ["--limit", "0"]])
    def test_what_cannot_be_asked_is_bad_usage(self, arguments):
        assert main(["audit", "list", *arguments]) == 2

    @pytest.mark.requirement("C7.audit")
    def test_a_whole_log_is_verified_and_a_broken_one_is_an_exit_status(self, capsys, home):
        assert main(["audit", "verify"]) == 0
        assert "as it was written" in capsys.readouterr().out
        database = SqliteDatabase(home / "valetkey.db", ticks=lambda: 0.0)
        [_, second, _] = asyncio.run(SqlAudit(database).page())
        kept = home / "kept.jsonl"
        kept.write_text(line(second) + "\nno json\n" + line(replace(second, seq=4)) + "\n")
        assert main(["audit", "verify", "--file", str(kept)]) == 1
        told = capsys.readouterr().out
        assert "Record 4 is in the file and not in the database." in told
        assert "Lines of the file that cannot be read: 1." in told
        database.close()
        with contextlib.closing(sqlite3.connect(home / "valetkey.db")) as raw, raw:
            raw.execute("DELETE FROM audit WHERE seq = 2")
        assert main(["audit", "verify", "--json"]) == 1
        [report] = json.loads(capsys.readouterr().out)
        assert (report["whole"], report["faults"]) == (False, [{"number": 2, "what": "missing"}])
        assert main(["audit", "verify", "--file", str(home / "none")]) == 2
