"""What the rooms ask of the table of handlers."""

from __future__ import annotations

from typing import Protocol

from valetkey.connections.handler import Handler
from valetkey.errors import UnknownProvider


class Finder(Protocol):
    """Finds handlers; ``connections/handling.py`` is one."""

    def find(self, name: str | None, provider: str | None) -> Handler:
        """By name, else the provider's default.

        Raises:
            UnknownProvider: there is none.
        """
        ...


def known(finder: Finder, name: str, provider: str) -> Handler | None:
    """The handler, where this program has it: a row may be of another program with a handler of its own."""
    try:
        return finder.find(name, provider)
    except UnknownProvider:
        return None
