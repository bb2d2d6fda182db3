"""Find a provider: built-in, from the user's project, or inline (OAuthHandler)."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from valetkey.errors import InvalidSetting, UnknownProvider
from valetkey.providers.base import DERIVED, HandlerEntry, Provider
from valetkey.providers.catalog.files import FOLDER, builtin_file, project_files
from valetkey.providers.catalog.load import load
from valetkey.providers.endpoints import override
from valetkey.providers.names import BUILTIN, AuthProvider, look_in, nearest, shown

_NAME = re.compile(r"[a-z][a-z0-9_-]*")  # an inline provider's may hold a hyphen

_lock = threading.Lock()
_builtin: dict[str, Provider] = {}


class Registry:
    """The providers that there are. A file is read when its provider is first asked for, once.

    May be used from any thread.

    Args:
        paths: folders whose ``valetkey_providers/`` hold the user's own; by default the current one.
    """

    override = staticmethod(override)

    def __init__(self, paths: Iterable[str | Path] = ("",)) -> None:
        self._folders = [Path(path).absolute() for path in paths]
        self._lock = threading.RLock()
        self._known: dict[str, Provider] = {}
        self._handlers: dict[str, tuple[Provider, HandlerEntry]] = {}
        self._registered: dict[str, Provider] = {}
        look_in(self._folders)

    def get(self, name: str) -> Provider:
        """The provider of that name.

        Raises:
            UnknownProvider: there is none; names the nearest.
            InvalidSetting: its file cannot be used; names the file and the key.
        """
        known = self._known.get(name)
        if known is not None:
            return known
        with self._lock:
            file = self._project().get(name)
            if file is not None:
                return self._known.setdefault(name, _own(load(file, operator=True), f"{FOLDER}/{file.name}"))
            if name in BUILTIN:
                return self._known.setdefault(name, _load_builtin(name))
        raise UnknownProvider(
            f"There is no provider {shown(name)}.{nearest(name, self.names())} "
            f"Your own is described in {FOLDER}/<name>.toml."
        )

    def names(self) -> tuple[str, ...]:
        """The names of all providers, sorted.

        Raises:
            InvalidSetting: a file of the project has a name that cannot be used.
        """
        with self._lock:
            return tuple(sorted({*BUILTIN, *self._project(), *self._registered}))

    def register(self, provider: Provider) -> None:
        """Add a provider that is in no file. The same one again changes nothing.

        Raises:
            InvalidSetting: its name is not one, or it or one of its handlers is there already.
        """
        _check(provider)
        with self._lock:
            if self._registered.get(provider.name) == provider:
                return
            if provider.name in self.names():
                raise InvalidSetting(f"There is a provider {provider.name!r} already. Give yours another name.")
            for entry in provider.handlers:
                # Those whose name begins the handler's: reading every file here would cost each inline provider.
                if (held := self._handler(entry.name, everywhere=False)) is not None:
                    raise InvalidSetting(
                        f"{held[0].title} has a handler {entry.name!r} already. Give yours another name."
                    )
            self._registered[provider.name] = self._known[provider.name] = provider
        AuthProvider.register(provider.name)

    def find_handler(self, name: str) -> tuple[Provider, HandlerEntry]:
        """A handler by its name, in which ``_`` is as good as ``-``, and the provider that it belongs to.

        Raises:
            UnknownProvider: there is none; names the nearest.
            InvalidSetting: a file of the project cannot be used.
        """
        found = self._handlers.get(name) or self._handler(name)
        if found is None:
            known = [known for provider in self._candidates("") for known in _handler_names(provider)]
            raise UnknownProvider(f"There is no auth handler {shown(name)}.{nearest(name, known)}")
        return self._handlers.setdefault(name, found)

    def _handler(self, name: str, *, everywhere: bool = True) -> tuple[Provider, HandlerEntry] | None:
        wanted = _dashed(name)
        for provider in self._candidates(wanted, everywhere=everywhere):
            for entry in provider.handlers:
                if _dashed(entry.name) == wanted:
                    return provider, entry
            derived = provider.handler(wanted)
            if derived is not None:
                return provider, derived
        return None

    def _candidates(self, handler: str, *, everywhere: bool = True) -> Iterator[Provider]:
        """All providers; those whose name begins the handler's come first: seldom is a second one read."""
        names = self.names()
        near = [name for name in names if handler.startswith(_dashed(name))]
        yield from map(self.get, sorted(near, key=len, reverse=True))
        if everywhere:
            yield from (self.get(name) for name in names if name not in near)

    def _project(self) -> dict[str, Path]:
        """The project's files by provider; listed each time, for one may just have been written."""
        files: dict[str, Path] = {}
        for file in project_files(self._folders):
            shown_file = f"{FOLDER}/{file.name}"
            if file.stem in BUILTIN:
                raise InvalidSetting(f"{shown_file}: we ship a provider {file.stem!r} already. Rename the file.")
            if files.setdefault(file.stem, file) != file:
                raise InvalidSetting(f"{shown_file} is in two folders. Rename one of the files.")
            if file.stem in self._registered:
                raise InvalidSetting(f"{shown_file}: {file.stem!r} is registered by the program. Rename the file.")
        return files


def _own(provider: Provider, file: str) -> Provider:
    """The project's provider, unless one of its handlers has the name of one that we ship, or of another grant of it.

    Raises:
        InvalidSetting: it has; names the file and the handler.
    """
    for entry in provider.handlers:
        wanted = _dashed(entry.name)
        for name in BUILTIN:
            if wanted.startswith(f"{_dashed(name)}-") and _load_builtin(name).handler(wanted) is not None:
                raise InvalidSetting(
                    f"{file}: handlers.{entry.name} has the name of a handler of ours, which connects {name} accounts. "
                    f"Call it {_dashed(provider.name)}-…"
                )
    return provider


def _load_builtin(name: str) -> Provider:
    with _lock:
        if name not in _builtin:
            file = builtin_file(name)
            if file is None:
                raise UnknownProvider(f"The provider {name!r} is missing from this installation. Install it again.")
            _builtin[name] = load(file, operator=False)
        return _builtin[name]


def _check(provider: Provider) -> None:
    if not _NAME.fullmatch(provider.name):
        raise InvalidSetting(f"{shown(provider.name)} is no provider's name: lower-case letters, digits, underscores.")
    names = [_dashed(entry.name) for entry in provider.handlers]
    if not names or len(set(names)) != len(names):
        raise InvalidSetting(f"The provider {provider.name!r} needs at least one handler, each with a name of its own.")
    if sum(entry.default for entry in provider.handlers) != 1:
        raise InvalidSetting(f"Exactly one handler of the provider {provider.name!r} has to be its default.")


def _handler_names(provider: Provider) -> Iterator[str]:
    yield from (entry.name for entry in provider.handlers)
    derived = (f"{_dashed(provider.name)}-{ending}" for ending in DERIVED)
    yield from (name for name in derived if provider.handler(name) is not None)


def _dashed(name: str) -> str:
    return name.replace("_", "-")
