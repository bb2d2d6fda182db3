"""A rotated token that the database could not take yet, fsynced."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from valetkey.adapters.sql.files import private_file, private_folder, sync_folder
from valetkey.errors import StoreUnavailable
from valetkey.model.caller import Owner
from valetkey.model.connections import Cause, Connection, Health, Sealed

_log = logging.getLogger("valetkey")
_CAP = 1_048_576  # bytes; more than any credential takes
_END = ".json"
_HEALTHS = frozenset(Health)
_CAUSES = frozenset(Cause)


class FileJournal:
    """One small file for each connection, in a folder of mode 0700; sealed as in the database.

    All processes with the same data folder and database share it: any of them may bring an entry home.

    Args:
        folder: the data folder.
        database: which database the entries are for; another one's are left alone.
    """

    def __init__(self, folder: Path, *, database: str) -> None:
        self._folder = folder / "journal" / hashlib.sha256(database.encode()).hexdigest()[:16]

    def put(self, connection: Connection, *, generation: int) -> None:
        """Keep a renewed connection that is to replace ``generation``; on the disk when this returns.

        Raises:
            StoreUnavailable: the disk cannot take it either.
        """
        content = json.dumps({"version": 1, "replaces": generation, "connection": _plain(connection)}).encode()
        path = self._path(connection.id)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            private_folder(self._folder)
            with suppress(FileNotFoundError):
                draft.unlink()
            try:
                private_file(draft, content=content)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
            sync_folder(self._folder)
            sync_folder(self._folder.parent)
        except OSError as error:
            raise StoreUnavailable(
                f"The journal cannot be written: {error.strerror or type(error).__name__}. Free some space, or make the"
                " data folder usable for this account."
            ) from error

    def of(self, connection_id: str) -> tuple[Connection, int] | None:
        """What is kept for that connection, with the generation that it replaces."""
        return self._read(self._path(connection_id))

    def entries(self) -> Sequence[tuple[Connection, int]]:
        """All that is kept; a damaged one is logged, set aside and left out."""
        try:
            paths = sorted(self._folder.iterdir())
        except OSError:
            return ()
        found = (self._read(path) for path in paths if path.suffix == _END and not path.name.startswith("."))
        return [entry for entry in found if entry is not None]

    def remove(self, connection: Connection) -> None:
        """The database has it by now, or does not want it."""
        path = self._path(connection.id)
        kept = self._read(path)
        # A newer one may have come in between.
        if kept is not None and kept[0].sealed == connection.sealed:
            with suppress(OSError):
                path.unlink()
                sync_folder(self._folder)

    def _path(self, connection_id: str) -> Path:
        # An id is ours, hexadecimal; whatever else one could be named, it stays in this folder.
        name = connection_id if connection_id.isalnum() else hashlib.sha256(connection_id.encode()).hexdigest()
        return self._folder / f"{name}{_END}"

    def _read(self, path: Path) -> tuple[Connection, int] | None:
        try:
            with path.open("rb") as file:
                content = file.read(_CAP)
        except OSError:
            return None
        try:
            held = json.loads(content)
            plain, replaces = held["connection"], int(held["replaces"])
            if plain["health"] not in _HEALTHS or plain["cause"] not in _CAUSES:
                _log.warning("The journal's entry %s is of a newer version of Valetkey, and left for it.", path.name)
                return None
            return _connection(plain), replaces
        except (ValueError, KeyError, TypeError):
            _log.error("The journal's entry %s is damaged, and set aside.", path.name)
            with suppress(OSError):
                path.rename(path.with_suffix(".damaged"))
            return None


class NoJournal:
    """The journal of stores that end with the process: there is nothing to outlive it."""

    def put(self, connection: Connection, *, generation: int) -> None:
        """Keep nothing."""

    def of(self, connection_id: str) -> tuple[Connection, int] | None:
        """Nothing is kept."""
        return None

    def entries(self) -> Sequence[tuple[Connection, int]]:
        """Nothing is kept."""
        return ()

    def remove(self, connection: Connection) -> None:
        """Nothing is kept."""


def _plain(connection: Connection) -> dict[str, Any]:
    plain: dict[str, Any] = {field.name: getattr(connection, field.name) for field in fields(connection)}
    owner = connection.owner
    plain["owner"] = [owner.workspace, owner.issuer, owner.subject]
    plain["scopes"] = sorted(connection.scopes)
    plain["sealed"] = base64.b64encode(connection.sealed).decode()
    return plain


def _connection(plain: dict[str, Any]) -> Connection:
    known = {field.name for field in fields(Connection)}
    values = {name: value for name, value in plain.items() if name in known}
    workspace, issuer, subject = values["owner"]
    values |= {
        "owner": Owner(workspace=workspace, issuer=issuer, subject=subject),
        "scopes": frozenset(values["scopes"]),
        "sealed": Sealed(base64.b64decode(values["sealed"], validate=True)),
        "health": Health(values["health"]),
        "cause": Cause(values["cause"]),
    }
    return Connection(**values)
