"""What is remembered of a provider between two requests: the secret it took last, and of what was warned."""

from __future__ import annotations

import hmac
import logging
import threading
from collections.abc import Mapping, Sequence

from valetkey.protocol.dates import http_date
from valetkey.secret import Secret

SKEW = 300.0
"""Seconds that a provider's clock may differ from ours before it is told."""

NONCES = 100
"""Servers of one provider whose nonces are remembered."""

_log = logging.getLogger("valetkey")


class Notes:
    """One provider, as this process knows it. For any loop and any thread; lost with the process."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._lock = threading.Lock()
        self._taken: Secret | None = None
        self._warned: set[str] = set()
        self._nonces: dict[str, str] = {}

    def ordered(self, secrets: Sequence[Secret]) -> list[Secret]:
        """The client's secrets, the one first that the provider took last."""
        with self._lock:
            taken = self._taken
        return sorted(secrets, key=lambda each: each != taken)

    def took(self, secret: Secret) -> None:
        """The provider knows the client by that secret now."""
        with self._lock:
            self._taken = secret

    def nonce(self, origin: str) -> str:
        """What that server asked to have in proofs last (RFC 9449 §8); empty: nothing."""
        with self._lock:
            return self._nonces.get(origin, "")

    def keep_nonce(self, origin: str, nonce: str) -> bool:
        """Remember it; whether it is another one than before."""
        with self._lock:
            before = self._nonces.get(origin)
            if before is None and len(self._nonces) >= NONCES:
                self._nonces.clear()
            self._nonces[origin] = nonce
        return before is None or not hmac.compare_digest(before.encode("utf-8"), nonce.encode("utf-8"))

    def hear(self, date: str | None, *, now: float) -> None:
        """Warn once where the provider's clock is far from ours; lifetimes count on ours, from the answer on.

        Args:
            date: the answer's Date header (RFC 9110 §6.6.1), which may make no sense.
            now: when the answer came, in seconds since the epoch.
        """
        there = http_date(date)
        if there is None or abs(there - now) <= SKEW:
            return
        self.warn(
            "clock",
            "The clock of %(provider)s is %(minutes)d minutes %(way)s ours. Set this machine's clock if it is the "
            "wrong one: what it says decides when a token counts as ended.",
            {"minutes": abs(there - now) // 60, "way": "ahead of" if there > now else "behind"},
        )

    def warn(self, about: str, text: str, values: Mapping[str, object] | None = None) -> None:
        """Log a warning about something, the first time that it comes up."""
        with self._lock:
            first = about not in self._warned
            self._warned.add(about)
        if first:
            _log.warning(text, {"provider": self._provider, **(values or {})})
