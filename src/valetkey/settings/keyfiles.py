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

_log = logging.getLogger("valetkey")


def read_key(value: str, setting: str) -> Secret:
    """The text of a key: the setting's own, or that of the file that ``file:PATH`` names.

    A file that others can read is taken, and warned of.

    Raises:
        MissingSetting: there is no such file.
        InvalidSetting: it cannot be read, or is no text of at most 64 KiB.
    """
    if not value.startswith(FILE):
        return Secret(value)
    path = Path(value.removeprefix(FILE)).expanduser()
    try:
        with path.open("rb") as opened:
            mode, text = os.fstat(opened.fileno()).st_mode, opened.read(LARGEST + 1)
        if not stat.S_ISREG(mode) or len(text) > LARGEST:
            raise InvalidSetting(f"{setting} names {path.name}, which is no key file: it is no file, or too large.")
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
