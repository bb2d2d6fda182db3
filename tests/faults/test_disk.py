"""R-15: the disk is full, or may only be read."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from valetkey.model.connections import Health

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, and another account taken on: needs root"),
]

NOBODY = 65534


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Leave not a byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return filler


def sound(folder: Path) -> bool:
    with closing(sqlite3.connect(folder / "valetkey.db")) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.requirement("B.shown-disk", "R-15")
def test_a_rotation_that_comes_when_the_disk_is_full_is_held_and_saved_when_there_is_room(places, small_disk):
    place = places("sqlite", folder=small_disk)
    account = place.account()
    before = place.held()
    worker = place.worker()
    place.oidc.hold(account.refresh_token, "after")
    call = worker.begin("call", owner="ann")
    place.oidc.wait_held(account.refresh_token)
    filler = fill(small_disk)
    place.oidc.release(account.refresh_token)
    (outcome,) = worker.end(call)
    assert place.held().sealed == before.sealed, "the row is as it was, and whole"
    assert list(place.system.journal.entries()) == [], "not even the journal could be written"
    assert worker.call("ann")["token"] == outcome["token"] != account.access_token
    assert worker.do("replay") == 1

    filler.unlink()
    assert worker.do("replay") == 0
    family = place.oidc.family(account.refresh_token)
    assert place.tokens() == (outcome["token"], family.newest)
    assert (place.held().generation, place.held().health) == (2, Health.OK)
    assert (family.refreshes, family.alive) == (1, True)
    assert sound(small_disk)


@pytest.mark.requirement("B.shown-disk", "R-15")
def test_on_a_full_disk_nothing_is_sent_that_could_not_be_saved(places, small_disk):
    place = places("sqlite", folder=small_disk)
    account, valid = place.account(), place.account("valid", ends_in=3600)
    worker = place.worker()
    filler = fill(small_disk)
    outcome = worker.call("ann")
    assert outcome["error"] == "StoreUnavailable"
    assert "disk is full" in outcome["text"]
    assert worker.call("valid")["token"] == valid.access_token
    assert place.oidc.family(account.refresh_token).refreshes == 0
    filler.unlink()
    outcome = worker.call("ann")
    assert outcome.get("token") == place.tokens()[0] != account.access_token, outcome
    assert sound(small_disk)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every account can reach, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    shutil.rmtree(folder)


@pytest.mark.requirement("R-15")
def test_where_the_database_may_only_be_read_what_serves_is_served_and_nothing_is_sent(places, shared_folder):
    place = places("sqlite", folder=shared_folder)
    account, valid = place.account(), place.account("valid", ends_in=3600)
    worker = place.worker()
    shared_folder.chmod(0o555)
    for path in shared_folder.iterdir():
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o400)
    worker.do("become", account=NOBODY)
    outcome = worker.call("ann")
    assert outcome["error"] == "StoreUnavailable"
    assert "may only be read" in outcome["text"]
    assert worker.call("valid")["token"] == valid.access_token
    assert place.oidc.family(account.refresh_token).refreshes == 0
    os.chown(shared_folder, NOBODY, NOBODY)
    shared_folder.chmod(0o700)
    for path in shared_folder.iterdir():
        path.chmod(0o600)
    outcome = worker.call("ann")
    assert outcome.get("token") == place.tokens()[0] != account.access_token, outcome
