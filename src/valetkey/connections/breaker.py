"""Refreshes at one provider: how many at once, and none while it does not answer."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from valetkey.connections.pace import fraction
from valetkey.errors import ProviderUnavailable
from valetkey.model.events import BreakerMoved
from valetkey.ports.messages import Recorder
from valetkey.ports.world import Clock, Entropy

AT_ONCE = 10
"""Refreshes that one process has under way at one provider."""

OPENS_AFTER = 5
"""Failures in a row, of whichever accounts, after which refreshes pause."""

FIRST_PAUSE, LONGEST_PAUSE = 15.0, 300.0
"""Seconds of a pause; twice as long after each probe that failed."""

PATIENCE = 20.0
"""Seconds that a refresh waits for its turn."""

_log = logging.getLogger("valetkey")


class Breaker:
    """One provider, as this process sees it. For any loop and any thread.

    After ``OPENS_AFTER`` failures in a row it is open: nobody asks. When the pause is over one may, the probe; its
    success closes the breaker, its failure opens it for longer.
    """

    def __init__(self, provider: str, *, clock: Clock, entropy: Entropy, recorder: Recorder) -> None:
        self._provider = provider
        self._clock = clock
        self._entropy = entropy
        self._recorder = recorder
        self._lock = threading.Lock()
        self._running = 0
        self._waiting: deque[concurrent.futures.Future[None]] = deque()
        self._patient: deque[concurrent.futures.Future[None]] = deque()
        self._failures = 0
        self._pauses = 0
        self._closed_at = 0.0
        self._probing = False

    @asynccontextmanager
    async def turn(self, *, urgent: bool = True) -> AsyncIterator[None]:
        """Wait for one of the places; those who are not ``urgent`` let all others go first.

        Raises:
            ProviderUnavailable: the breaker is open, or no place came free in time.
        """
        self._check()
        await self._enter(urgent=urgent)
        try:
            # Those ahead in the line may have found out meanwhile.
            probes = self._check(take=True)
            try:
                yield
            finally:
                if probes:
                    with self._lock:
                        self._probing = False
        finally:
            self._leave()

    def succeeded(self) -> None:
        """The provider answered sensibly, be it with a refusal."""
        with self._lock:
            was_open, self._failures, self._pauses = self._pauses > 0, 0, 0
            self._closed_at = 0.0
        if was_open:
            _log.info("%s answers again: accounts are refreshed as usual", self._provider)
            self._recorder.record(BreakerMoved(provider=self._provider, open=False))

    def failed(self) -> None:
        """It gave no answer, or none that makes sense."""
        with self._lock:
            if self._pauses and self._clock.monotonic() < self._closed_at:
                return  # it was under way when the breaker opened, and says nothing new
            self._failures += 1
            if self._failures < OPENS_AFTER:
                return
            self._failures = OPENS_AFTER - 1  # the probe that follows needs one more
            length = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._pauses, 16))
            length *= 0.5 + 0.5 * fraction(self._entropy)
            opened, self._pauses = self._pauses == 0, self._pauses + 1
            self._closed_at = self._clock.monotonic() + length
        if opened:
            _log.warning("%s does not answer: refreshes pause, tokens that still serve are used", self._provider)
            self._recorder.record(BreakerMoved(provider=self._provider, open=True))

    def _check(self, *, take: bool = False) -> bool:
        """Whether the turn is the probe."""
        with self._lock:
            if not self._pauses:
                return False
            left = self._closed_at - self._clock.monotonic()
            if left <= 0 and not self._probing:
                self._probing = take
                return take
        raise ProviderUnavailable(
            f"{self._provider} did not answer the last times, so it is not asked for a moment. Try again later.",
            retry_after=max(1.0, left),
        )

    async def _enter(self, *, urgent: bool) -> None:
        with self._lock:
            if self._running < AT_ONCE:
                self._running += 1
                return
            place: concurrent.futures.Future[None] = concurrent.futures.Future()
            (self._waiting if urgent else self._patient).append(place)
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.wrap_future(place)
        except (TimeoutError, asyncio.CancelledError) as error:
            if not place.cancel():
                self._leave()  # it was given to us in the same moment
            if isinstance(error, TimeoutError):
                raise ProviderUnavailable(
                    f"Too many accounts of {self._provider} are being refreshed. Call again."
                ) from None
            raise

    def _leave(self) -> None:
        with self._lock:
            while self._waiting or self._patient:
                # Handed over, not given back: nobody overtakes who waits.
                place = (self._waiting or self._patient).popleft()
                if place.set_running_or_notify_cancel():
                    place.set_result(None)
                    break
            else:
                self._running -= 1


class Breakers:
    """One breaker for each provider."""

    def __init__(self, *, clock: Clock, entropy: Entropy, recorder: Recorder) -> None:
        self._clock = clock
        self._entropy = entropy
        self._recorder = recorder
        self._lock = threading.Lock()
        self._breakers: dict[str, Breaker] = {}

    def of(self, provider: str) -> Breaker:
        """The provider's."""
        with self._lock:
            if provider not in self._breakers:
                self._breakers[provider] = Breaker(
                    provider, clock=self._clock, entropy=self._entropy, recorder=self._recorder
                )
            return self._breakers[provider]
