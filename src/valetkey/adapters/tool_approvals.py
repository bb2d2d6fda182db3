"""Which code from elsewhere a person has said yes to: a list in the data folder, and the code itself beside it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from valetkey.adapters.sql.files import private_folder
from valetkey.errors import InvalidSetting
from valetkey.model.tool_sources import ToolApproval

_HEAD = "# Code from elsewhere that may run here. Written by: valetkey tools approve, valetkey tools revoke\n"
_OTHERS = 0o022
_FIELDS = ("repository", "folder", "commit", "digest", "name", "ref")


class ToolApprovals:
    """``tools/approved.toml`` in the data folder.

    Args:
        home: the data folder.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "tools"
        self._path = self._folder / "approved.toml"

    def all(self) -> list[ToolApproval]:
        """All of them, the oldest first.

        Raises:
            InvalidSetting: the file is damaged.
        """
        try:
            about = self._path.stat()
            read = tomllib.loads(self._path.read_text("utf-8"))
            found = [
                ToolApproval(approved_at=float(each["approved_at"]), **{name: str(each[name]) for name in _FIELDS})
                for each in read.get("tool", [])
            ]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise InvalidSetting(f"{self._path} cannot be read. Move it away, and approve the tools anew.") from None
        if about.st_uid != os.geteuid() or about.st_mode & _OTHERS:
            raise InvalidSetting(f"{self._path} may be written by others. Look at it, then: chmod 600 {self._path}")
        return found

    def add(self, approval: ToolApproval) -> None:
        """Note it; one of the same place and commit is replaced."""
        with self._alone():
            others = [each for each in self.all() if each.place != approval.place]
            self._write([*others, approval])

    def remove(self, gone: Sequence[ToolApproval]) -> None:
        """Take them out, and their code away."""
        with self._alone():
            places = {each.place for each in gone}
            left = [each for each in self.all() if each.place not in places]
            self._write(left)
            for digest in {each.digest for each in gone} - {each.digest for each in left}:
                shutil.rmtree(self.folder_of(digest), ignore_errors=True)

    def folder_of(self, digest: str) -> Path:
        """Where the code of a tool is kept, and what was built for it."""
        return self._folder / digest

    @contextmanager
    def _alone(self) -> Iterator[None]:
        private_folder(self._folder.parent)
        private_folder(self._folder)
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, approvals: Sequence[ToolApproval]) -> None:
        lines = [_HEAD]
        for each in approvals:
            lines.append("\n[[tool]]\n")
            # A JSON text is a TOML text, where it holds no DEL.
            lines += [f"{name} = {json.dumps(str(getattr(each, name)).replace(chr(127), ''))}\n" for name in _FIELDS]
            lines.append(f"approved_at = {each.approved_at!r}\n")
        made = self._path.with_suffix(".new")
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        made.replace(self._path)
