"""Environment and file: where root keys come from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
import shlex
import stat
from datetime import UTC, datetime
from pathlib import Path

from valetkey.adapters.sql.files import OTHERS, private_file, private_folder, sync_folder
from valetkey.errors import InvalidSetting, KeyUnavailable
from valetkey.ports.world import Clock, Entropy, Key
from valetkey.secret import Secret

_log = logging.getLogger("valetkey")
_SIZE = 32
_DISTINCT = 16  # of 32 random bytes fewer than 16 differ once in 10^17 keys
_CAP = 1_048_576
_COLUMNS = 3
_MAKE = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


class EnvironmentKey:
    """Keys that the operator gives as text: 32 random bytes each, base64url or hexadecimal, commas between.

    The first one writes. A key has the same id here as in a key file, and may move from one to the other.

    Raises:
        InvalidSetting: a key is too short, too long, or not random; the text says how to make one.
    """

    def __init__(self, value: Secret, *, name: str = "VALETKEY_VAULT_KEY") -> None:
        keys = []
        for number, text in enumerate(value.reveal().split(","), start=1):
            material = _decode(text.strip())
            if material is None:
                problem = "is not 32 bytes in base64url or hexadecimal"
                raise InvalidSetting(f"Key {number} in {name} {problem}. Make one by: {_MAKE}")
            if problem := _weakness(material):
                raise InvalidSetting(f"Key {number} in {name} {problem}. Make one by: {_MAKE}")
            keys.append(Key(id=_key_id(material), material=material))
        self._keys = tuple(keys)

    def keys(self) -> tuple[Key, ...]:
        """The keys in the order given."""
        return self._keys


class FileKeys:
    """Keys in a file that only its owner can read; made with a first key when there is none.

    Each line is a key: its id, when it was made, and its bytes in base64url. The first line writes.
    """

    def __init__(self, path: Path, *, entropy: Entropy, clock: Clock) -> None:
        self._path = path
        self._entropy = entropy
        self._clock = clock
        self._seen = False

    def keys(self) -> tuple[Key, ...]:
        """The keys in the file, read anew.

        Raises:
            KeyUnavailable: the file can be read by others, cannot be read by us, is damaged, or went away.
        """
        try:
            try:
                lines = self._read()
            except FileNotFoundError:
                self._make()
                lines = self._read()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise KeyUnavailable(
                f"The key file {self._path} cannot be used: {reason}. Make its folder usable for this"
                " account, or give the key in VALETKEY_VAULT_KEY."
            ) from error
        keys = tuple(self._parse(number, line) for number, line in lines)
        if not keys:
            raise KeyUnavailable(f"The key file {self._path} holds no key. Restore it from its copy.")
        self._seen = True
        return keys

    def _read(self) -> list[tuple[int, str]]:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            self._judge(os.fstat(descriptor))
            content = file.read(_CAP)
        numbered = enumerate(content.decode("ascii", "replace").splitlines(), start=1)
        return [(number, line) for number, line in numbered if line.strip() and not line.startswith("#")]

    def _judge(self, found: os.stat_result) -> None:
        path = shlex.quote(str(self._path))
        if not stat.S_ISREG(found.st_mode):
            raise KeyUnavailable(f"{path} is not a file. Move it away, or point VALETKEY_HOME elsewhere.")
        if found.st_mode & OTHERS:
            mode = stat.S_IMODE(found.st_mode)
            raise KeyUnavailable(f"Others can use the key file (its mode is {mode:04o}). Run: chmod 600 {path}")
        if found.st_uid not in {0, os.geteuid()}:
            raise KeyUnavailable(f"The key file belongs to another account. Run: chown {os.geteuid()} {path}")

    def _parse(self, number: int, line: str) -> Key:
        columns = line.split()
        material = _decode(columns[2]) if len(columns) == _COLUMNS else None
        # The id is made of the bytes: a line that lost a character is found here, not in every row.
        if material is None or columns[0] != _key_id(material):
            raise KeyUnavailable(f"Line {number} of the key file {self._path} is damaged. Restore its copy.")
        try:
            created = datetime.fromisoformat(columns[1]).timestamp()
        except ValueError:
            created = 0.0
        return Key(id=columns[0], material=material, created_at=created)

    def _make(self) -> None:
        if self._seen:  # a new key would hide that all that is stored was sealed with the old one
            raise KeyUnavailable(f"The key file {self._path} went away. Restore it from its copy.")
        material = self._entropy.bytes(_SIZE)
        created = datetime.fromtimestamp(int(self._clock.now()), UTC).isoformat()
        text = base64.urlsafe_b64encode(material).decode()
        private_folder(self._path.parent)
        draft = self._path.with_name(f".{self._path.name}.{self._entropy.token(12)}")
        try:
            private_file(draft, content=f"{_key_id(material)} {created} {text}\n".encode())
            # A link, unlike a rename, does not replace: of several processes that start at once one wins.
            os.link(draft, self._path)
        except FileExistsError:
            return
        finally:
            draft.unlink(missing_ok=True)
            sync_folder(self._path.parent)
        _log.warning("Made a vault key in %s. Keep a copy: no stored account opens without it.", self._path)


def _decode(text: str) -> bytes | None:
    try:
        if len(text) == 2 * _SIZE:
            material = bytes.fromhex(text)
        else:
            plain = text.rstrip("=").replace("+", "-").replace("/", "_")
            material = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    return material if len(material) == _SIZE else None


def _weakness(material: bytes) -> str:
    if len(set(material)) < _DISTINCT:
        return "repeats itself: it is not random"
    if material.isascii() and material.decode("ascii").isprintable():
        return "is a text, not random bytes"
    return ""


def _key_id(material: bytes) -> str:
    return hashlib.sha256(b"valetkey key id 1\0" + material).hexdigest()[:16]
