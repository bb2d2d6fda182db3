"""A value that prints as stars until someone calls reveal()."""

from __future__ import annotations

import hmac
from typing import NoReturn

MASK = "***"


def _octets(value: str) -> bytes:
    # JSON may bring lone surrogates, which UTF-8 has not.
    return value.encode("utf-8", "surrogatepass")


class Secret:
    """A string that neither prints, formats, pickles nor serialises.

    Two secrets are compared in constant time. A lint names the files that may call :meth:`reveal`.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            kind = type(value).__name__
            raise TypeError(f"a Secret holds a str, not {kind}")
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one place that needs it."""
        return self._value

    def matches(self, given: str) -> bool:
        """Whether somebody gave this very value; compared in constant time."""
        return hmac.compare_digest(_octets(self._value), _octets(given))

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_octets(self._value), _octets(other._value))

    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied out; seal it in the vault instead")
