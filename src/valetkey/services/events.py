"""Events of a workspace, for clients that asked for them: who comes and goes, and what is registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from valetkey.errors import Denied, InvalidArguments
from valetkey.model.services import BUILT_IN
from valetkey.services import frames

if TYPE_CHECKING:
    from valetkey.model.services import Member, Registered
    from valetkey.services.directory import Directory
    from valetkey.services.relay import Relay

CONNECTED, DISCONNECTED = "client_connected", "client_disconnected"
ADDED, REMOVED = "service_added", "service_removed"

KINDS = frozenset(
    {
        CONNECTED,
        DISCONNECTED,
        "client_updated",
        ADDED,
        REMOVED,
        "service_updated",
        *(f"workspace_{name}" for name in ("loaded", "deleted", "changed", "ready", "unloaded", "status_changed")),
    }
)
"""What may be asked for; the first and the third pair, and their ends, are told."""


@runtime_checkable
class Listener(Protocol):
    """A peer that takes events."""

    def deliver_event(self, data: bytes) -> None:
        """Take one; never blocks, never raises."""
        ...


class Events:
    """Tells subscribers with a socket here; a `Watcher` of the directory. For use on the home loop.

    Args:
        server: this instance, as the sender of events.
    """

    def __init__(self, *, relay: Relay, directory: Directory, server: str) -> None:
        self._relay = relay
        self._server = server
        self._subscribers: dict[str, dict[str, None]] = {}  # by event, then by peer
        directory.watch(self)

    def subscribe(self, peer: str, kinds: object) -> None:
        """A client wants to be told of these, from now on.

        Raises:
            Denied: it is no client with a socket here.
            InvalidArguments: there is no such event.
        """
        if self._relay.link(peer) is None:
            raise Denied("Only a connected client can subscribe to events.")
        for kind in _checked(kinds):
            self._subscribers.setdefault(kind, {})[peer] = None

    def unsubscribe(self, peer: str, kinds: object) -> None:
        """It does not want to any more.

        Raises:
            InvalidArguments: there is no such event.
        """
        for kind in _checked(kinds):
            self._subscribers.get(kind, {}).pop(peer, None)

    # A watcher of the directory

    def joined(self, member: Member) -> None:
        """A client is there."""
        self._tell(CONNECTED, member.workspace, {"id": member.client, "workspace": member.workspace})

    def left(self, member: Member, services: tuple[Registered, ...]) -> None:
        """One is not there any more: those who have to do with it are told, wherever they are."""
        for there in self._subscribers.values():
            there.pop(member.peer, None)
        for service in services:
            self.unregistered(service)
        data = {"id": member.client, "workspace": member.workspace}
        self._tell(DISCONNECTED, member.workspace, data, gone=member.peer)

    def registered(self, service: Registered) -> None:
        """A service is there, or was replaced."""
        self._tell_of(service, ADDED)

    def unregistered(self, service: Registered) -> None:
        """One is not there any more."""
        self._tell_of(service, REMOVED)

    def _tell_of(self, service: Registered, kind: str) -> None:
        if service.id != BUILT_IN and kind in self._subscribers:
            self._tell(kind, service.workspace, service.info())

    def _tell(self, kind: str, workspace: str, data: Mapping[str, Any], *, gone: str = "") -> None:
        written = b""
        for peer in tuple(self._subscribers.get(kind, ())):
            link = self._relay.link(peer)
            if link is None or not (link.member.workspace == workspace or gone in link.talked):
                continue
            if isinstance(link.peer, Listener):
                written = written or event(kind, workspace=workspace, server=self._server, data=data)
                link.peer.deliver_event(written)


def event(kind: str, *, workspace: str, server: str, data: Mapping[str, Any]) -> bytes:
    """An event as a client reads it."""
    facts = {"type": kind, "from": f"{workspace}/{server}", "to": f"{workspace}/*", "data": dict(data)}
    return frames.packed(facts)


def _checked(kinds: object) -> list[str]:
    given = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(given, list | tuple) or not given:
        raise InvalidArguments("event_type is the name of an event, or a list of them.")
    strange = [str(each)[:80] for each in given if not isinstance(each, str) or each not in KINDS]
    if strange:
        raise InvalidArguments(f"There is no event {', '.join(strange[:5])}. There are: {', '.join(sorted(KINDS))}.")
    return list(given)
