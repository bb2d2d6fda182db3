"""Sockets that are open: looked at each second, and ended when their time has come."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from valetkey.errors import CouldNotTell, StoreUnavailable, Unauthenticated
from valetkey.model.users import UserPermission

if TYPE_CHECKING:
    from valetkey.identity.chain import Chain
    from valetkey.ports.world import Clock
    from valetkey.services.peers import Link
    from valetkey.services.sight import Sight
    from valetkey.stops import Stops

LOOK_EVERY = 1.0
"""Seconds between two looks."""

OVER = 4401
"""The credential ended or was revoked, or the user is blocked."""

REPLACED = 4409
"""The same client came back on another socket."""

LATER = 1013
"""Try again later."""

RESTART = 1012
"""The server stops: come back."""

_log = logging.getLogger("valetkey.services")


class Socket(Protocol):
    """One client's socket."""

    @property
    def link(self) -> Link:
        """Whose it is."""
        ...

    def look(self, now: float) -> None:
        """End it where nothing came for too long, or nothing is read; ``now`` never goes back."""
        ...

    def end(self, code: int, reason: str) -> None:
        """Close it with that code (RFC 6455 §7.4); nothing more is passed to its client."""
        ...


class Roomy(Protocol):
    """What messages wait in for a client."""

    async def room(self) -> None:
        """Return once more may wait there."""
        ...


class Live:
    """All sockets of this instance. For use on the home loop."""

    def __init__(self, *, chain: Chain, stops: Stops, sight: Sight, clock: Clock) -> None:
        self._chain = chain
        self._sight = sight
        self._stops = stops
        self._clock = clock
        self._sockets: dict[Socket, str] = {}
        self._pressed: dict[str, Roomy] = {}
        self._counts: Counter[str] = Counter()
        self._generation = -1
        self.closing = False
        """Whether the server stops: nobody is let in any more."""

    def add(self, socket: Socket, user: str) -> None:
        """One is there, and counts for that user."""
        self._sockets[socket] = user
        self._counts[user] += 1

    def remove(self, socket: Socket) -> None:
        """It is gone."""
        user = self._sockets.pop(socket, None)
        self._pressed.pop(socket.link.member.peer, None)
        if user is not None:
            self._counts[user] -= 1
            if self._counts[user] <= 0:
                del self._counts[user]

    def count(self, user: str) -> int:
        """How many count for a user."""
        return self._counts[user]

    def kick(self, peer: str, *, code: int = 1008, reason: str = "") -> bool:
        """End the socket of one client; False: there is none here."""
        found = [socket for socket in self._sockets if socket.link.member.peer == peer]
        for socket in found:
            socket.end(code, reason)
        return bool(found)

    def press(self, sender: str, box: Roomy) -> None:
        """What a client sends fills another's: it is read on when there is room."""
        self._pressed[sender] = box

    async def relieved(self, sender: str) -> None:
        """Return once there is room where a client's last message went."""
        box = self._pressed.pop(sender, None) if self._pressed else None
        if box is not None:
            await box.room()

    def end(self, code: int = RESTART, reason: str = "The server restarts.") -> None:
        """End all; nobody is let in any more."""
        self.closing = True
        for socket in list(self._sockets):
            socket.end(code, reason)

    async def watch(self) -> None:
        """Look each second; ends by being cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY)
            await self.look()

    async def look(self) -> None:
        """End those whose time has come."""
        now = self._clock.monotonic()
        for socket in list(self._sockets):
            socket.look(now)
        if not await self._can_tell():
            for socket in list(self._sockets):
                socket.end(LATER, "Try again later.")
            return
        generation = self._stops.generation
        changed, self._generation = generation != self._generation, generation
        for socket in list(self._sockets):
            caller = socket.link.who.caller
            if changed or (caller.until is not None and caller.until <= self._clock.now()):
                await self._judge(socket)

    async def changed(self, workspace: str) -> None:
        """A workspace has other owners now: end those who have no part in it any more."""
        for socket in list(self._sockets):
            if socket.link.member.workspace == workspace:
                await self.may_stay(socket)

    async def may_stay(self, socket: Socket) -> None:
        """End it where its client may not read in its workspace."""
        member = socket.link.member
        try:
            if not await self._sight.may(socket.link.who, member.workspace, UserPermission.read):
                _log.info("the socket of %s ends: it has no part in that workspace any more", member.peer)
                socket.end(OVER, f"Permission denied for workspace: {member.workspace}")
        except (CouldNotTell, StoreUnavailable):
            socket.end(LATER, "Try again later.")

    async def _can_tell(self) -> bool:
        """Whether it is known who is stopped; asked once more, as this process may have stood still meanwhile."""
        for _ in range(2):
            with contextlib.suppress(CouldNotTell):
                await self._stops.fresh()
                return True
        return False

    async def _judge(self, socket: Socket) -> None:
        try:
            await self._chain.still(socket.link.who.caller)
        except Unauthenticated as error:
            _log.info("the socket of %s ends: %s", socket.link.member.peer, error.code)
            socket.end(OVER, str(error))
        except CouldNotTell:
            socket.end(LATER, "Try again later.")
