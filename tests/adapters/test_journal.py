"""The journal's files: on the disk, private, another database's left alone, damage set aside."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stores.values import a_connection
from valetkey.adapters.journal import FileJournal
from valetkey.errors import StoreUnavailable
from valetkey.model.connections import Cause, Health, Sealed


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def journal(folder):
    return FileJournal(folder, database="sqlite /somewhere/valetkey.db")


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_was_put_comes_back_as_it_was_in_another_process_too(journal, folder):
    row = a_connection(
        generation=8, refresh_at=3.5, account=None, expires_at=None, health=Health.TRANSIENT, cause=Cause.UNAVAILABLE
    )
    journal.put(row, generation=7)
    other = FileJournal(folder, database="sqlite /somewhere/valetkey.db")
    assert other.of(row.id) == (row, 7)
    assert list(other.entries()) == [(row, 7)]


@pytest.mark.requirement("B1.journal")
def test_it_is_flushed_to_the_disk_before_it_is_named(journal, folder, monkeypatch):
    done = []
    fsync, rename = os.fsync, os.replace

    def flushing(descriptor):
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def naming(*names):
        done.append("named")
        rename(*names)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(os, "replace", naming)
    journal.put(a_connection(), generation=1)
    draft, *rest = done
    assert ".json" in draft
    assert rest[0] == "named" or str(folder) in rest[0]
    assert str(journal._folder) in done[done.index(draft) + 1 :]


@pytest.mark.requirement("V-11")
def test_others_cannot_read_it_whatever_the_umask(journal, folder):
    before = os.umask(0)
    try:
        journal.put(a_connection(), generation=1)
    finally:
        os.umask(before)
    (file,) = files(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_newest_of_a_connection_takes_the_place_of_the_one_before(journal, folder):
    row = a_connection()
    journal.put(row, generation=1)
    newer = replace(row, generation=3, sealed=Sealed(b"newer"))
    journal.put(newer, generation=2)
    assert list(journal.entries()) == [(newer, 2)]
    journal.remove(row)
    assert list(journal.entries()) == [(newer, 2)], "only what was saved goes"
    journal.remove(newer)
    journal.remove(newer)
    assert files(folder) == []


def test_another_databases_entries_are_left_alone(journal, folder):
    row = a_connection()
    journal.put(row, generation=1)
    other = FileJournal(folder, database="postgresql elsewhere")
    assert other.of(row.id) is None
    assert list(other.entries()) == []


@pytest.mark.requirement("rel.journal-home")
@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"version": 1}', b"\xff\xfe", b'{"replaces": 1, "connection": {}}']
)
def test_a_damaged_entry_is_set_aside_and_costs_no_other(journal, folder, damage, caplog):
    good, bad = a_connection(), a_connection()
    journal.put(good, generation=1)
    journal.put(bad, generation=1)
    (path,) = [path for path in files(folder) if path.stem == bad.id]
    path.write_bytes(damage)
    assert list(journal.entries()) == [(good, 1)]
    assert "set aside" in caplog.text
    assert [path.suffix for path in files(folder) if path.stem == bad.id] == [".damaged"]
    assert journal.of(bad.id) is None


def test_a_field_of_a_newer_version_is_passed_over(journal, folder):
    row = a_connection()
    journal.put(row, generation=1)
    (path,) = files(folder)
    held = json.loads(path.read_bytes())
    held["connection"]["from_the_future"] = 1
    path.write_text(json.dumps(held))
    assert journal.of(row.id) == (row, 1)


def test_a_disk_that_cannot_take_it_says_so_and_leaves_no_half_file(journal, folder, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        journal.put(a_connection(), generation=1)
    assert files(folder) == []


def test_nothing_is_made_before_it_is_needed(journal, folder):
    assert list(journal.entries()) == []
    assert journal.of("0" * 32) is None
    journal.remove(a_connection())
    assert not folder.exists()


def test_no_id_leads_out_of_its_folder(journal, folder, tmp_path):
    row = a_connection(id="../../out")
    journal.put(row, generation=1)
    assert journal.of(row.id) == (row, 1)
    assert files(tmp_path) == files(journal._folder)
