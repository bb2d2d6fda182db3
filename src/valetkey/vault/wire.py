"""What instances say to each other over a bus: sealed, so that whoever else is on it reads and says nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from valetkey.errors import KeyUnavailable, VaultError
from valetkey.vault.keyring import Keyring, Purpose

_VERSION = 1
_NUMBERS = struct.Struct(">QQ")
_NAMES = 5  # the key, who sends it, in which life, to whom, in which life of theirs
_SIZE = 32
_LIVES = 4096  # of other instances that are remembered, and keys kept ready


class NotOurs(VaultError):
    """A message on the bus that none of our instances sent to this one, or that was taken before."""


@dataclass(frozen=True, slots=True)
class End:
    """One end of the wire: an instance, in one of its lives.

    Attributes:
        address: where messages for it are sent; empty: all of them.
        life: drawn anew at each start: what was said to an earlier one is not for this one.
    """

    address: str
    life: str


ALL = End("", "")
"""Everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message, opened.

    Attributes:
        stream: which of the streams between the two; a later one has a higher number.
        number: in that stream; nothing is taken twice, and nothing after what follows it.
    """

    sender: End
    to: End
    stream: int
    number: int
    plain: bytes = field(repr=False)


class Wire:
    """Seals and opens what one instance says and hears (AES-256-GCM, NIST SP 800-38D §8.2.1).

    Each stream has a key of its own, derived from the newest root key, both ends and the stream (HKDF, RFC 5869); its
    messages are numbered, and the number is the nonce. For one thread.

    Args:
        here: this instance. No two lives of any have the same name, so no key and nonce come twice.
    """

    def __init__(self, keyring: Keyring, *, here: End) -> None:
        self._keyring = keyring
        self.here = here
        self._ciphers: dict[bytes, AESGCM] = {}
        self._taken: dict[tuple[End, bool], tuple[int, int]] = {}

    def seal(self, plain: bytes, *, to: End, stream: int, number: int) -> bytes:
        """Seal one message. The same stream and number to the same end may never come twice.

        Raises:
            KeyUnavailable: there is no key that can be used.
        """
        key_id = self._keyring.newest
        head = _head(key_id, self.here, to, stream, number)
        cipher = self._cipher(head, key_id)
        self._keep(_name(head), cipher)
        return head + cipher.encrypt(_nonce(number), plain, head)

    def open(self, data: bytes) -> Said:
        """Open one message.

        Raises:
            NotOurs: it was not sealed by an instance with our keys for this one, or it was taken before.
        """
        try:
            names, stream, number, size = _read(data)
        except (ValueError, struct.error, IndexError):
            raise NotOurs("It is no message between instances.") from None
        key_id, sender, to = names[0], End(*names[1:3]), End(*names[3:5])
        if to not in (self.here, ALL) or sender == self.here:
            raise NotOurs("It was said to another instance, or in an earlier life of this one.")
        head = data[:size]
        try:
            cipher = self._known(head, key_id)
            plain = cipher.decrypt(_nonce(number), data[size:], head)
        except (InvalidTag, KeyUnavailable):
            raise NotOurs("It was not sealed with a key of ours. All instances need the same vault key.") from None
        of = sender, to == ALL
        if (stream, number) <= self._taken.get(of, (-1, 0)):
            raise NotOurs("It was taken before.")
        if of not in self._taken and len(self._taken) >= _LIVES:
            del self._taken[next(iter(self._taken))]
        self._taken[of] = stream, number
        self._keep(_name(head), cipher)  # only those that were ours: a forger pushes none out
        return Said(sender=sender, to=to, stream=stream, number=number, plain=plain)

    def _known(self, head: bytes, key_id: str) -> AESGCM:
        """By a key that is here: nothing is read because somebody names one that is not, but for a look each second."""
        if key_id not in self._keyring.ids() and (not self._keyring.newest or key_id not in self._keyring.ids()):
            raise KeyUnavailable("There is no key of that name.")
        return self._cipher(head, key_id)

    def _cipher(self, head: bytes, key_id: str) -> AESGCM:
        name = _name(head)
        known = self._ciphers.get(name)
        if known is not None:
            return known
        secret = self._keyring.subkey(Purpose.WIRE, key_id)
        return AESGCM(HKDFExpand(algorithm=SHA256(), length=_SIZE, info=b"valetkey wire 1 " + name).derive(secret))

    def _keep(self, name: bytes, cipher: AESGCM) -> None:
        if name not in self._ciphers:
            if len(self._ciphers) >= _LIVES:
                del self._ciphers[next(iter(self._ciphers))]
            self._ciphers[name] = cipher


def _head(key_id: str, sender: End, to: End, stream: int, number: int) -> bytes:
    names = (key_id, sender.address, sender.life, to.address, to.life)
    parts = [bytes((_VERSION,))]
    for name in names:
        octets = name.encode()
        parts += [bytes((len(octets),)), octets]  # ValueError where it is longer than 255
    return b"".join([*parts, _NUMBERS.pack(stream, number)])


def _read(data: bytes) -> tuple[list[str], int, int, int]:
    if data[0] != _VERSION:
        raise ValueError("another version")
    at = 1

    def names() -> Iterator[str]:
        nonlocal at
        for _ in range(_NAMES):
            end = at + 1 + data[at]
            yield data[at + 1 : end].decode()
            at = end

    found = list(names())
    stream, number = _NUMBERS.unpack_from(data, at)
    return found, stream, number, at + _NUMBERS.size


def _name(head: bytes) -> bytes:
    """The stream: what a head says but for the number."""
    return head[:-8]


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
