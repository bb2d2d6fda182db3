"""Route a message; stamp its caller; fail pending calls fast. Nothing on the wire says who is calling."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from valetkey.errors import InvalidArguments, NotFound, ValetkeyError
from valetkey.model.services import Member, Registered
from valetkey.ports.world import Clock
from valetkey.services import chunks, frames, reading, replies
from valetkey.services.built_in import built_in, is_asked
from valetkey.services.complaints import Complaints
from valetkey.services.directory import Directory, WatcherOfSome
from valetkey.services.failures import told
from valetkey.services.frames import BadFrame, Message, Waiting
from valetkey.services.guard import SERVICES, TEXT_KEYS, Guard, absent, service_of
from valetkey.services.peers import MOST_BAD, NOBODY, Away, CutOff, Lend, Link, Peer, ServiceLoan, Stamp
from valetkey.services.pending import PendingCalls
from valetkey.services.rooms import Rooms
from valetkey.services.sight import Sight

__all__ = ("MOST_BAD", "NOBODY", "Away", "CutOff", "Lend", "Link", "Peer", "Relay", "ServiceLoan", "Stamp")

MANAGERS = "*/"
"""What the address of a workspace manager begins with."""

MOST_OWN = 10_000
"""Calls of one of the server's own peers, from one workspace, that may wait at once."""

_log = logging.getLogger("valetkey.services")


class Relay(WatcherOfSome):
    """Passes messages between peers. For use on the home loop; no sockets here.

    Args:
        manager_id: of this instance's workspace manager.
        cap: bytes of one message on the wire; ``whole``: of one that comes in pieces.
        most_pending: calls of one client that may wait at once.
        lend: asked before a service that needs accounts is called.
        away: the way to other instances; None: there are none.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        sight: Sight,
        clock: Clock,
        manager_id: str,
        cap: int,
        whole: int,
        most_pending: int,
        lend: Lend | None = None,
        away: Away | None = None,
    ) -> None:
        self.directory = directory
        self._guard = Guard(directory=directory, sight=sight, is_ours=self._is_ours)
        self._clock = clock
        self.manager = f"{MANAGERS}{manager_id}"
        self._cap = cap
        self._whole = whole
        self._most_pending = most_pending
        self.lend = lend
        self.away = away
        self._links: dict[str, Link] = {}
        self._own: dict[str, Peer] = {}
        self._anywhere: dict[str, Peer] = {}
        self._pending = PendingCalls(clock)
        self._rooms = Rooms(whole=whole)
        self._complain = Complaints(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        directory.watch(self)

    # Who takes part

    def attach(self, link: Link) -> None:
        """A client's socket is there; one of that address that was there before has left."""
        before = self._links.get(link.address)
        if before is not None:
            before.uploads.clear(before.room)
        self._links[link.address] = link
        self.directory.join(link.member)

    def detach(self, link: Link) -> None:
        """It is gone. One that took its place stays."""
        peer = link.address
        if self._links.get(peer) is link:
            del self._links[peer]
            link.uploads.clear(link.room)
            if self.directory.member(peer) is link.member:
                self.directory.leave(peer)

    def put(self, address: str, peer: Peer) -> None:
        """A peer of the server's own: the manager, or its services. ``*`` for a workspace: it is in all of them."""
        workspace, _, client = address.partition("/")
        if workspace == "*" and address != self.manager:
            self._anywhere[client] = peer
        else:
            self._own[address] = peer

    def owns(self, address: str) -> bool:
        """Whether that is a peer of the server's own."""
        return self._of_ours(address) is not None

    def _of_ours(self, address: str) -> Peer | None:
        if address.startswith(f"{MANAGERS}manager-"):  # of another instance, or before a restart: clients keep its name
            return self._own.get(self.manager)
        return self._own.get(address) or self._anywhere.get(address.partition("/")[2])

    def _is_ours(self, address: str) -> bool:
        """The same, of whichever instance."""
        return self.owns(address) or (self.away is not None and self.away.instance_of(address) is not None)

    def link(self, peer: str) -> Link | None:
        """A client with a socket here."""
        return self._links.get(peer)

    def links(self) -> list[Link]:
        """All clients with a socket here."""
        return list(self._links.values())

    def waiting(self, peer: str) -> int:
        """How many calls wait for a peer's reply, as far as this instance knows."""
        return self._pending.count(peer)

    def left(self, member: Member, services: tuple[Registered, ...]) -> None:
        """A client is gone, from whichever instance."""
        self.gone(member.peer)

    def gone(self, peer: str) -> None:
        """A peer takes no more messages: whoever waits for it is told, and what it waited for is forgotten."""
        for waits in self._pending.gone(peer):
            self._reject(waits, absent(peer))

    def sweep(self) -> None:
        """Forget calls whose callers have given up, and messages that were never finished."""
        self._pending.expire()
        now = self._clock.monotonic()
        for link in self._links.values():
            link.uploads.expire(now, link.room)

    # What clients say

    async def receive(self, link: Link, data: bytes) -> None:
        """Take one message off a client's socket, and pass it on or refuse it.

        Raises:
            CutOff: too many of its messages were none.
        """
        try:
            message = reading.read(data, sender=link.address, cap=self._cap)
        except BadFrame as error:
            self._bad(link, error)
            return
        await self.take(link, message)

    async def take(self, link: Link, message: Message) -> None:
        """The same with what was read already.

        Raises:
            CutOff: too many of its messages were none.
        """
        if not self._is_here(link):
            return
        try:
            if link.uploads.takes(message):
                whole = self._uploaded(link, message)
                if whole is None:
                    return
                message = whole
            await self._route(link, message)
        except BadFrame as error:
            self._refuse_of(link, message, error)
            self._bad(link, error)
        except ValetkeyError as error:
            self._complain.of(link.address, "%s is refused %s: %s", message.to, error.code, level=logging.INFO)
            self._refuse_of(link, message, error)

    def _is_here(self, link: Link) -> bool:
        return self._links.get(link.address) is link

    def _bad(self, link: Link, error: BadFrame) -> None:
        """Refuse what is no message; what can be answered is told so, and counts for nothing."""
        self._complain.of(link.address, "%s sent what is no message: %s", error)
        if error.call is not None:
            self._refuse_of(link, error.call, error)
        else:
            link.count_bad(self._clock.monotonic())

    def _uploaded(self, link: Link, piece: Message) -> Message | None:
        """Take a piece of a message; the message, once it is whole. Its caller hears that it is on its way."""
        now = self._clock.monotonic()
        link.room = link.room or self._rooms.of(link.who)
        try:
            whole, waits = link.uploads.take(piece, whole=self._whole, now=now, room=link.room)
        except ValetkeyError as error:
            self._reply(link, replies.instead_of_pieces(piece, chunks.awaited(piece), str(error)))
            raise
        if waits and reading.is_method(f"{waits}.heartbeat"):
            self._reply(link, chunks.heartbeat(waits, to=piece.to, sender=piece.sender))
        if piece.promised:
            self._tell(frames.resolution(None, call=piece))
        return whole

    async def _route(self, link: Link, message: Message) -> None:
        if message.references and not self.owns(message.to):  # those take a caller's own functions alone
            await self._guard.check_references(link, message)
        answers = replies.is_reply(message)
        if not message.text_keys and not (answers and self._is_ours(message.to)):
            raise InvalidArguments(TEXT_KEYS)
        if answers and self._settle(message, link.stamp):
            return
        if not reading.is_method(message.method):
            raise NotFound("There is no such function: services.<id>.<name> is one, and what a peer hands out.")
        if answers:
            self._reply_away(link, message)
            return
        workspace, _, client = message.to.partition("/")
        if client == "*":
            await self._broadcast(link, message)
            return
        if workspace != link.member.workspace or not message.method.startswith(SERVICES):
            await self._guard.check(link, message.to, message.method)
            if not self._is_here(link):  # it left meanwhile
                return
        self._call(link, message)

    def _call(self, link: Link, message: Message) -> None:
        if message.promised:
            self._pending.add(message, most=self._most_pending)
            if self._answered(message):
                return
            if self.lend is not None:
                service = self.directory.service(message.to, service_of(message.method))
                if service is not None and not service.needs.public:
                    # Beside this: what is asked of other systems must not hold up the rest.
                    task = asyncio.ensure_future(self._lent(link, message, service, self.lend))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                    return
        self._pass(message, link.stamp)

    async def _broadcast(self, link: Link, message: Message) -> None:
        await self._guard.check_broadcast(link, message)
        for member in self.directory.members(link.member.workspace):
            if member.peer != message.sender:
                self._pass(replace(message, to=member.peer, session="", parent=""), link.stamp)

    def _answered(self, message: Message) -> bool:
        """Whether that asks a peer of another instance's own how long messages are brought to it: by this relay."""
        if not is_asked(message) or self.owns(message.to) or not self._is_ours(message.to):
            return False
        return self._settle(frames.resolution(built_in(message.to), call=message))

    async def _lent(self, link: Link, message: Message, service: Registered, lend: Lend) -> None:
        """Pass a call on with what its service is lent; the loan ends with the call."""
        try:
            loan = await lend(service, link.who)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            text = told(error) if isinstance(error, ValetkeyError) else "RemoteException: The service was lent nothing."
            _log.info("a call of %s to %s was lent nothing: %s", message.sender, message.to, type(error).__name__)
            self._refuse(message, text)
            return
        waits = self._pending.find(message.sender, message.session, of=message.to)
        if waits is None:  # its caller has gone meanwhile
            loan.end()
            return
        waits.ended = loan.end
        known = link.stamp
        self._pass(message, Stamp(workspace=known.workspace, user=known.user, who=link.who, more=loan.told))

    # What the server's own peers and other instances say

    def send(self, message: Message, stamp: Stamp) -> None:
        """Pass on what one of the server's own peers says; a call that waits for a reply is watched as any other.

        One that nobody takes is answered with a rejection.

        Raises:
            InvalidArguments: a call of that session waits already.
            RateLimited: too many calls of that peer wait already.
        """
        if replies.is_reply(message) and (self._settle(message, stamp) or self._takes(message.to)):
            return
        if message.promised:
            self._pending.add(message, most=MOST_OWN)
        self._pass(message, stamp)

    def forget(self, call: Message) -> None:
        """Whoever made this call waits no more."""
        waits = self._pending.find(call.sender, call.session, of=call.to)
        if waits is not None:
            self._pending.end(waits)

    def undelivered(self, call: Message) -> None:
        """It could not be delivered on another instance."""
        waits = self._pending.find(call.sender, call.session, of=call.to)
        if waits is not None:
            self._pending.end(waits)
            self._reject(waits, absent(call.to))

    def arrive(self, message: Message, stamp: Stamp) -> bool:
        """Take what another instance passed on; False: its addressee is not here."""
        if replies.is_reply(message) and self._takes(message.to):
            self._settle(message, stamp)
            return True
        return self._deliver(message, stamp)

    # How it is delivered

    def _reply(self, link: Link, reply: Message | None) -> None:
        if reply is not None and not self._settle(reply, link.stamp):
            self._reply_away(link, reply)

    def _reply_away(self, link: Link, message: Message) -> None:
        """Pass a reply to whoever waits for it on another instance; nobody else gets one."""
        workspace = message.to.partition("/")[0]
        related = workspace == link.member.workspace or message.to in link.talked
        if related and not self._takes(message.to):
            self._pass(message, link.stamp)
        else:
            _log.debug("a reply of %s was dropped: nobody waits for it", link.address)

    def _settle(self, message: Message, stamp: Stamp = NOBODY) -> bool:
        """Deliver a reply to whoever waits for it here; False: nobody does, of this sender."""
        session, _, name = message.method.rpartition(".")
        waits = self._pending.find(message.to, session, of=message.sender)
        if waits is None:
            return False
        if name == "heartbeat":
            self._pending.beat(waits)
        else:
            if message.references:  # a stream, perhaps: what was lent for it ends by itself
                waits.ended = None
            self._pending.end(waits)
        self._deliver(message, stamp)
        return True

    def _takes(self, address: str) -> bool:
        return address in self._links or self.owns(address)

    def _pass(self, message: Message, stamp: Stamp) -> None:
        if self._deliver(message, stamp):
            return
        if self.away is not None:
            member = self.directory.member(message.to)
            instance = self.away.instance_of(message.to) if member is None else member.instance
            if instance is not None and instance != self.directory.instance:
                message.drop_values()
                self.away.deliver(instance, message, stamp)
                return
        self._refuse(message, absent(message.to))

    def _deliver(self, message: Message, stamp: Stamp) -> bool:
        link = self._links.get(message.to)
        if link is not None:
            message.drop_values()
            if message.sender.partition("/")[0] != link.member.workspace:
                link.knows(message.sender)
            link.peer.deliver(message, stamp)
            return True
        own = self._of_ours(message.to)
        if own is None:
            return False
        try:
            own.deliver(message, stamp)
        except Exception as error:  # noqa: BLE001 - one of ours has a bug: its caller is told, and others go on
            _log.error("%s was not taken by %s: %s", message.method, message.to, type(error).__name__)
            self._refuse(message, "RemoteException: The server could not do that now. Its log says more.")
        return True

    # What is told of failures

    def _refuse_of(self, link: Link, message: Message, error: ValetkeyError) -> None:
        """Tell whoever waits that a client's message was not passed on: also for a reply, wherever they are."""
        if replies.is_reply(message):
            self._reply(link, replies.instead_of(message, str(error)))
        self._refuse(message, told(error))

    def _refuse(self, message: Message, text: str) -> None:
        """Tell the caller that a message was not passed on."""
        if message.promised:
            waits = self._pending.find(message.sender, message.session, of=message.to)
            if waits is not None:
                self._pending.end(waits)
            self._reject(message, text)

    def _reject(self, call: Waiting, text: str) -> None:
        self._tell(frames.rejection(text, call=call))

    def _tell(self, reply: Message) -> None:
        """Deliver a word of the relay's own; the two peers have nothing to do with each other by that."""
        link = self._links.get(reply.to)
        peer = self._of_ours(reply.to) if link is None else link.peer
        if peer is not None:
            peer.deliver(reply, NOBODY)
