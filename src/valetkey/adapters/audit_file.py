"""The audit log as JSON lines, for whoever gathers logs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from valetkey.adapters.sql.files import OTHERS, private_folder
from valetkey.model.audit import Record, line


class AuditFile:
    """Appends each record as one line, in one write, to a file that only its owner can read.

    Several processes may share it. It is opened anew when it was renamed or removed, as programs that rotate logs do.
    For any thread.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.expanduser().absolute()
        self._lock = threading.Lock()
        self._descriptor: int | None = None

    def __call__(self, record: Record) -> None:
        """Append it.

        Raises:
            OSError: it cannot be written.
        """
        content = line(record).encode("ascii") + b"\n"
        with self._lock:
            descriptor = self._opened()
            while content:
                content = content[os.write(descriptor, content) :]

    def close(self) -> None:
        """Close it; a later record opens it again."""
        with self._lock:
            self._leave()

    def _opened(self) -> int:
        if self._descriptor is not None:
            try:
                there = self._path.stat(follow_symlinks=False)
            except FileNotFoundError:
                there = None
            if there is not None and os.path.samestat(there, os.fstat(self._descriptor)):
                return self._descriptor
            self._leave()
        private_folder(self._path.parent)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = self._descriptor = os.open(self._path, flags, 0o600)
        if os.fstat(descriptor).st_mode & OTHERS:
            os.fchmod(descriptor, 0o600)
        return descriptor

    def _leave(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)
