"""Events for startup functions: clients that come and go, services that are added and removed."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from valetkey.errors import InvalidArguments
from valetkey.model.services import BUILT_IN, Member, Registered
from valetkey.services.events import ADDED, CONNECTED, DISCONNECTED, REMOVED

if TYPE_CHECKING:
    from valetkey.services.directory import Directory

Handler = Callable[[dict[str, Any]], Any]

KINDS = (CONNECTED, DISCONNECTED, ADDED, REMOVED)
"""Events that there are."""

_log = logging.getLogger("valetkey.services")


class Hearing:
    """Calls handlers with each event of every workspace; a `Watcher` of the directory. For use on the home loop."""

    def __init__(self, directory: Directory) -> None:
        self._handlers: dict[str, list[tuple[Handler, bool]]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        directory.watch(self)

    def on(self, event: str, handler: Handler, *, once: bool = False) -> None:
        """Call it with each event of that kind, ``{"type": ..., "data": ...}``; it may be asynchronous.

        Raises:
            InvalidArguments: there is no such event.
        """
        if event not in KINDS:
            raise InvalidArguments(f"There is no event {event}. There are: {', '.join(KINDS)}.")
        self._handlers.setdefault(event, []).append((handler, once))

    def off(self, event: str | None = None, handler: Handler | None = None) -> None:
        """Call it no more; without a handler: none of that event; without an event: none at all."""
        for kind in KINDS if event is None else (event,):
            kept = [each for each in self._handlers.get(kind, []) if handler is not None and each[0] is not handler]
            self._handlers[kind] = kept

    def joined(self, member: Member) -> None:
        """See `Watcher`."""
        self._tell(CONNECTED, {"id": member.client, "workspace": member.workspace, "user": dict(member.user)})

    def left(self, member: Member, services: tuple[Registered, ...]) -> None:
        """See `Watcher`."""
        for service in services:
            self.unregistered(service)
        self._tell(DISCONNECTED, {"id": member.client, "workspace": member.workspace, "user": dict(member.user)})

    def registered(self, service: Registered) -> None:
        """See `Watcher`."""
        if service.id != BUILT_IN:
            self._tell(ADDED, service.info())

    def unregistered(self, service: Registered) -> None:
        """See `Watcher`."""
        if service.id != BUILT_IN:
            self._tell(REMOVED, service.info())

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        for handler, once in tuple(self._handlers.get(kind, ())):
            if once:
                self._handlers[kind].remove((handler, once))
            task = asyncio.ensure_future(_heard(handler, {"type": kind, "data": data}))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _heard(handler: Handler, event: dict[str, Any]) -> None:
    try:
        result = handler(event)
        if inspect.isawaitable(result):
            await result
    except Exception as error:  # noqa: BLE001 - a host program's own function
        name = getattr(handler, "__qualname__", type(handler).__qualname__)
        _log.error("%s failed on %s: %s", name, event["type"], type(error).__qualname__)
