"""Code of the user's project: a class in a module below its ``valetkey_providers``, imported by where its file is."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from valetkey.errors import InvalidSetting

ROOT = "valetkey_project_providers"
"""What the modules are called here: no name of the project's own, nor of any other package.

It says nothing of the folder, so that what is kept of an account is found again where the project has moved.
"""

_SHOWN = 200
_lock = threading.RLock()


def load_class(folder: str, module: str, name: str) -> type[Any]:
    """The class of that name; its module is imported at first need, and again only from another folder.

    Raises:
        InvalidSetting: it is not there, or its module cannot be imported; the text names the file and the line.
    """
    with _lock:
        found = getattr(_imported(Path(folder), module), name, None)
    if not isinstance(found, type):
        raise InvalidSetting(f"{_file(Path(folder), module)} has no class {name}. Name the one that it has.")
    return found


def _imported(folder: Path, module: str) -> ModuleType:
    top = f"{ROOT}.{module.partition('.')[0]}"
    held = sys.modules.get(top)
    if held is not None and not Path(str(held.__file__)).is_relative_to(folder):
        _forget(top)
    try:
        if ROOT not in sys.modules:
            sys.modules[ROOT] = ModuleType(ROOT, "Modules of the project's own, by provider.")
        if top not in sys.modules:
            _load_top(folder, top)
        return importlib.import_module(f"{ROOT}.{module}")
    except InvalidSetting:
        raise
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything
        _forget(top)
        raise InvalidSetting(_told(error, folder, module)) from None


def _load_top(folder: Path, top: str) -> None:
    name = top.rpartition(".")[2]
    package = folder / name / "__init__.py"
    file = package if package.is_file() else folder / f"{name}.py"
    places = [str(package.parent)] if file is package else None
    spec = importlib.util.spec_from_file_location(top, file, submodule_search_locations=places)
    if spec is None or spec.loader is None or not file.is_file():
        raise InvalidSetting(f"{folder.name} has neither {name}/__init__.py nor {name}.py. Write one of them.")
    made = sys.modules[top] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)


def _forget(top: str) -> None:
    for each in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
        del sys.modules[each]


def _told(error: Exception, folder: Path, module: str) -> str:
    """Where it happened, and what: the last line of the project's own that was on the way."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _within(frame.filename, folder)]
    file, line = (frames[-1].filename, frames[-1].lineno) if frames else (str(_file(folder, module)), None)
    if isinstance(error, SyntaxError) and error.filename and _within(error.filename, folder):
        file, line = error.filename, error.lineno
    place = Path(file).relative_to(folder.parent) if _within(file, folder) else Path(file)
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{place}{'' if line is None else f', line {line}'}: {type(error).__name__}: {_cut(said)}. Mend it there."


def _cut(text: str) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line[:_SHOWN].rstrip(".")


def _within(file: str, folder: Path) -> bool:
    return Path(file).is_relative_to(folder)


def _file(folder: Path, module: str) -> Path:
    return Path(folder.name, *module.split(".")).with_suffix(".py")
