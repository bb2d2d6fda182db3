"""A TOML table read strictly: each key asked for by type, and what nobody asked for is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar, overload

from valetkey.errors import InvalidSetting
from valetkey.providers.base import Endpoint
from valetkey.providers.endpoints import checked_template

T = TypeVar("T", bound=str)
V = TypeVar("V")

_NOTHING = object()


class Table:
    """One table of a file. Every reader raises InvalidSetting with the file and the full key.

    Args:
        values: the table.
        file: the file's name, for errors.
        path: the keys that lead here, with a dot after each.
        operator: whether the file is the operator's own: its endpoints are, and may be http on loopback.
    """

    def __init__(self, values: Mapping[str, object], file: str, path: str = "", *, operator: bool) -> None:
        self._values = values
        self._file = file
        self._path = path
        self._operator = operator
        self._asked: set[str] = set()

    def fault(self, key: str, why: str) -> InvalidSetting:
        """The error for a key: file, key, what is wrong with it."""
        return InvalidSetting(f"{self._file}: {f'{self._path}{key}'.rstrip('.')} {why}.")

    def end(self) -> None:
        """Refuse the keys that were not asked for.

        Raises:
            InvalidSetting: there are some.
        """
        unknown = sorted(set(self._values) - self._asked)
        if unknown:
            known = ", ".join(sorted(self._asked))
            raise self.fault(unknown[0], f"is not known here; there are {known}")

    def _read(self, key: str, kind: type[V], *, required: bool = False) -> V | None:
        self._asked.add(key)
        if key not in self._values:
            if required:
                raise self.fault(key, "is missing")
            return None
        value = self._values[key]
        if not isinstance(value, kind):
            raise self.fault(key, f"is not of type {kind.__name__}")
        return value

    @overload
    def text(self, key: str) -> str: ...
    @overload
    def text(self, key: str, default: str) -> str: ...
    def text(self, key: str, default: str | None = None) -> str:
        """A string; one without a default must be there and not be empty."""
        value = self._read(key, str, required=default is None)
        if value is None:
            return default or ""
        if default is None and not value.strip():
            raise self.fault(key, "is empty")
        return value

    def boolean(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._read(key, bool)
        return default if value is None else value

    def number(self, key: str, default: float | None) -> float | None:
        """A number."""
        value = self._read(key, object)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fault(key, "is not of type number")
        return float(value)

    @overload
    def choice(self, key: str, known: tuple[T, ...]) -> T: ...
    @overload
    def choice(self, key: str, known: tuple[T, ...], default: V) -> T | V: ...
    def choice(self, key: str, known: tuple[T, ...], default: object = _NOTHING) -> object:
        """One of the known strings."""
        value = self._read(key, str, required=default is _NOTHING)
        if value is None:
            return default
        found = next((each for each in known if each == value), None)
        if found is None:
            raise self.fault(key, f"is none of {', '.join(known)}")
        return found

    @overload
    def texts(self, key: str) -> tuple[str, ...]: ...
    @overload
    def texts(self, key: str, default: V) -> tuple[str, ...] | V: ...
    def texts(self, key: str, default: object = ()) -> object:
        """A list of strings, each once."""
        value = self._read(key, list)
        if value is None:
            return default
        return self._strings(key, value)

    def texts_by_name(self, key: str) -> Mapping[str, str]:
        """A table of strings."""
        return self._by_name(key, self._string)

    def sets_by_name(self, key: str) -> Mapping[str, frozenset[str]]:
        """A table of lists of strings."""
        return self._by_name(key, lambda inner, value: frozenset(self._strings(inner, value)))

    def table(self, key: str) -> Table:
        """A table that must be there."""
        value = self._read(key, dict, required=True)
        return self._inner(key, value or {})

    def table_if(self, key: str) -> Table | None:
        """A table that may be there."""
        value = self._read(key, dict)
        return None if value is None else self._inner(key, value)

    def tables(self, key: str) -> Mapping[str, Table]:
        """A table of tables, at least one."""
        value = self._read(key, dict, required=True)
        if not value:
            raise self.fault(key, "is empty")
        return {name: self._inner(f"{key}.{name}", inner) for name, inner in value.items()}

    def list_of_tables(self, key: str) -> tuple[Table, ...]:
        """A list of tables."""
        value = self._read(key, list) or []
        return tuple(self._inner(f"{key}[{place}]", inner) for place, inner in enumerate(value))

    def endpoint(self, key: str, *, required: bool = True) -> Endpoint:
        """A URL that may hold ``{placeholders}``; empty where it is not required and not there."""
        return Endpoint(url=self.url(key) if required else self.url(key, ""), operator=self._operator)

    @overload
    def url(self, key: str) -> str: ...
    @overload
    def url(self, key: str, default: str) -> str: ...
    def url(self, key: str, default: str | None = None) -> str:
        """A URL that may hold ``{placeholders}``."""
        url = self.text(key) if default is None else self.text(key, default)
        if url:
            checked_template(url, f"{self._file}: {self._path}{key}", operator=self._operator)
        return url

    def origins(self, key: str) -> frozenset[str]:
        """A list of origins, ``https://host``, that may hold ``{placeholders}`` and begin with ``*.``."""
        origins = self.texts(key)
        for place, origin in enumerate(origins):
            where = f"{self._file}: {self._path}{key}[{place}]"
            checked_template(origin, where, operator=self._operator, origin=True)
        return frozenset(origins)

    def _inner(self, key: str, value: object) -> Table:
        if not isinstance(value, dict):
            raise self.fault(key, "is no table")
        return Table(value, self._file, f"{self._path}{key}.", operator=self._operator)

    def _by_name(self, key: str, read: Callable[[str, object], V]) -> Mapping[str, V]:
        value = self._read(key, dict) or {}
        return MappingProxyType({name: read(f"{key}.{name}", each) for name, each in value.items()})

    def _string(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.fault(key, "is not of type str")
        return value

    def _strings(self, key: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.fault(key, "is not a list of strings")
        if len(set(value)) != len(value):
            raise self.fault(key, "names something twice")
        return tuple(value)
