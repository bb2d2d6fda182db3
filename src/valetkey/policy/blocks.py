"""The kill switch: users, tools and workspaces stopped everywhere within five seconds."""

from __future__ import annotations

from collections.abc import Sequence

from valetkey.audit import Audit
from valetkey.errors import InvalidArguments
from valetkey.model.audit import Action, Entry
from valetkey.model.stops import Stop, StopKind
from valetkey.ports.world import Clock
from valetkey.stops import Stops

KINDS = (StopKind.USER, StopKind.TOOL, StopKind.WORKSPACE)
"""What can be blocked; a token is revoked instead."""

LONGEST = 256
"""Characters of a name or a reason."""


class Blocks:
    """Who and what is blocked."""

    def __init__(self, *, stops: Stops, audit: Audit, clock: Clock) -> None:
        self._stops = stops
        self._audit = audit
        self._clock = clock

    async def add(self, kind: str, name: str, *, reason: str = "", by: str = "") -> Stop:
        """Stop all calls of that user, of that tool, or in that workspace; one that is blocked gets the new reason.

        Raises:
            InvalidArguments: the kind or the name cannot be blocked.
            StoreUnavailable: it is not blocked: the database cannot be used.
        """
        stop = Stop(
            kind=_kind(kind),
            target=_text(name, "name"),
            reason=_text(reason, "reason") if reason else "",
            by=by,
            created_at=self._clock.now(),
        )
        await self._stops.put(stop)
        self._tell(Action.BLOCK, stop.kind, stop.target, by)
        return stop

    async def remove(self, kind: str, name: str, *, by: str = "") -> bool:
        """Stop it no more; False: it was not blocked.

        Raises:
            InvalidArguments: the kind or the name cannot be blocked.
            StoreUnavailable: it still is blocked: the database cannot be used.
        """
        blocked, target = _kind(kind), _text(name, "name")
        done = await self._stops.lift(blocked, target)
        if done:
            self._tell(Action.UNBLOCK, blocked, target, by)
        return done

    async def list(self) -> Sequence[Stop]:
        """Those in force, by kind and name."""
        found = [stop for stop in await self._stops.active() if stop.kind in KINDS]
        return sorted(found, key=lambda stop: (stop.kind, stop.target))

    def _tell(self, action: Action, kind: StopKind, name: str, by: str) -> None:
        self._audit.tell(Entry(action=action, subject=by, what=name, details={"kind": kind.value}))


def _kind(kind: str) -> StopKind:
    if kind not in KINDS:
        raise InvalidArguments(f"A {kind!r} cannot be blocked. Block a user, a tool or a workspace.")
    return StopKind(kind)


def _text(text: str, what: str) -> str:
    text = text.strip()
    if not text or len(text) > LONGEST or not text.isprintable():
        raise InvalidArguments(f"A {what} has 1 to {LONGEST} characters, and no control characters among them.")
    return text
