"""Keys in the operating system's keyring, with a backend of the test's own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vault.test_keysources import ONE, line, materials
from valetkey.adapters.keys_os import OsKeys
from valetkey.adapters.system import SystemEntropy
from valetkey.errors import KeyUnavailable
from valetkey.testing.clock import ManualClock
from valetkey.vault.keyring import Keyring

keyring = pytest.importorskip("keyring")
from keyring.backend import KeyringBackend  # noqa: E402 - where the library is there
from keyring.errors import KeyringLocked  # noqa: E402


class Backend(KeyringBackend):
    """A keyring in a dict."""

    priority: float = 9

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}
        self.error: Exception | None = None
        self.asked = 0

    def get_password(self, service: str, username: str) -> str | None:
        """What was put there."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Put it there."""
        if self.error is not None:
            raise self.error
        self.held[service, username] = password


class Plain(Backend):
    """One that keeps plain text in a file, as the library ranks it."""

    priority = 0.5


class Forgetful(Backend):
    """One that keeps nothing."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Do nothing."""


@pytest.fixture
def backend() -> Iterator[Backend]:
    before, ours = keyring.get_keyring(), Backend()
    keyring.set_keyring(ours)
    yield ours
    keyring.set_keyring(before)


def source(tmp_path: Path, *, account: str = "/srv/ada/.valetkey", clock: ManualClock | None = None) -> OsKeys:
    return OsKeys(
        account, folder=tmp_path / "home", entropy=SystemEntropy(), clock=clock or ManualClock(1_750_000_000.5)
    )


@pytest.mark.requirement("B3.sources")
def test_a_key_is_made_at_the_first_need_and_said(tmp_path, backend, caplog):
    (made,) = source(tmp_path).keys()
    assert len(made.material) == 32
    assert (made.created_at, made.source) == (1_750_000_000, "os keyring")
    assert source(tmp_path).keys() == (made,)
    assert list(backend.held) == [("valetkey", "/srv/ada/.valetkey")]
    assert "Made a vault key in the OS keyring" in caplog.text
    assert made.material.hex() not in caplog.text


def test_each_data_folder_has_an_entry_of_its_own(tmp_path, backend):
    (one,) = source(tmp_path).keys()
    backend.held["valetkey", "other"] = line(ONE)
    assert materials(source(tmp_path, account="other")) == [ONE]
    assert source(tmp_path).keys() == (one,)


@pytest.mark.usefixtures("backend")
def test_keys_are_added_newest_first_and_removed(tmp_path):
    keys = source(tmp_path)
    (first,) = keys.keys()
    second = keys.add()
    assert source(tmp_path).keys() == (second, first)
    with pytest.raises(KeyUnavailable, match="Add another one first"):
        keys.remove(second.id)
    keys.remove(first.id)
    keys.remove(first.id)
    assert source(tmp_path).keys() == (second,)


@pytest.mark.requirement("B3.noticed")
@pytest.mark.usefixtures("backend")
def test_another_process_s_key_writes_within_five_seconds(tmp_path):
    clock = ManualClock()
    ring = Keyring(source(tmp_path, clock=clock), ticks=clock.monotonic)
    before = ring.newest
    added = source(tmp_path).add()
    assert ring.newest == before != added.id
    for _ in range(5):
        clock.advance(1)
        newest = ring.newest
    assert newest == added.id


@pytest.mark.usefixtures("backend")
def test_a_row_of_a_key_that_was_just_added_is_opened_at_once(tmp_path):
    ring = Keyring(source(tmp_path), ticks=lambda: 0.0)
    assert ring.newest
    added = source(tmp_path).add()
    ring.cipher(added.id)
    assert ring.newest == added.id


def test_it_is_asked_seldom_however_much_is_sealed(tmp_path, backend):
    clock = ManualClock()
    ring = Keyring(source(tmp_path, clock=clock), ticks=clock.monotonic)
    assert ring.newest
    backend.asked = 0
    for _ in range(300):
        clock.advance(0.1)
        assert ring.newest
    assert backend.asked <= 10


def test_it_does_not_grow_beyond_what_every_keyring_keeps(tmp_path, backend):
    keys = source(tmp_path)
    for _ in range(10):
        keys.add()
    with pytest.raises(KeyUnavailable, match=r"as many keys as fit.*--drop-old"):
        keys.add()
    assert len(keys.keys()) == 11
    assert max(map(len, backend.held.values())) <= 1_280


def test_keys_that_went_away_are_not_made_again(tmp_path, backend):
    keys = source(tmp_path)
    keys.keys()
    backend.held.clear()
    with pytest.raises(KeyUnavailable, match="went away"):
        keys.keys()
    assert backend.held == {}


def test_a_damaged_entry_is_said_and_not_written_anew(tmp_path, backend):
    backend.held["valetkey", "/srv/ada/.valetkey"] = line(ONE)[:-4] + "\n"
    for act in (source(tmp_path).keys, source(tmp_path).add):
        with pytest.raises(KeyUnavailable, match="damaged"):
            act()
    assert backend.held == {("valetkey", "/srv/ada/.valetkey"): line(ONE)[:-4] + "\n"}


WHAT_TO_DO = r"unlock its keyring; or, on a server, take vault_key = \"keyring:\" out of the settings"


@pytest.mark.requirement("R-24")
@pytest.mark.parametrize("error", [KeyringLocked("canary"), RuntimeError("canary"), OSError("canary")], ids=repr)
def test_a_keyring_that_stays_locked_says_what_to_do(tmp_path, backend, error):
    backend.error = error
    with pytest.raises(KeyUnavailable, match=WHAT_TO_DO) as caught:
        source(tmp_path).keys()
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("kind", [Plain, Forgetful])
@pytest.mark.usefixtures("backend")
def test_a_backend_that_keeps_plain_text_or_nothing_is_refused(tmp_path, kind):
    ours = kind()
    keyring.set_keyring(ours)
    with pytest.raises(KeyUnavailable, match=WHAT_TO_DO):
        source(tmp_path).keys()
    assert ours.held == {}


@pytest.mark.usefixtures("backend")
def test_no_backend_at_all_is_said(tmp_path):
    from keyring.backends.fail import Keyring as Fail

    keyring.set_keyring(Fail())
    with pytest.raises(KeyUnavailable, match=WHAT_TO_DO):
        source(tmp_path).keys()


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(KeyUnavailable, match=r"pip install 'valetkey\[keyring\]'"):
        source(tmp_path).keys()
