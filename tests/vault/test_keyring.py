"""Which key writes, which keys open, and when they are read."""

import hashlib
import hmac
import logging
import subprocess
import sys
import threading

import pytest

from tests.vault.keys import Given, a_ring, material
from valetkey.errors import KeyUnavailable
from valetkey.ports.world import Key
from valetkey.testing.clock import ManualClock
from valetkey.vault import keyring
from valetkey.vault.keyring import Keyring, Purpose


def hkdf(root: bytes, info: bytes) -> bytes:
    """RFC 5869 §2 with SHA-256, no salt, and one block of output."""
    extracted = hmac.digest(b"\0" * 32, root, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


@pytest.mark.parametrize("purpose", ["seal", "sign", "hash", "wire"])
def test_each_purpose_has_a_key_of_its_own_by_hkdf(purpose):
    ring = a_ring(Given("new", "old"))
    for key_id in ("new", "old"):
        expected = hkdf(material(key_id), f"valetkey {purpose} 1".encode())
        assert ring.subkey(Purpose(purpose), key_id) == expected
        assert ring.subkey(Purpose(purpose), key_id) == expected


def test_the_helper_above_computes_what_rfc_5869_prints():
    # Appendix A.3: no salt, no info; the first 32 of its 42 bytes.
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert hkdf(b"\x0b" * 22, b"").hex() == expected


def test_nothing_is_read_before_the_first_need_and_then_once():
    source = Given("new", "old")
    ring = a_ring(source)
    assert source.asked == 0
    assert ring.newest == "new"
    assert ring.ids() == ("new", "old")
    ring.cipher("old")
    assert source.asked == 1


class Door:
    """A lock that opens when all have come to it."""

    def __init__(self, count: int) -> None:
        self._all = threading.Barrier(count)
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._all.wait(10)
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


def test_keys_are_read_once_by_all_threads():
    source = Given("k1")
    ring = a_ring(source)
    ring._loading = Door(8)  # type: ignore[assignment]
    threads = [threading.Thread(target=lambda: ring.newest) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert source.asked == 1


def test_a_new_first_key_writes_after_reloading():
    source = Given("k1")
    ring = a_ring(source)
    assert ring.newest == "k1"
    source.ids.insert(0, "k2")
    assert ring.newest == "k1"
    ring.reload()
    assert ring.newest == "k2"
    assert ring.ids() == ("k2", "k1")


def timed(*ids: str) -> tuple[Keyring, Given, ManualClock]:
    source, clock = Given(*ids), ManualClock()
    return Keyring(source, ticks=clock.monotonic), source, clock


@pytest.mark.requirement("B3.noticed")
def test_a_new_first_key_writes_within_five_seconds_by_itself():
    """V-06."""
    ring, source, clock = timed("k1")
    assert ring.newest == "k1"
    source.ids.insert(0, "k2")
    clock.advance(5)
    assert ring.newest == "k2"
    source.ids.insert(0, "k3")
    assert ring.newest == "k2"
    clock.advance(5)
    assert ring.newest == "k3"


def test_the_source_is_looked_at_once_a_second_however_much_is_sealed():
    ring, source, clock = timed("k1")
    for _ in range(1_000):
        assert ring.newest == "k1"
        ring.cipher("k1")
    assert (source.asked, source.looked) == (1, 1)
    for _ in range(10):
        clock.advance(1)
        for _ in range(1_000):
            assert ring.newest == "k1"
    assert (source.asked, source.looked) == (1, 11)


def test_one_who_only_opens_never_looks():
    ring, source, clock = timed("k1")
    ring.cipher("k1")
    looked = source.looked
    clock.advance(3600)
    for _ in range(100):
        ring.cipher("k1")
    assert source.looked == looked


def test_of_many_threads_one_looks_and_all_write_with_what_it_saw():
    ring, source, clock = timed("k1")
    assert ring.newest == "k1"
    source.ids.insert(0, "k2")
    clock.advance(5)
    ring._loading = Door(8)  # type: ignore[assignment]
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(ring.newest)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == ["k2"] * 8
    assert (source.asked, source.looked) == (2, 3)


def test_keys_known_so_far_go_on_writing_while_the_source_fails_and_that_is_said_once(caplog):
    """R-24."""
    ring, source, clock = timed("k1")
    assert ring.newest == "k1"
    source.error = KeyUnavailable("The key store does not answer. Try again.")
    for _ in range(3):
        clock.advance(5)
        assert ring.newest == "k1"
        ring.cipher("k1")
    assert len([record for record in caplog.records if "does not answer" in record.getMessage()]) == 1
    source.ids.insert(0, "k2")
    source.error = None
    clock.advance(5)
    assert ring.newest == "k2"


def test_a_change_while_the_source_is_read_is_not_missed():
    class Late(Given):
        """Its keys change between reading them and the next look."""

        def keys(self, *, make: bool = True) -> tuple[Key, ...]:
            found = super().keys()
            if self.ids == ["k1"]:
                self.ids.insert(0, "k2")
            return found

    clock = ManualClock()
    ring = Keyring(Late("k1"), ticks=clock.monotonic)
    assert ring.newest == "k1"
    clock.advance(5)
    assert ring.newest == "k2"


@pytest.mark.requirement("V-05.counted")
def test_very_many_seals_with_one_key_are_said_once(monkeypatch, caplog):
    """V-05: NIST SP 800-38D §8.3 allows 2^32 with random nonces; sixteen processes may do a sixteenth each."""
    assert keyring.WARN_AT * 16 == 2**32
    monkeypatch.setattr(keyring, "WARN_AT", 1_000)
    caplog.set_level(logging.INFO, "valetkey")
    ring = a_ring(Given("k2", "k1"))
    for _ in range(999):
        ring.count("k2")
    ring.count("k1")
    assert caplog.records == []

    def count() -> None:
        for _ in range(500):
            ring.count("k2")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "key k2 has sealed 1000 times" in record.getMessage()
    assert "valetkey vault rotate" in record.getMessage()


@pytest.mark.requirement("B3.noticed")
def test_a_key_that_another_process_added_is_found_without_a_restart():
    source = Given("k1")
    ring = a_ring(source)
    ring.cipher("k1")
    source.ids.insert(0, "k2")
    assert ring.subkey(Purpose.SEAL, "k2") == hkdf(material("k2"), b"valetkey seal 1")
    assert ring.newest == "k2"


def test_a_key_that_was_taken_away_opens_nothing_after_reloading():
    source = Given("k2", "k1")
    ring = a_ring(source)
    ring.cipher("k1")
    source.ids.remove("k1")
    ring.reload()
    with pytest.raises(KeyUnavailable):
        ring.cipher("k1")


def test_an_unknown_key_is_named_with_what_to_do():
    with pytest.raises(KeyUnavailable, match=r"vault key k9 .* VALETKEY_VAULT_KEY.* connect the account again\.$"):
        a_ring(Given("k1")).cipher("k9")


def test_known_keys_stay_when_the_source_fails():
    source = Given("k1")
    ring = a_ring(source)
    cipher = ring.cipher("k1")
    source.error = KeyUnavailable("The key store does not answer. Try again.")
    with pytest.raises(KeyUnavailable, match="does not answer"):
        ring.reload()
    with pytest.raises(KeyUnavailable, match="vault key k9"):
        ring.cipher("k9")
    assert ring.cipher("k1") is cipher


def test_asking_for_an_unknown_key_does_not_make_the_others_anew():
    ring = a_ring(Given("k1"))
    cipher = ring.cipher("k1")
    with pytest.raises(KeyUnavailable):
        ring.cipher("k9")
    assert ring.cipher("k1") is cipher


class Broken(Given):
    """A source with keys that cannot be used."""

    def __init__(self, *keys: Key) -> None:
        super().__init__()
        self._keys = keys

    def keys(self, *, make: bool = True) -> tuple[Key, ...]:
        """Those keys."""
        return self._keys


@pytest.mark.parametrize("keys", [(), (Key(id="k1", material=b"x" * 31),), (Key(id="k1", material=b""),)])
def test_keys_that_cannot_be_used_are_refused(keys):
    with pytest.raises(KeyUnavailable):
        _ = a_ring(Broken(*keys)).newest


def test_no_key_is_printed():
    ring = a_ring(Given("k1"))
    ring.cipher("k1")
    seen = repr((ring, ring._ring, Given("k1").keys()))
    for secret in (material("k1"), ring.subkey(Purpose.SEAL, "k1")):
        assert repr(secret)[2:-1] not in seen
        assert secret.hex() not in seen


def test_importing_the_vault_does_not_load_cryptography():
    program = (
        "import sys, valetkey.vault.keyring, valetkey.vault.seal;"
        "print([name for name in sys.modules if name.startswith('cryptography')])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.strip() == "[]"


def test_key_material_is_what_sha256_says():
    # Guards the helper: two ids never give one key.
    assert material("k1") != material("k2")
    assert len(hashlib.sha256(b"k1").digest()) == 32
