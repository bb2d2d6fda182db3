"""Who is connected and who registered what, on which instance. Facts only: who may see it is for `Sight`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from valetkey.model.services import BUILT_IN, Member, Registered


class Watcher(Protocol):
    """Is told of every change, on the home loop, after it."""

    def joined(self, member: Member) -> None:
        """A client is there."""
        ...

    def left(self, member: Member, services: tuple[Registered, ...]) -> None:
        """One is not there any more, with what it had registered."""
        ...

    def registered(self, service: Registered) -> None:
        """A service is there, or was replaced."""
        ...

    def unregistered(self, service: Registered) -> None:
        """One is not there any more."""
        ...


class WatcherOfSome:
    """A `Watcher` for those who want a part of it: what they do not write themselves does nothing."""

    def joined(self, member: Member) -> None:
        """See `Watcher`."""

    def left(self, member: Member, services: tuple[Registered, ...]) -> None:
        """See `Watcher`."""

    def registered(self, service: Registered) -> None:
        """See `Watcher`."""

    def unregistered(self, service: Registered) -> None:
        """See `Watcher`."""


class Directory:
    """Clients and their services, of all instances as far as this one knows. For use on the home loop.

    Args:
        instance: this process.
    """

    def __init__(self, *, instance: str) -> None:
        self.instance = instance
        self._members: dict[str, Member] = {}
        self._services: dict[str, dict[str, Registered]] = {}  # by peer, then by id
        self._by_name: dict[tuple[str, str], dict[str, Registered]] = {}  # by workspace and id, then by peer
        self._in: dict[str, dict[str, Member]] = {}  # by workspace, then by peer
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Tell it of changes; what is given ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def join(self, member: Member) -> None:
        """A client is there; one of that address that was there before has left."""
        if member.peer in self._members:
            self.leave(member.peer)
        self._members[member.peer] = member
        self._in.setdefault(member.workspace, {})[member.peer] = member
        for watcher in tuple(self._watchers):
            watcher.joined(member)

    def leave(self, peer: str) -> tuple[Registered, ...]:
        """A client is not there any more; what it had registered. Unknown: nothing."""
        member = self._members.pop(peer, None)
        if member is None:
            return ()
        there = self._in[member.workspace]
        del there[peer]
        if not there:
            del self._in[member.workspace]
        services = tuple(self._services.pop(peer, {}).values())
        for service in services:
            self._forget(service)
        for watcher in tuple(self._watchers):
            watcher.left(member, services)
        return services

    def register(self, service: Registered) -> None:
        """A service of a client that is there. Unknown client: nothing."""
        if service.peer not in self._members:
            return
        self._services.setdefault(service.peer, {})[service.id] = service
        self._by_name.setdefault((service.workspace, service.id), {})[service.peer] = service
        for watcher in tuple(self._watchers):
            watcher.registered(service)

    def unregister(self, peer: str, service_id: str) -> Registered | None:
        """A service is not there any more; None: it was not."""
        service = self._services.get(peer, {}).pop(service_id, None)
        if service is None:
            return None
        self._forget(service)
        for watcher in tuple(self._watchers):
            watcher.unregistered(service)
        return service

    def drop(self, instance: str) -> list[Member]:
        """A whole instance is gone: its clients have left; who they were."""
        gone = [member for member in self._members.values() if member.instance == instance]
        for member in gone:
            self.leave(member.peer)
        return gone

    def member(self, peer: str) -> Member | None:
        """A client that is there."""
        return self._members.get(peer)

    def members(self, workspace: str | None = None) -> list[Member]:
        """Clients, by when they came; None: of all workspaces."""
        there = self._members if workspace is None else self._in.get(workspace, {})
        return sorted(there.values(), key=lambda member: (member.since, member.peer))

    def of_instance(self, instance: str) -> list[tuple[Member, tuple[Registered, ...]]]:
        """An instance's clients with their services."""
        return [
            (member, tuple(self._services.get(member.peer, {}).values()))
            for member in self._members.values()
            if member.instance == instance
        ]

    def service(self, peer: str, service_id: str) -> Registered | None:
        """One service of one client."""
        return self._services.get(peer, {}).get(service_id)

    def named(self, workspace: str, service_id: str) -> list[Registered]:
        """All services of that name in a workspace, of whichever client, the one registered first first."""
        return list(self._by_name.get((workspace, service_id), {}).values())

    def services(self, workspace: str | None = None, *, built_in: bool = False) -> Iterable[Registered]:
        """Services, by client and id; those that clients' libraries register for themselves only where asked for."""
        for member in self.members(workspace):
            there = self._services.get(member.peer, {})
            yield from (there[name] for name in sorted(there) if built_in or name != BUILT_IN)

    def count(self, workspace: str) -> int:
        """How many clients are in a workspace."""
        return len(self._in.get(workspace, {}))

    def count_of(self, peer: str) -> int:
        """How many services a client has registered."""
        return len(self._services.get(peer, {}))

    def _forget(self, service: Registered) -> None:
        key = service.workspace, service.id
        there = self._by_name[key]
        there.pop(service.peer, None)
        if not there:
            del self._by_name[key]
