"""The operating system's keyring: Secret Service, macOS Keychain, Windows Credential Locker."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from valetkey.adapters.keylines import SIZE, Line, line, lines_of
from valetkey.adapters.sql.files import private_folder
from valetkey.errors import KeyUnavailable
from valetkey.ports.world import Clock, Entropy, Key

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "valetkey"
"""Under which name the entry stands in the keyring."""

_LOOK_EVERY = 3.0  # seconds: a keyring is asked over D-Bus, a file is only looked at
_FITS = 1_000  # characters: Windows keeps 1,280 of them
_log = logging.getLogger("valetkey")
T = TypeVar("T")


class OsKeys:
    """Keys in one entry of the keyring of the signed-in user, a line each as in a key file; the first one writes.

    Args:
        account: which entry; one for each data folder, so that one's keys are not dropped for another's rows.
        folder: the data folder, where processes that add at once wait for each other.
    """

    def __init__(self, account: str, *, folder: Path, entropy: Entropy, clock: Clock) -> None:
        self._account = account
        self._folder = folder
        self._entropy = entropy
        self._clock = clock
        self._seen = False
        self._looked: Hashable = None
        self._look_at = 0.0

    @property
    def name(self) -> str:
        """The entry."""
        return f"the OS keyring ({SERVICE}, {self._account})"

    def keys(self, *, make: bool = True) -> tuple[Key, ...]:
        """The keys in the entry, read anew; where there is none, one is made.

        Raises:
            KeyUnavailable: there is no keyring, it stays locked, or the entry is damaged or went away.
        """
        found = self._parse(self._read())
        if not found:
            if not make and not self._seen:
                return ()
            with self._alone():
                found = self._parse(self._read())  # whoever was before us may have made it
                if not found:
                    found = self._make()
        self._seen = True
        return found

    def stamp(self) -> Hashable:
        """A digest of the entry, as it was at most three seconds ago."""
        if self._clock.monotonic() >= self._look_at:
            self._look_at = self._clock.monotonic() + _LOOK_EVERY
            try:
                self._looked = hashlib.sha256(self._read().encode()).digest()
            except KeyUnavailable:
                self._looked = None
        return self._looked

    def add(self) -> Key:
        """Make a new key as the first line; kept when this returns.

        Raises:
            KeyUnavailable: the keyring cannot be used, or the entry is damaged or full.
        """
        self.keys()
        with self._alone():
            before = self._read()
            self._parse(before)
            text = self._fresh()
            if len(text) + len(before) > _FITS:
                raise KeyUnavailable(
                    f"{self.name} holds as many keys as fit. Remove old ones: valetkey vault rotate --reseal-only"
                    " --drop-old"
                )
            self._write(f"{text}\n{before}")
            return self._parse(text)[0]

    def remove(self, key_id: str) -> None:
        """Take a key out of the entry.

        Raises:
            KeyUnavailable: it is the first one, or the keyring cannot be used.
        """
        with self._alone():
            before = self._read()
            found = self._parse(before)
            if found and found[0].id == key_id:
                raise KeyUnavailable(f"The key {key_id} writes: it cannot be removed. Add another one first.")
            if any(key.id == key_id for key in found):
                kept = [each for each in before.splitlines() if not each.startswith(f"{key_id} ")]
                self._write("".join(f"{each}\n" for each in kept))

    def _fresh(self) -> str:
        return line(self._entropy.bytes(SIZE), now=self._clock.now())

    def _make(self) -> tuple[Key, ...]:
        if self._seen:  # a new key would hide that all that is stored was sealed with the old one
            raise KeyUnavailable(f"The keys in {self.name} went away. Restore that entry from its copy.")
        text = self._fresh()
        self._write(f"{text}\n")
        _log.warning("Made a vault key in %s. Keep a copy: no stored account opens without it.", self.name)
        return self._parse(text)

    def _parse(self, text: str) -> tuple[Key, ...]:
        keys = []
        for each in lines_of(text):
            material = each.material() if isinstance(each, Line) else None
            if material is None or not isinstance(each, Line):
                raise KeyUnavailable(f"The keys in {self.name} are damaged. Restore that entry from its copy.")
            keys.append(Key(id=each.id, material=material, created_at=each.created_at, source="os keyring"))
        return tuple(keys)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process of this data folder writes meanwhile."""
        try:
            private_folder(self._folder)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise KeyUnavailable(
                f"The folder {self._folder} cannot be used: {reason}. Make it usable for this account."
            ) from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _read(self) -> str:
        return self._ask(lambda backend: backend.get_password(SERVICE, self._account)) or ""

    def _write(self, text: str) -> None:
        self._ask(lambda backend: backend.set_password(SERVICE, self._account, text))
        if self._read().strip() != text.strip():  # there are backends that keep nothing
            raise self._unusable("it did not keep what was put into it")

    def _ask(self, question: Callable[[KeyringBackend], T]) -> T:
        try:
            import keyring  # noqa: PLC0415 - an extra
        except ImportError:
            raise KeyUnavailable(
                "The OS keyring needs the library keyring. Run: pip install 'valetkey[keyring]'"
            ) from None
        try:
            backend = keyring.get_keyring()
            usable = backend.priority >= 1
        except Exception as error:  # noqa: BLE001 - backends raise what they like
            raise self._unusable(type(error).__name__) from None
        if not usable:  # the library's own word for: none, or one that keeps plain text
            raise self._unusable("this session has none that keeps secrets")
        try:
            return question(backend)
        except Exception as error:  # noqa: BLE001 - as above; not as the cause: it may quote what it was given
            raise self._unusable(type(error).__name__) from None

    def _unusable(self, reason: str) -> KeyUnavailable:
        return KeyUnavailable(
            f"The OS keyring cannot be used: {reason}. Sign in to a desktop session and unlock its keyring; or, on a"
            ' server, take vault_key = "keyring:" out of the settings, so that a key file is used.'
        )
