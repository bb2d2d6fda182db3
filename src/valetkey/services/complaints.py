"""Log what goes wrong, and not the same again and again: who floods us is not to fill the log."""

from __future__ import annotations

import logging

from valetkey.ports.world import Clock

EVERY = 10.0
"""Seconds between two lines that say the same, or are about the same client."""

MOST = 20
"""Lines about clients in that time, all in all."""

_LONGEST = 200  # characters of what a client said
_log = logging.getLogger("valetkey.services")


class Complaints:
    """Warnings, each kind of them now and then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._again: dict[str, float] = {}
        self._until = 0.0
        self._named: set[tuple[str, str]] = set()  # of which clients what was said since
        self._unsaid = 0

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

    def of(self, client: str, text: str, *about: object, level: int = logging.WARNING) -> None:
        """Log what is wrong with a client, where nothing was said of it just now, nor too much of all of them.

        Args:
            client: its address.
            text: what is wrong, with ``%s`` in it for the address, and one more for each of the others.
            about: what it is about this time.
            level: of `logging`.
        """
        if not _log.isEnabledFor(level):
            return
        now = self._clock.monotonic()
        if now >= self._until:
            if self._unsaid:
                _log.warning("%d more lines about messages of clients were left out", self._unsaid)
            self._until, self._unsaid = now + EVERY, 0
            self._named.clear()
        if (client, text) in self._named or len(self._named) >= MOST:
            self._unsaid += 1
            return
        self._named.add((client, text))
        _log.log(level, text, client, *(str(each)[:_LONGEST] for each in about))
