"""AuthProvider: open, by name; the built-in names for the editor."""

from __future__ import annotations

import difflib
import functools
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, Self

from valetkey.errors import InvalidSetting, UnknownProvider
from valetkey.providers.builtin import BuiltinNames
from valetkey.providers.catalog.files import FOLDER, NAME, project_files

_REGISTERED_NAME = re.compile(r"[a-z][a-z0-9_-]*")  # an inline provider's may hold a hyphen
_ATTRIBUTE = re.compile(r"[A-Z][A-Z0-9_]*")
_ABOUT = 0.05  # of difflib's ratio

_lock = threading.Lock()
_members: dict[str, AuthProvider] = {}
_folders: list[Path] = []


class _Names(type):
    """What the class itself can: ``AuthProvider.SLACK``, ``AuthProvider["SLACK"]``, ``in``, ``for``."""

    def __getattr__(cls, name: str) -> AuthProvider:
        if not _ATTRIBUTE.fullmatch(name):
            raise AttributeError(f"AuthProvider has no attribute {name!r}.")
        found = _find(name.lower())
        if found is None:
            raise AttributeError(_unknown(name, upper=True))
        return found

    def __setattr__(cls, name: str, value: object) -> None:
        if _ATTRIBUTE.fullmatch(name):
            raise AttributeError(f"AuthProvider.{name} cannot be set. Use AuthProvider.register({name.lower()!r}).")
        super().__setattr__(name, value)

    def __getitem__(cls, name: str) -> AuthProvider:
        found = _find(name.lower())
        if found is None:
            raise KeyError(_unknown(name, upper=True))
        return found

    def __iter__(cls) -> Iterator[AuthProvider]:
        return iter(_all())

    def __reversed__(cls) -> Iterator[AuthProvider]:
        return reversed(_all())

    def __len__(cls) -> int:
        return len(_all())

    def __bool__(cls) -> bool:
        return True

    def __contains__(cls, value: object) -> bool:
        return isinstance(value, AuthProvider) or (isinstance(value, str) and _find(value) is not None)

    def __dir__(cls) -> list[str]:
        return [*super().__dir__(), *cls.__members__]

    @property
    def __members__(cls) -> Mapping[str, AuthProvider]:
        return MappingProxyType({member.name: member for member in _all()})


@functools.total_ordering
class AuthProvider(BuiltinNames, metaclass=_Names):
    """A provider by name: one object for each name that has an entry.

    An entry is one of the catalogue, one of the user's project (``valetkey_providers/<name>.toml``), or made
    by :meth:`register`. ``AuthProvider("slack")``, ``AuthProvider.SLACK`` and ``AuthProvider["SLACK"]`` are
    the same object. It is iterated, compared, hashed, pickled and copied like a member of an enumeration.

    Raises:
        UnknownProvider: no provider has that value; names the nearest.
    """

    __slots__ = ("_value",)
    _value: str

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError('AuthProvider is not subclassed. AuthProvider.register("my_service") adds a name to it.')

    def __new__(cls, value: str | AuthProvider) -> Self:
        """The provider of that value, in any case."""
        if isinstance(value, cls):
            return value
        found = _find(value.lower()) if isinstance(value, str) else None
        if not isinstance(found, cls):
            raise UnknownProvider(_unknown(value))
        return found

    @property
    def name(self) -> str:
        """Upper case, such as ``SLACK``."""
        return self._value.upper()

    @property
    def value(self) -> str:
        """Lower case, such as ``slack``."""
        return self._value

    @classmethod
    def get_auth_provider(cls, name: str) -> AuthProvider:
        """The provider of that name, in any case.

        Raises:
            UnknownProvider: there is none.
        """
        return cls(name)

    @classmethod
    def register(cls, name: str) -> AuthProvider:
        """Make an entry for a provider of your own; the same object again if there is one.

        Raises:
            InvalidSetting: it is no provider's name.
        """
        if not isinstance(name, str) or not _REGISTERED_NAME.fullmatch(name):
            raise InvalidSetting(
                f"{shown(name)} is no provider's name. Use lower-case letters, digits and underscores."
            )
        return _member(name)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{self} is a constant.")

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, AuthProvider):
            return NotImplemented
        return self._value < other._value

    def __repr__(self) -> str:
        return f"<AuthProvider.{self.name}: {self._value!r}>"

    def __str__(self) -> str:
        return f"AuthProvider.{self.name}"

    def __reduce__(self) -> tuple[type[AuthProvider], tuple[str]]:
        return AuthProvider, (self._value,)


BUILTIN: tuple[str, ...] = tuple(name.lower() for name in BuiltinNames.__annotations__)
"""The values of the providers that we ship."""


def look_in(folders: Iterable[Path]) -> None:
    """Take the providers of these projects too, besides those of the current folder."""
    with _lock:
        _folders.extend(folder for folder in folders if folder not in _folders)


def nearest(wanted: object, known: Iterable[str]) -> str:
    """`` Did you mean …?`` with the nearest of the known, up to three that are about as near; empty when none is."""
    text = str(wanted)[:60]
    near = difflib.get_close_matches(text, list(known), n=3, cutoff=0.5)
    if not near:
        return ""

    # Among hundreds of names, some that share a few letters always pass: a slip of the pen has one like no other.
    best, *others = [difflib.SequenceMatcher(None, each, text).ratio() for each in near]
    return f" Did you mean {' or '.join(near[: 1 + sum(other > best - _ABOUT for other in others)])}?"


def _member(value: str) -> AuthProvider:
    with _lock:
        if value not in _members:
            member = object.__new__(AuthProvider)
            object.__setattr__(member, "_value", value)
            _members[value] = member
        return _members[value]


def _find(value: str) -> AuthProvider | None:
    if value in _members:
        return _members[value]
    # A project's file is found when it is first asked for; nothing is read at import.
    return _member(value) if NAME.fullmatch(value) and value in _in_projects() else None


def _all() -> tuple[AuthProvider, ...]:
    for value in _in_projects():
        _member(value)
    return tuple(_members.values())


def _in_projects() -> list[str]:
    return [path.stem for path in project_files(dict.fromkeys([Path(), *_folders])) if NAME.fullmatch(path.stem)]


def shown(value: object) -> str:
    """A name that somebody gave, for an error: quoted and not too long."""
    return repr(value)[:80]


def _unknown(value: object, *, upper: bool = False) -> str:
    wanted, known = str(value).lower(), [member.value for member in _all()]
    near = nearest(wanted.upper(), map(str.upper, known)) if upper else nearest(wanted, known)
    return (
        f"There is no provider {shown(value)}.{near} Your own is described in {FOLDER}/<name>.toml, "
        "or named by AuthProvider.register."
    )


for _value in BUILTIN:
    _member(_value)
