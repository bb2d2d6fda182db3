"""Which keys exist and which one writes: to seal, to sign, to hash, to speak to each other. One rotation for all."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from valetkey.errors import KeyUnavailable
from valetkey.ports.world import Key, KeySource

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PROCESS = "process"
"""The id of the key that is nowhere but in this process."""

LOOK_EVERY = 1.0
"""Seconds after which whoever seals looks whether there is a newer key; all have seen it within 5 s."""

LIMIT = 2**32
"""Seals with random nonces that one key may do, in all processes together (NIST SP 800-38D §8.3)."""

WARN_AT = LIMIT // 16
"""Seals of this process alone at which it warns: sixteen that do as much are at the limit."""

_log = logging.getLogger("valetkey")
_SIZE = 32
_CIPHERS = 4096  # workspaces times keys, kept ready


class Purpose(StrEnum):
    """What a key derived from a root key is for; no two purposes share one."""

    SEAL = "seal"
    SIGN = "sign"
    HASH = "hash"
    WIRE = "wire"


@dataclass(frozen=True, slots=True)
class _Ring:
    """What one reading of the source gave, and what was derived from it."""

    newest: str
    roots: dict[str, Key]
    derived: dict[tuple[Purpose, str], bytes] = field(default_factory=dict, repr=False)
    ciphers: dict[tuple[str, str], AESGCM] = field(default_factory=dict, repr=False)


class Keyring:
    """The root keys of a source, and one key for each purpose derived from each (HKDF-SHA-256, RFC 5869).

    Nothing is read or made before the first need. May be called from any thread. ``ticks`` are seconds that never go
    back: by them the source is asked now and then whether its keys changed, and only by who is about to seal.
    """

    def __init__(self, source: KeySource, *, ticks: Callable[[], float]) -> None:
        self.source = source
        self._ticks = ticks
        self._ring: _Ring | None = None
        self._process: _Ring | None = None
        self._loading = threading.Lock()
        self._stamp: Hashable = None
        self._look_at = 0.0
        self._complained = ""
        self._seals: dict[str, Iterator[int]] = {}

    @property
    def newest(self) -> str:
        """The id of the key that writes.

        Raises:
            KeyUnavailable: the source has no key that can be used.
        """
        ring = self._ring
        if ring is None:
            ring = self._load()
        elif self._ticks() >= self._look_at:
            ring = self._look(ring)
        return ring.newest

    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, newest first.

        Raises:
            KeyUnavailable: the source has no key that can be used.
        """
        return tuple((self._ring or self._load()).roots)

    def count(self, key_id: str) -> None:
        """Count one more seal with that key; say so once where this process alone has done very many."""
        counter = self._seals.get(key_id)
        if counter is None:
            counter = self._seals.setdefault(key_id, itertools.count(1))
        if next(counter) == WARN_AT:  # drawing a number is one step: no thread gets another's
            _log.warning(
                "The vault key %s has sealed %d times in this process; all processes together may do %d."
                " Run: valetkey vault rotate",
                key_id,
                WARN_AT,
                LIMIT,
            )

    def subkey(self, purpose: Purpose, key_id: str) -> bytes:
        """The 32 bytes for one purpose under one root key.

        Raises:
            KeyUnavailable: that root key is not here.
        """
        ring = self._ring_with(key_id)
        known = ring.derived.get((purpose, key_id))
        return known if known is not None else _derive(ring, purpose, key_id)

    def cipher(self, key_id: str, workspace: str = "") -> AESGCM:
        """AES-256-GCM under the key by which one workspace seals; no two workspaces have the same.

        Raises:
            KeyUnavailable: that root key is not here.
        """
        ring = self._ring_with(key_id)
        cipher = ring.ciphers.get((key_id, workspace))
        if cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - Pocket loads without it

            if len(ring.ciphers) >= _CIPHERS:
                ring.ciphers.clear()
            sealing = self.subkey(Purpose.SEAL, key_id)
            cipher = ring.ciphers[key_id, workspace] = AESGCM(_expand(sealing, f"valetkey workspace 1 {workspace}"))
        return cipher

    def reload(self) -> None:
        """Read the source again: a key put before the others writes from now on.

        Raises:
            KeyUnavailable: the source has no key that can be used; the keys known so far stay.
        """
        with self._loading:
            self._take()

    def _load(self) -> _Ring:
        with self._loading:
            return self._ring or self._take()

    def _look(self, ring: _Ring) -> _Ring:
        """What the source has now, where it changed; one thread looks, and the others wait for what it sees."""
        with self._loading:
            if self._ticks() < self._look_at:
                return self._ring or ring
            self._look_at = self._ticks() + LOOK_EVERY
            if self.source.stamp() == self._stamp:
                return self._ring or ring
            try:
                found = self._take()
            except KeyUnavailable as error:
                # What is known goes on working, whatever became of the source.
                if error.message != self._complained:
                    self._complained = error.message
                    _log.warning("The vault's keys cannot be read anew, and stay as they are: %s", error.message)
                return self._ring or ring
            self._complained = ""
            return found

    def _take(self) -> _Ring:
        stamp = self.source.stamp()  # before reading: what changes meanwhile is seen at the next look
        found = self._ring = self._read()
        self._stamp = stamp
        self._look_at = self._ticks() + LOOK_EVERY
        return found

    def _read(self) -> _Ring:
        keys = self.source.keys()
        if not keys:
            raise KeyUnavailable("There is no vault key. Give one in VALETKEY_VAULT_KEY.")
        for key in keys:
            if len(key.material) != _SIZE:
                raise KeyUnavailable(f"The vault key {key.id} has not {_SIZE} bytes. Restore its copy.")
        known = self._ring
        if known is not None and tuple(known.roots) == tuple(key.id for key in keys):
            return known  # nothing new: what was derived stays
        return _Ring(newest=keys[0].id, roots={key.id: key for key in keys})

    def process(self, draw: Callable[[int], bytes]) -> str:
        """The id of a key that lives and ends with this process, for what is never stored; the source is not asked."""
        with self._loading:
            if self._process is None:
                key = Key(id=PROCESS, material=draw(_SIZE))
                self._process = _Ring(newest=PROCESS, roots={PROCESS: key})
        return PROCESS

    def _ring_with(self, key_id: str) -> _Ring:
        if key_id == PROCESS and self._process is not None:
            return self._process
        ring = self._ring or self._load()
        if key_id in ring.roots:
            return ring
        # Another process may have rotated: what it sealed is opened here without a restart.
        try:
            self.reload()
        except KeyUnavailable as error:
            raise _missing(key_id) from error
        ring = self._ring or self._load()
        if key_id not in ring.roots:
            raise _missing(key_id)
        return ring


def _missing(key_id: str) -> KeyUnavailable:
    return KeyUnavailable(
        f"The vault key {key_id} that sealed this is not here. Put it back behind the newest one, in"
        " vault.keys or VALETKEY_VAULT_KEY; or forget it with delete_session, and connect the account again."
    )


def _derive(ring: _Ring, purpose: Purpose, key_id: str) -> bytes:
    derived = ring.derived[purpose, key_id] = _expand(ring.roots[key_id].material, f"valetkey {purpose} 1")
    return derived


def _expand(material: bytes, info: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - Pocket loads without it
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 - as above

    octets = info.encode("utf-8", "surrogatepass")
    return HKDF(algorithm=SHA256(), length=_SIZE, salt=None, info=octets).derive(material)
