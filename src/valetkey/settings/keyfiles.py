"""A private key or key file that a setting holds, or says where it is."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from valetkey.errors import InvalidSetting, MissingSetting
from valetkey.secret import Secret

FILE = "file:"
LARGEST = 65_536
"""Bytes that such a file may have."""

_PATHS = ("/", "~", "./", "../")
_ENDINGS = (".pem", ".key", ".p8", ".json", ".jwk")

_log = logging.getLogger("valetkey")


def read_key(value: str, setting: str) -> Secret:
    """The text of a key: the setting's own, or that of the file that ``file:PATH`` names.

    A file that others can read is taken, and warned of.

    Raises:
        MissingSetting: there is no such file.
        InvalidSetting: it cannot be read, is empty, or is no text of at most 64 KiB; or the setting has a path alone.
    """
    if not value.startswith(FILE):
        if _is_path(value):
            raise InvalidSetting(f"{setting} looks like the path of a file. Write file: before it.")
        return Secret(value)
    path = Path(value.removeprefix(FILE)).expanduser()
    try:
        mode, text = _read(path)
        if not stat.S_ISREG(mode) or len(text) > LARGEST:
            raise InvalidSetting(f"{setting} names {path.name}, which is no key file: it is no file, or too large.")
        if not text.strip():
            raise InvalidSetting(f"{setting} names {path.name}, which is empty. Write the key into it.")
        read = Secret(text.decode())
    except FileNotFoundError:
        raise MissingSetting(f"{setting} names the file {path}, which is not there. Correct the path.") from None
    except OSError as error:
        raise InvalidSetting(f"{setting}: {path.name} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidSetting(f"{setting} names {path.name}, which is no text. Give PEM or JSON.") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        _log.warning("%s: %s holds a private key and can be read by others: chmod 600 %s", setting, path, path.name)
    return read


def _read(path: Path) -> tuple[int, bytes]:
    """The mode of a file and, of a regular one, what it holds: to open a pipe would else wait for its writer."""
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        mode = os.fstat(opened).st_mode
        if not stat.S_ISREG(mode):
            return mode, b""
        with os.fdopen(opened, "rb", closefd=False) as file:
            return mode, file.read(LARGEST + 1)
    finally:
        os.close(opened)


def _is_path(value: str) -> bool:
    text = value.strip()
    return text.startswith(_PATHS) or (text.lower().endswith(_ENDINGS) and not text.startswith(("{", "-")))
