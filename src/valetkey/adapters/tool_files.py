"""Files of tools: read from a folder, kept by their digest, and copied for one run."""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from valetkey.errors import Denied, InvalidSetting

DESCRIPTIONS = ("pocket.json", "config.toml", "schema.json")
MOST_FILES = 5000
MOST_BYTES = 52_428_800

_WHOLE = ".valetkey-whole"
_DESCRIPTION = 1_048_576  # bytes

Files = Mapping[str, tuple[bool, bytes]]
"""What a tool is made of: by path with slashes, whether it can be run, and what it holds."""


def descriptions(folder: Path) -> dict[str, bytes]:
    """The files in a folder that say what its tool is.

    Raises:
        InvalidSetting: it is no folder, or one of them cannot be read.
    """
    if not folder.is_dir():
        raise InvalidSetting(f"{folder} is no folder of this machine. Correct the path of the tool.")
    found = {}
    for name in DESCRIPTIONS:
        try:
            with (folder / name).open("rb") as file:
                found[name] = file.read(_DESCRIPTION + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InvalidSetting(f"{folder / name} cannot be read: {error.strerror}.") from None
        if len(found[name]) > _DESCRIPTION:
            raise InvalidSetting(f"{folder / name} is larger than {_DESCRIPTION} bytes.")
    return found


def digest_of(files: Files) -> str:
    """What stands for exactly these files."""
    whole = hashlib.sha256()
    for path in sorted(files):
        runs, content = files[path]
        line = f"{'x' if runs else '-'} {hashlib.sha256(content).hexdigest()} {path}\0"
        whole.update(line.encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def is_plain(path: str) -> bool:
    """Whether it leads to a place within the folder that it is in, and to nothing of git's."""
    parts = path.split("/")
    return (
        not PurePosixPath(path).is_absolute()
        and "\0" not in path
        and "\\" not in path
        and all(part not in ("", ".", "..") and part.lower() != ".git" for part in parts)
    )


def write(files: Files, folder: Path) -> None:
    """Make a folder of them; it is there whole, or not at all."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        _write(files, made)
        if folder.exists():
            shutil.rmtree(folder)
        made.replace(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def copy_of(folder: Path, digest: str, target: Path) -> Path:
    """A copy of a folder whose files still are those of the digest.

    Raises:
        Denied: they are not.
    """
    files = unchanged(folder, digest)
    target.mkdir(mode=0o700)
    _write(files, target)
    return target


def unchanged(folder: Path, digest: str) -> Files:
    """The files in a folder, where they are those of the digest.

    Raises:
        Denied: they are not.
    """
    try:
        files = dict(_read(folder))
    except OSError:
        files = {}
    if not hmac.compare_digest(digest_of(files), digest):
        raise Denied(
            f"The code of the tool in {folder} is not what was approved: somebody has changed it on this machine."
            " Approve it anew: valetkey tools approve, with its URL."
        )
    return files


def mark(folder: Path) -> None:
    """Note that what is made there is whole."""
    (folder / _WHOLE).touch(mode=0o600)


def is_marked(folder: Path) -> bool:
    """Whether it was noted."""
    return (folder / _WHOLE).is_file()


def _read(folder: Path) -> Iterator[tuple[str, tuple[bool, bytes]]]:
    size, count = 0, 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            # A link that somebody put there leads elsewhere: it is no file of the tool.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                about = os.fstat(file.fileno())
                size, count = size + about.st_size, count + 1
                if not stat.S_ISREG(about.st_mode) or size > MOST_BYTES or count > MOST_FILES:
                    raise OSError
                yield path.relative_to(folder).as_posix(), (bool(about.st_mode & stat.S_IXUSR), file.read())


def _write(files: Files, folder: Path) -> None:
    for path, (runs, content) in files.items():
        place = folder / path
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(0o700 if runs else 0o600)
