"""File: root keys in a file that only its owner can read."""

from __future__ import annotations

import fcntl
import logging
import os
import shlex
import stat
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

from valetkey.adapters.keylines import SIZE, Line, line, lines_of
from valetkey.adapters.sql.files import OTHERS, private_file, private_folder, sync_folder
from valetkey.errors import KeyUnavailable
from valetkey.ports.world import Clock, Entropy, Key

_log = logging.getLogger("valetkey")
_CAP = 1_048_576


class KeyFile:
    """The lines of a key file: read, made once, and written anew as a whole.

    All methods raise ``KeyUnavailable`` where the file can be read by others, cannot be used by us, or is damaged.
    """

    def __init__(self, path: Path, *, entropy: Entropy) -> None:
        self.path = path
        self._entropy = entropy
        self._seen = False

    def lines(self, make: Callable[[], str] | None) -> list[Line]:
        """All lines, read anew; where there is no file, one is made of the line that ``make`` gives, or none."""
        with self._usable():
            try:
                content = self._read()
            except FileNotFoundError:
                if make is None and not self._seen:
                    return []
                self._make(make)
                content = self._read()
        found = self._sound(content)
        if not found:
            raise KeyUnavailable(f"The key file {self.path} holds no key. Restore it from its copy.")
        self._seen = True
        return found

    def stamp(self) -> Hashable:
        """What changes with the file: every writing makes a new one. None where there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode

    def add(self, text: str) -> None:
        """Put a line before all others."""
        with self._usable(), self._alone() as path:
            content = self._read()
            self._sound(content)  # a damaged file is not written anew
            self._write(path, f"{text}\n{content}")

    def remove(self, key_id: str) -> None:
        """Take a key's line out; one that is not there is no error. The first one writes and stays."""
        with self._usable(), self._alone() as path:
            content = self._read()
            found = self._sound(content)
            if found[0].id == key_id:
                raise KeyUnavailable(
                    f"The key {key_id} is the first one in {self.path}: it cannot be removed. Add another one first;"
                    " or, where no key of that file is needed any more, remove the file."
                )
            gone = {each.number for each in found if each.id == key_id}
            if gone:
                kept = [each for number, each in enumerate(content.splitlines(), start=1) if number not in gone]
                self._write(path, "".join(f"{each}\n" for each in kept))

    def damaged(self, number: int) -> KeyUnavailable:
        """The error for one line."""
        return KeyUnavailable(f"Line {number} of the key file {self.path} is damaged. Restore its copy.")

    def _sound(self, content: str) -> list[Line]:
        found = []
        for each in lines_of(content):
            if isinstance(each, int):
                raise self.damaged(each)
            found.append(each)
        return found

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise KeyUnavailable(
                f"The key file {self.path} cannot be used: {reason}. Make its folder usable for this"
                " account, or give the key in VALETKEY_VAULT_KEY."
            ) from error

    def _read(self) -> str:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            self._judge(os.fstat(descriptor))
            return file.read(_CAP).decode("ascii", "replace")

    def _judge(self, found: os.stat_result) -> None:
        path = shlex.quote(str(self.path))
        if not stat.S_ISREG(found.st_mode):
            raise KeyUnavailable(f"{path} is not a file. Move it away, or point VALETKEY_HOME elsewhere.")
        if found.st_mode & OTHERS:
            mode = stat.S_IMODE(found.st_mode)
            raise KeyUnavailable(f"Others can use the key file (its mode is {mode:04o}). Run: chmod 600 {path}")
        if found.st_uid not in {0, os.geteuid()}:
            raise KeyUnavailable(f"The key file belongs to another account. Run: chown {os.geteuid()} {path}")

    def _make(self, make: Callable[[], str] | None) -> None:
        if self._seen or make is None:  # a new key would hide that all that is stored was sealed with the old one
            raise KeyUnavailable(f"The key file {self.path} went away. Restore it from its copy.")
        text = make()
        private_folder(self.path.parent)
        draft = self._draft(self.path)
        try:
            private_file(draft, content=f"{text}\n".encode())
            # A link, unlike a rename, does not replace: of several processes that start at once one wins.
            os.link(draft, self.path)
        except FileExistsError:
            return
        except FileNotFoundError:  # whoever won has gone on, and swept our draft away
            if not self.path.exists():
                raise
            return
        finally:
            draft.unlink(missing_ok=True)
            sync_folder(self.path.parent)
        _log.warning("Made a vault key in %s. Keep a copy: no stored account opens without it.", self.path)

    @contextmanager
    def _alone(self) -> Iterator[Path]:
        """Nobody else writes meanwhile; gives the place of the file itself, whatever links lead to it."""
        path = self.path.resolve()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            for left in path.parent.glob(f".{path.name}.*"):  # of a process that was killed while it wrote
                left.unlink(missing_ok=True)
            yield path
        finally:
            os.close(folder)  # gives the lock back

    def _draft(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.{self._entropy.token(12)}")

    def _write(self, path: Path, content: str) -> None:
        draft = self._draft(path)
        try:
            private_file(draft, content=content.encode("ascii"))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)


class FileKeys:
    """Keys in a file that only its owner can read; made with a first key when there is none.

    Each line is a key: its id, when it was made, and its bytes in base64url. The first line writes.

    Args:
        beside: another source reads those lines of the same file that a KMS wrapped; else such a line is an error.
    """

    def __init__(self, path: Path, *, entropy: Entropy, clock: Clock, beside: bool = False) -> None:
        self._file = KeyFile(path, entropy=entropy)
        self._entropy = entropy
        self._clock = clock
        self._beside = beside

    @property
    def name(self) -> str:
        """The file."""
        return f"the key file {self._file.path}"

    def keys(self, *, make: bool = True) -> tuple[Key, ...]:
        """The keys in the file, read anew.

        Raises:
            KeyUnavailable: the file can be read by others, cannot be read by us, is damaged, or went away.
        """
        found = self._file.lines((lambda: self._fresh()[0]) if make else None)
        if not self._beside and found and found[0].wrapped:
            raise KeyUnavailable(
                f"The newest key in {self._file.path} was wrapped by AWS KMS. Set VALETKEY_VAULT_KEY to"
                " aws-kms: and the KMS key's alias or ARN, as on the machine where it was made."
            )
        return tuple(plain_key(self._file, each) for each in found if not each.wrapped)

    def stamp(self) -> Hashable:
        """What changes with the file."""
        return self._file.stamp()

    def add(self) -> Key:
        """Make a new key as the first line; on the disk when this returns.

        Raises:
            KeyUnavailable: the file cannot be written, or is damaged.
        """
        self.keys()  # where there is no file yet, there is one now, with a key of its own
        text, material = self._fresh()
        self._file.add(text)
        (made,) = (each for each in lines_of(text) if isinstance(each, Line))
        return Key(id=made.id, material=material, created_at=made.created_at, source="file")

    def remove(self, key_id: str) -> None:
        """Take a key out of the file.

        Raises:
            KeyUnavailable: it is the first one, or the file cannot be written.
        """
        self._file.remove(key_id)

    def _fresh(self) -> tuple[str, bytes]:
        material = self._entropy.bytes(SIZE)
        return line(material, now=self._clock.now()), material


def plain_key(file: KeyFile, found: Line) -> Key:
    """The key of a line that no KMS wrapped.

    Raises:
        KeyUnavailable: the line is damaged.
    """
    material = found.material()
    if material is None:
        raise file.damaged(found.number)
    return Key(id=found.id, material=material, created_at=found.created_at, source="file")
