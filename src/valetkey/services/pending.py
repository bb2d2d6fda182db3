"""Calls that wait for their reply: who called whom, until when. A reply is taken from whom was called alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from valetkey.errors import InvalidArguments, RateLimited
from valetkey.ports.world import Clock
from valetkey.services import frames
from valetkey.services.frames import Message

_SLACK = 5.0  # seconds beyond the two heartbeats after which a caller gives up
_log = logging.getLogger("valetkey.services")


@dataclass(slots=True)
class Pending:
    """One of them; a `frames.Waiting`.

    Attributes:
        until: when its caller gives up, by a clock that never goes back.
        span: seconds that each heartbeat adds.
        ended: called once it has its reply, or gets none.
    """

    sender: str
    to: str
    session: str
    until: float
    span: float
    ended: Callable[[], None] | None = None


class PendingCalls:
    """All that this instance's peers wait for. For use on the home loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_caller: dict[str, dict[str, Pending]] = {}  # then by session
        self._by_callee: dict[str, dict[tuple[str, str], None]] = {}  # then by caller and session

    def add(self, call: Message, *, most: int) -> None:
        """One waits from now on.

        Raises:
            InvalidArguments: its caller waits for another one of that session.
            RateLimited: too many of its caller's wait.
        """
        now = self._clock.monotonic()
        there = self._by_caller.get(call.sender)
        if there is None:
            there = self._by_caller[call.sender] = {}
        elif call.session in there:
            raise InvalidArguments("A call of that session waits for its reply already.")
        elif len(there) >= most:
            self._expire(call.sender, now)
            if len(there) >= most:
                raise RateLimited(f"{most} calls of this client wait already.", retry_after=1)
            self._by_caller[call.sender] = there
        span = 2 * (call.interval or frames.LONGEST_INTERVAL) + _SLACK
        there[call.session] = Pending(call.sender, call.to, call.session, now + span, span)
        waiting = self._by_callee.get(call.to)
        if waiting is None:
            waiting = self._by_callee[call.to] = {}
        waiting[call.sender, call.session] = None

    def find(self, caller: str, session: str, *, of: str) -> Pending | None:
        """A call that waits for that peer's reply."""
        there = self._by_caller.get(caller)
        waits = None if there is None else there.get(session)
        return waits if waits is not None and waits.to == of else None

    def beat(self, waits: Pending) -> None:
        """It goes on."""
        waits.until = self._clock.monotonic() + waits.span

    def end(self, waits: Pending) -> None:
        """It waits no more."""
        there = self._by_caller.get(waits.sender)
        if there is None or there.get(waits.session) is not waits:
            return
        del there[waits.session]
        if not there:
            del self._by_caller[waits.sender]
        waiting = self._by_callee[waits.to]
        del waiting[waits.sender, waits.session]
        if not waiting:
            del self._by_callee[waits.to]
        if waits.ended is not None:
            try:
                waits.ended()
            except Exception as error:  # noqa: BLE001 - the others go on
                _log.error("what a call had been lent was not taken back: %s", type(error).__name__)

    def gone(self, peer: str) -> list[Pending]:
        """A peer is not there any more, and neither is what waits for it, given, nor what it waits for."""
        waiting = self._by_callee.get(peer, {})
        told = [self._by_caller[caller][session] for caller, session in waiting]
        for waits in (*told, *self._by_caller.get(peer, {}).values()):
            self.end(waits)
        return told

    def count(self, peer: str) -> int:
        """How many wait for a peer's reply."""
        return len(self._by_callee.get(peer, ()))

    def expire(self) -> None:
        """Forget those whose callers have given up."""
        now = self._clock.monotonic()
        for caller in list(self._by_caller):
            self._expire(caller, now)

    def _expire(self, caller: str, now: float) -> None:
        for waits in [waits for waits in self._by_caller[caller].values() if waits.until <= now]:
            self.end(waits)
