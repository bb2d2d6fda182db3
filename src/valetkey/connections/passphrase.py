"""A document sealed under a passphrase: scrypt (RFC 7914) for the key, AES-256-GCM, the parameters in its head."""

from __future__ import annotations

import base64
import json
import unicodedata
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from valetkey.errors import InvalidArguments, VaultError
from valetkey.ports.world import Entropy
from valetkey.secret import Secret

FORMAT = "valetkey-accounts"
SHORTEST = 12
"""Characters of a passphrase: whoever has the file may guess for as long as they like."""
COST = 2**17
"""Scrypt's N: with r = 8 about 128 MiB and half a second for each guess."""

_VERSION = 1
_BLOCK, _LANES = 8, 1
_COSTS = frozenset(2**power for power in range(14, 21))  # a file must not make us take more than 1 GiB
_SALT, _NONCE, _KEY = 16, 12, 32
_LARGEST = 64 * 1024 * 1024  # bytes


def seal(document: Secret, passphrase: Secret, entropy: Entropy, *, cost: int = COST) -> bytes:
    """The sealed file: JSON, whose head is authenticated with what it holds.

    Raises:
        InvalidArguments: the passphrase is too short.
    """
    if len(passphrase.reveal()) < SHORTEST:
        raise InvalidArguments(f"The passphrase has fewer than {SHORTEST} characters. Take a longer one.")
    salt, nonce = entropy.bytes(_SALT), entropy.bytes(_NONCE)
    head = {
        "format": FORMAT,
        "version": _VERSION,
        "kdf": {"name": "scrypt", "n": cost, "r": _BLOCK, "p": _LANES, "salt": _text(salt)},
        "cipher": {"name": "AES-256-GCM", "nonce": _text(nonce)},
    }
    sealed = AESGCM(_key(passphrase, salt, cost)).encrypt(nonce, document.reveal().encode(), _canonical(head))
    return json.dumps({**head, "data": _text(sealed)}, indent=1).encode() + b"\n"


def unseal(file: bytes, passphrase: Secret) -> Secret:
    """The document in such a file.

    Raises:
        InvalidArguments: it is no such file, or of a newer version.
        VaultError: the passphrase is another one, or the file was changed.
    """
    head = _parsed(file)
    sealed = head.pop("data", None)
    try:
        kdf, cipher = head["kdf"], head["cipher"]
        cost, salt, nonce = kdf["n"], _bytes(kdf["salt"]), _bytes(cipher["nonce"])
        usual = (kdf["name"], kdf["r"], kdf["p"], cipher["name"]) == ("scrypt", _BLOCK, _LANES, "AES-256-GCM")
        data = _bytes(sealed)
    except (KeyError, TypeError, ValueError):
        raise _closed() from None
    if not usual or type(cost) is not int or cost not in _COSTS or (len(salt), len(nonce)) != (_SALT, _NONCE):
        raise _closed()
    try:
        plain = AESGCM(_key(passphrase, salt, cost)).decrypt(nonce, data, _canonical(head))
    except InvalidTag:
        raise _closed() from None
    return Secret(plain.decode())


def _key(passphrase: Secret, salt: bytes, cost: int) -> bytes:
    # The same characters, whichever way a keyboard composes them (RFC 8265 §4.2).
    plain = unicodedata.normalize("NFC", passphrase.reveal()).encode("utf-8", "surrogatepass")
    return Scrypt(salt=salt, length=_KEY, n=cost, r=_BLOCK, p=_LANES).derive(plain)


def _parsed(file: bytes) -> dict[str, Any]:
    wrong = InvalidArguments("This is no file that `valetkey connections export` wrote. Give one that it did.")
    if len(file) > _LARGEST:
        raise wrong
    try:
        values = json.loads(file)
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise wrong
    if values.get("version") != _VERSION:
        raise InvalidArguments("This file is of another version of valetkey. Import it with that, or upgrade.")
    return values


def _canonical(head: dict[str, Any]) -> bytes:
    return json.dumps(head, sort_keys=True, separators=(",", ":")).encode()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError
    return base64.b64decode(value, validate=True)


def _closed() -> VaultError:
    return VaultError("The file does not open: the passphrase is another one, or the file was changed.")
