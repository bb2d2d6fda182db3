"""Log what goes wrong, and not the same again and again: who floods us is not to fill the log."""

from __future__ import annotations

import logging

from valetkey.ports.world import Clock

EVERY = 10.0
"""Seconds between two lines that say the same."""

_log = logging.getLogger("valetkey.services")


class Complaints:
    """Warnings, each kind of them now and then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._again: dict[str, float] = {}

    def __call__(self, text: str, about: str) -> None:
        """Log it, where that kind was not logged just now.

        Args:
            text: the kind, with ``%s`` in it.
            about: what it is about this time.
        """
        now = self._clock.monotonic()
        if now >= self._again.get(text, 0.0):
            self._again[text] = now + EVERY
            _log.warning(text, about)
