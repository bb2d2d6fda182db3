"""Who takes part in RPC, as the relay knows them; and what the server says of whoever sends a message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from valetkey.errors import ValetkeyError
from valetkey.model.services import Member, Registered
from valetkey.services import frames
from valetkey.services.chunks import Uploads
from valetkey.services.frames import Message
from valetkey.services.rooms import Room
from valetkey.services.sight import Who

MOST_TALKED = 10_000
"""Peers whom one client has called, or was called by, that are remembered."""

MOST_BAD = 20
"""Messages that can be none, within `BAD_WITHIN` seconds, after which their sender is cut off."""

BAD_WITHIN = 60.0

_MOST_WRITTEN = 16  # senders of one stamp that are remembered


class CutOff(ValetkeyError):
    """A client has sent too much that is no message: its socket is to be closed."""


@dataclass(slots=True, kw_only=True)
class Stamp:
    """What the server says of whoever sends a message; the callee's ``context``.

    Attributes:
        workspace: in which they act; ``ws``.
        user: who they are.
        who: the same, as this instance identified them; None: another instance did.
        more: what else the callee is told.
    """

    workspace: str
    user: Mapping[str, Any] = field(default_factory=dict)
    who: Who | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    _packed: dict[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, who: Who, more: Mapping[str, Any] | None = None) -> Stamp:
        """That of a caller whom this instance identified."""
        return cls(workspace=who.workspace, user=who.user, who=who, more=more or {})

    def write(self, message: Message) -> bytes:
        """The message as its addressee reads it."""
        packed = self._packed.get(message.sender)
        if packed is None:
            packed = frames.stamped(sender=message.sender, workspace=self.workspace, user=self.user, more=self.more)
            if len(self._packed) >= _MOST_WRITTEN:
                self._packed.clear()
            self._packed[message.sender] = packed
        return message.encode(packed, 3 + len(self.more))


NOBODY = Stamp(workspace="*")
"""Of the server's own replies."""


class Peer(Protocol):
    """Whoever takes messages: a client's socket, the workspace manager, a service of the server's own."""

    def deliver(self, message: Message, stamp: Stamp) -> None:
        """Take a message of any size; never blocks, never raises."""
        ...


class Away(Protocol):
    """The way to peers on other instances."""

    def deliver(self, instance: str, message: Message, stamp: Stamp) -> None:
        """Send it there; a call that cannot be delivered comes back as `Relay.undelivered`."""
        ...

    def instance_of(self, address: str) -> str | None:
        """The instance one of whose own peers has that address; None: there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLoan:
    """What a service is lent for one call.

    Attributes:
        told: further facts of its context.
        end: the call is over.
    """

    told: Mapping[str, Any]
    end: Callable[[], None]


Lend = Callable[[Registered, Who], Awaitable[ServiceLoan]]
"""Lends to a service that needs accounts of its caller; it may raise ``AuthRequired`` or ``ApprovalRequired``."""


@dataclass(slots=True, kw_only=True)
class Link:
    """One client with a socket here.

    Attributes:
        peer: takes what is for it.
        who: who it is, by its token.
        stamp: the same as callees are told.
        member: the same as others are told.
        bad: messages that were none, lately.
        bad_since: when their count began.
        address: that of its client.
        room: where its pieces of messages are kept; None: it has sent none yet.
        talked: peers of other workspaces with which it has to do.
    """

    peer: Peer
    who: Who
    stamp: Stamp
    member: Member
    bad: int = 0
    bad_since: float = 0.0
    uploads: Uploads = field(default_factory=Uploads)
    room: Room | None = None
    talked: dict[str, None] = field(default_factory=dict)
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.address = self.member.peer

    def knows(self, peer: str) -> None:
        """The two have to do with each other: replies and callbacks may pass between them."""
        self.talked.pop(peer, None)
        self.talked[peer] = None
        if len(self.talked) > MOST_TALKED:
            del self.talked[next(iter(self.talked))]

    def count_bad(self, now: float) -> None:
        """It has sent what is no message.

        Args:
            now: seconds that never go back.

        Raises:
            CutOff: for once too often.
        """
        if now - self.bad_since >= BAD_WITHIN:
            self.bad, self.bad_since = 0, now
        self.bad += 1
        if self.bad >= MOST_BAD:
            raise CutOff("Too many messages could not be read.")
