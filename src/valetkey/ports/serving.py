"""Listening: one app on one port."""

from __future__ import annotations

from typing import Protocol


class Listening(Protocol):
    """One app on one port of this machine."""

    @property
    def port(self) -> int:
        """The port that is listened on."""
        ...

    async def start(self) -> None:
        """Listen on the running loop.

        Raises:
            PortTaken: the port is in use.
        """
        ...

    async def stop(self) -> None:
        """Stop."""
        ...
