"""Clients and services of other instances, put into this one's directory as those say; of two at one address, one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from valetkey.model.services import Member
from valetkey.services import packing
from valetkey.services.directory import Directory
from valetkey.services.relay import Link, Relay


class Roster:
    """Keeps a directory as all instances say. For use on the home loop.

    Two instances may let in a client of the same address at the same moment. The newer one stays, and all of them come
    to the same result, whatever their clocks say: who takes the place of a known client has a higher term. Nobody takes
    the place of another user's client: of two users' the older one stays.

    Args:
        cut: closes the socket of a client of this instance that has lost its address.
    """

    def __init__(self, *, directory: Directory, relay: Relay, cut: Callable[[Link], None]) -> None:
        self._directory = directory
        self._relay = relay
        self._cut = cut
        self._takes: dict[str, Callable[..., None]] = {
            "all": self._all,
            "join": self._joined,
            "leave": self._left,
            "register": self._registered,
            "unregister": self._unregistered,
        }
        self._terms: dict[str, int] = {}  # by address: how many have followed each other there, as far as known

    def told(self) -> list[Any]:
        """This instance's clients with their services, as others are told."""
        return [
            [
                packing.of_member(member),
                self._terms.get(member.peer, 1),
                [packing.of_service(each) for each in services],
            ]
            for member, services in self._directory.of_instance(self._directory.instance)
        ]

    def own(self, member: Member) -> int:
        """A client has come here; its term."""
        term = self._terms[member.peer] = self._terms.get(member.peer, 0) + 1
        return term

    def own_left(self, member: Member) -> None:
        """One has left from here."""
        self._terms.pop(member.peer, None)

    def drop(self, instance: str) -> None:
        """All of an instance is gone."""
        for member in self._directory.drop(instance):
            self._terms.pop(member.peer, None)

    def fail(self, instance: str) -> None:
        """What was said to or by an instance may be lost: who waits for a client of it is told so."""
        for member, _ in self._directory.of_instance(instance):
            self._relay.gone(member.peer)

    def takes(self, instance: str, kind: str, *rest: Any) -> bool:
        """Take what an instance says of its clients; False: it is about something else."""
        take = self._takes.get(kind)
        if take is None:
            return False
        take(instance, *rest)
        return True

    def _all(self, instance: str, told: list[Any]) -> None:
        """All that an instance has; what it does not name is gone."""
        there = {}
        for packed, term, services in told:
            member = packing.member(packed, instance=instance)
            there[member.peer] = {each.id: each for each in map(packing.service, services)}
            if self._directory.member(member.peer) != member:
                self._join(member, term)
        for member, services in self._directory.of_instance(instance):
            wanted = there.get(member.peer)
            if wanted is None:
                self._leave(member)
                continue
            known = {each.id: each for each in services}
            for service_id in known.keys() - wanted.keys():
                self._directory.unregister(member.peer, service_id)
            for service_id, service in wanted.items():
                if known.get(service_id) != service:
                    self._directory.register(service)

    def _joined(self, instance: str, packed: list[Any], term: int) -> None:
        """A client has come there."""
        self._join(packing.member(packed, instance=instance), term)

    def _left(self, instance: str, peer: str) -> None:
        """It has left from there."""
        member = self._of(instance, peer)
        if member is not None:
            self._leave(member)

    def _registered(self, instance: str, packed: list[Any]) -> None:
        """A client of there has a service."""
        service = packing.service(packed)
        if self._of(instance, service.peer) is not None:
            self._directory.register(service)

    def _unregistered(self, instance: str, peer: str, service_id: str) -> None:
        """It has it no more."""
        if self._of(instance, peer) is not None:
            self._directory.unregister(peer, service_id)

    def _join(self, member: Member, term: int) -> None:
        there = self._directory.member(member.peer)
        if there is not None and there.instance != member.instance:
            is_newer = self._rank(there, self._terms.get(member.peer, 1)) > self._rank(member, term)
            if is_newer == (there.principal == member.principal):
                return  # its own instance comes to the same result
            link = self._relay.link(member.peer) if there.instance == self._directory.instance else None
            if link is not None:
                self._relay.detach(link)
                self._cut(link)
        self._directory.join(member)
        self._terms[member.peer] = term

    @staticmethod
    def _rank(member: Member, term: int) -> tuple[int, float, str]:
        return term, member.since, member.instance

    def _leave(self, member: Member) -> None:
        self._directory.leave(member.peer)
        self._terms.pop(member.peer, None)

    def _of(self, instance: str, peer: str) -> Member | None:
        member = self._directory.member(peer)
        return member if member is not None and member.instance == instance else None
