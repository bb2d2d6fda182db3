"""Whether this process can serve: database, bus, keys and journal, asked at the same time, each with a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from valetkey.adapters.kept import Kept
from valetkey.ports.world import Clock, Home, Journal
from valetkey.secret import Secret
from valetkey.tools.threads import Threads
from valetkey.vault.seal import Sealer

T = TypeVar("T")

_log = logging.getLogger("valetkey")
_PROBE = ("readiness", "")


class Pinged(Protocol):
    """What can be asked whether it is there: ``Stores``, ``Bus``."""

    @property
    def ping(self) -> Callable[[], Awaitable[None]]:
        """Ask it something small; raises when it cannot be used."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How one part fares. The detail is a sentence of ours: no address, no text of an error.

    Attributes:
        needed: without it nothing can be served; else it only gets slower, or riskier.
    """

    ok: bool
    detail: str
    needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Every check by its name."""

    checks: Mapping[str, Check]

    @property
    def ready(self) -> bool:
        """Whether everything that is needed is there."""
        return all(check.ok for check in self.checks.values() if check.needed)

    @property
    def status(self) -> str:
        """``ready``, ``degraded`` (it serves, and something is down that it can do without), ``unavailable``."""
        if not self.ready:
            return "unavailable"
        return "ready" if all(check.ok for check in self.checks.values()) else "degraded"

    def as_dict(self) -> dict[str, object]:
        """As JSON."""
        checks = {name: {"ok": check.ok, "detail": check.detail} for name, check in self.checks.items()}
        return {"status": self.status, "ready": self.ready, "checks": checks}


class Readiness:
    """Asks every part, at most once in ``seconds`` however many probe; from any loop.

    Args:
        bus: None: there is none, as by default.
        journal: None: there is none, as where nothing is kept.
        deadline: seconds that each part may take.
    """

    def __init__(
        self,
        *,
        stores: Pinged,
        bus: Pinged | None,
        sealer: Sealer,
        journal: Journal | None,
        home: Home,
        clock: Clock,
        deadline: float = 1.0,
        seconds: float = 1.0,
    ) -> None:
        threads = Threads(2)
        self._deadline = deadline
        self._parts = {
            "database": _Part(_answering(stores), failed="cannot be used now", needed=True),
            "keys": _Part(_Aside(threads, lambda: _sealing(sealer)), failed="cannot seal and open", needed=True),
        }
        if bus is not None:
            self._parts["bus"] = _Part(
                _answering(bus), failed="cannot be reached: waits take longer, limits count by process", needed=False
            )
        if journal is not None:
            self._parts["journal"] = _Part(
                _Aside(threads, lambda: _waiting(journal)), failed="cannot be read", needed=False
            )
        self._kept = Kept(self._ask, home=home, clock=clock, seconds=seconds)
        self._down: tuple[str, ...] = ()

    async def report(self) -> Report:
        """How every part fares; in no more than the deadline, whatever hangs."""
        return await self._kept.get()

    async def _ask(self) -> Report:
        checks = await asyncio.gather(*(part.check(self._deadline) for part in self._parts.values()))
        report = Report(checks=dict(zip(self._parts, checks, strict=True)))
        down = tuple(name for name, check in report.checks.items() if not check.ok)
        if down != self._down:
            _log.warning("readiness: %s%s", report.status, f" ({', '.join(down)})" if down else "")
            self._down = down
        return report


class _Part:
    """One part. While an answer is awaited past its deadline, no second question is asked: they would pile up."""

    def __init__(self, ask: Callable[[], Awaitable[str | None]], *, failed: str, needed: bool) -> None:
        self._ask = ask
        self._failed = failed
        self._needed = needed
        self._asking: asyncio.Future[str | None] | None = None

    async def check(self, deadline: float) -> Check:
        asking = self._asking
        if asking is None or asking.done():
            asking = self._asking = asyncio.ensure_future(self._ask())
            asking.add_done_callback(_retrieve)
        await asyncio.wait({asking}, timeout=deadline)
        if not asking.done():
            asking.cancel()
            return Check(ok=False, detail=f"no answer within {deadline:g} s", needed=self._needed)
        if asking.cancelled() or asking.exception() is not None:
            return Check(ok=False, detail=self._failed, needed=self._needed)
        trouble = asking.result()
        return Check(ok=trouble is None, detail=trouble or "ok", needed=self._needed)


class _Aside:
    """Work that may block, in a thread; whoever comes while it runs waits for that run."""

    def __init__(self, threads: Threads, work: Callable[[], str | None]) -> None:
        self._threads = threads
        self._work = work
        self._running: asyncio.Future[str | None] | None = None

    async def __call__(self) -> str | None:
        running = self._running
        if running is None or running.done():
            running = self._running = asyncio.ensure_future(self._threads.run(self._work))
            running.add_done_callback(_retrieve)
        return await asyncio.shield(running)


def _retrieve(outcome: asyncio.Future[T]) -> None:
    """Look at the exception, so that asyncio does not log what nobody waited for."""
    if not outcome.cancelled():
        outcome.exception()


def _answering(part: Pinged) -> Callable[[], Awaitable[str | None]]:
    async def ask() -> None:
        await part.ping()

    return ask


def _sealing(sealer: Sealer) -> None:
    """Seal and open with the newest key; what opens is what was sealed, or AES-GCM would refuse it."""
    sealer.open(sealer.seal(Secret("readiness"), bound=_PROBE), _PROBE)


def _waiting(journal: Journal) -> str | None:
    count = len(journal.entries())
    return f"{count} waiting for the database" if count else None
