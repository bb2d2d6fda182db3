"""Tools from a folder or a repository: the forms that a Pocket takes, and from_git, from_local."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from valetkey.errors import InvalidArguments
from valetkey.tools.folder import FolderTool

if TYPE_CHECKING:
    from valetkey.wiring.folder_tools import FolderTools
    from valetkey.wiring.system import System

FolderLike = str | Path | tuple[str | Path, Mapping[str, str]]
"""A folder or a URL; or one of them with values for the tool's variables."""

_PAIR = 2


def is_folder(one: object) -> bool:
    """Whether a Pocket takes it for a folder or a URL."""
    return isinstance(one, str | Path | tuple)


def is_one(given: object) -> bool:
    """Whether it is one tool, and no list of several."""
    pair = isinstance(given, tuple) and len(given) == _PAIR and isinstance(given[1], Mapping)
    return isinstance(given, str | Path) or pair


def load(system: System, one: object) -> FolderTool:
    """The tool that is meant.

    Raises:
        InvalidArguments: it is no folder or URL, with variables or without.
        InvalidSetting, Denied, NotFound, ProviderUnavailable: as ``FolderTools.load`` does.
    """
    place, variables = one if isinstance(one, tuple) and len(one) == _PAIR else (one, None)
    if not isinstance(place, str | Path) or not str(place).strip():
        raise InvalidArguments(
            'A tool from a folder or a repository is "./folder", a URL, or ("./folder", {"NAME": "value"}).'
        )
    return _tools(system).load(str(place), variables)


def from_local(path: str | Path, tool_vars: Mapping[str, str] | None = None) -> FolderTool:
    """A tool of a folder of this machine: your own code, which runs without anybody's yes.

    Args:
        path: of the folder, which has ``pocket.json``, or ``config.toml`` and ``schema.json``.
        tool_vars: values for the variables that it declares.

    Raises:
        InvalidSetting: there is no tool that can be run; names the file and the key.
        InvalidArguments: it declares no such variable.
    """
    return _tools(_default()).from_folder(Path(path), tool_vars)


def from_git(repository: str, ref: str, rel_path: str, tool_vars: Mapping[str, str] | None = None) -> FolderTool:
    """A tool of a git repository, at what ``ref`` is now, which a person has approved (``valetkey tools approve``).

    Args:
        repository: an https URL, or a path of this machine.
        ref: a branch, a tag, a commit's full id, or ``HEAD``.
        rel_path: the tool's folder in it.
        tool_vars: values for the variables that it declares.

    Raises:
        Denied: nobody has approved that commit, or its code was changed on this machine.
        InvalidSetting: there is no tool that can be run; names the file and the key.
        NotFound, ProviderUnavailable: the repository has no such branch, or cannot be read.
    """
    from valetkey.wiring.folder_tools import source_of

    return _tools(_default()).from_source(source_of(repository, ref, rel_path), tool_vars)


def _default() -> System:
    from valetkey.entrypoints.pocket.default import default_system

    return default_system()


def _tools(system: System) -> FolderTools:
    from valetkey.wiring.folder_tools import open_folder_tools

    return open_folder_tools(system.config, system.folder, environ=system.environ, clock=system.clock)
