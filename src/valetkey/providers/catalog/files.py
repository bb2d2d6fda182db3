"""Where providers are described: our own files, and those of the user's project."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

FOLDER = "valetkey_providers"
"""The folder of a project that holds its providers, one ``<name>.toml`` each."""

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What a provider may be called; its file has the same name."""

_CATALOG = Path(__file__).parent


def builtin_file(name: str) -> Path | None:
    """The file of a provider that we ship."""
    path = _CATALOG / f"{name}.toml"
    return path if NAME.fullmatch(name) and path.is_file() else None


def project_files(folders: Iterable[Path]) -> list[Path]:
    """The files in ``valetkey_providers/`` of these folders, by name; a folder that is not there has none."""
    return [
        path for folder in folders for path in sorted((folder / FOLDER).glob("*.toml")) if not path.name.startswith(".")
    ]
