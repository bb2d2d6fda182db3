"""Instances of one server: they tell each other who is connected to each, and pass calls on to where a client is."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any

from valetkey.errors import KeyUnavailable, StoreUnavailable
from valetkey.model.services import Member, Registered
from valetkey.ports.messages import Channel
from valetkey.ports.world import Clock, Entropy
from valetkey.services import packing
from valetkey.services.complaints import Complaints
from valetkey.services.directory import Directory
from valetkey.services.forwarding import FULL, forward
from valetkey.services.frames import Message, rejection
from valetkey.services.relay import NOBODY, Link, Relay, Stamp
from valetkey.services.roster import Roster
from valetkey.services.settling import PATIENCE, Settling
from valetkey.services.streams import Other
from valetkey.vault.keyring import Keyring
from valetkey.vault.wire import ALL, End, NotOurs, Wire

BEAT = 0.5
"""Seconds between two signs of life."""

SILENT = 3.0
"""Seconds without one after which an instance is gone, and its clients with it."""

FRESH = 1.2
"""Seconds since the last one within which an instance is waited for."""

_MOST_OVER = 4096  # lives of other instances that have ended, and are not believed in any more
_OWN = ("manager", "http", "server")  # what the client ids of an instance's own peers begin with
_log = logging.getLogger("valetkey.services")


class Mesh:
    """All instances of one server, as this one knows them. For use on the home loop.

    What is said is sealed and authenticated (`Wire`): the bus never says who is calling. Each pair of instances has a
    stream in each direction. It begins with all that there is to know; changes, calls and replies follow in their
    order. Whoever misses something asks for a new stream, and calls between the two that were waiting fail: they may
    have been lost. What one sender says too much of is refused, and costs others nothing.

    Args:
        cut: closes the socket of a client whose address another, newer client has taken on another instance.
    """

    def __init__(
        self,
        *,
        channel: Channel,
        directory: Directory,
        relay: Relay,
        keyring: Keyring,
        clock: Clock,
        entropy: Entropy,
        cut: Callable[[Link], None] = lambda _: None,
    ) -> None:
        self._roster = Roster(directory=directory, relay=relay, cut=cut)
        self._channel = channel
        self._directory = directory
        self._relay = relay
        self._keyring = keyring
        self._clock = clock
        self._entropy = entropy
        self._others: dict[End, Other] = {}
        self._names: dict[str, Other] = {}
        self._over: dict[End, None] = {}
        self._said_here: dict[str, Callable[..., None]] = {
            "message": self._arrived,
            "undelivered": self._undelivered,
            "lost": self._asked_anew,
            "ask": lambda other, number: self._put(other, "answer", number),
            "answer": lambda other, number: self._settling.answered(number, other.end),
            "tell": self._told,
        }
        self._handlers: dict[str, Callable[..., Any]] = {}
        self._settling = Settling(self._ask)
        self._work = asyncio.Event()
        self._heard_once = asyncio.Event()
        self._beat_due = False
        self._beats = 0
        self._count = 0
        self._complain = Complaints(clock)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._running: asyncio.Task[None] | None = None
        self._wire = Wire(keyring, here=End(channel.instance, ""))

    # Its life

    async def start(self) -> None:
        """Join the others; returns once they can be heard, or soon where they cannot."""
        self._wire = Wire(self._keyring, here=End(self._channel.instance, self._entropy.token(12)))
        self._heard_once.clear()
        self._unwatch = self._directory.watch(self)
        self._running = asyncio.create_task(self._run(), name="valetkey-mesh")
        try:
            async with asyncio.timeout(PATIENCE):
                await self._heard_once.wait()
        except TimeoutError:
            pass

    async def close(self) -> None:
        """Tell the others that this one ends, and leave."""
        if self._running is None:
            return
        self._unwatch()
        self._running.cancel()
        await asyncio.wait([self._running, *self._tasks], timeout=PATIENCE)
        self._running = None
        for other in list(self._others.values()):
            self._forget(other)
        try:
            self._beats += 1
            await self._channel.publish(self._sealed(["bye"], to=ALL, stream=0, number=self._beats))
        except (StoreUnavailable, KeyUnavailable):
            pass

    async def _run(self) -> None:
        while True:
            try:
                async with self._channel.open(self._hear, back=self._back), asyncio.TaskGroup() as group:
                    group.create_task(self._tick())
                    group.create_task(self._speak())
            except Exception as error:  # noqa: BLE001 - of whatever kind: the others are to be met again
                self._complain("The way to other instances broke, and is made anew: %s", type(error).__name__)
                await self._clock.sleep(BEAT)

    async def _tick(self) -> None:
        last = self._clock.monotonic()
        while True:
            await self._clock.sleep(BEAT)
            now = self._clock.monotonic()
            stood_still = now - last > SILENT / 2
            last = now
            for other in list(self._others.values()):
                if stood_still:  # this process did: what they said meanwhile is still to be read
                    other.heard = now
                if now - other.heard > SILENT:
                    _log.warning("The instance %s is silent: its clients are taken off the list.", other.name)
                    self._forget(other)
                other.resting = False
            self._beat_due = True
            self._work.set()

    def _back(self) -> None:
        self._beat_due = True
        self._work.set()
        self._heard_once.set()

    # What it says

    def _put(self, other: Other, *entry: Any) -> None:
        try:
            packed = packing.pack(entry)
        except (TypeError, ValueError, OverflowError) as error:
            _log.error("%s cannot be told to other instances: %s", entry[0], type(error).__name__)
            return
        if not other.out.put(packed):
            self._complain("Too much waits to be told to the instance %s", other.name)
            self._begin(other)
        self._work.set()

    def _tell_all(self, *entry: Any) -> None:
        for other in list(self._others.values()):
            self._put(other, *entry)

    def _begin(self, other: Other) -> None:
        """Begin a new stream to it: with what there is to know. What waits for a reply from there may be lost."""
        self._roster.fail(other.name)
        self._count += 1
        other.begin(self._count, packing.pack(["all", self._roster.told()]))
        self._work.set()

    async def _speak(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._beat_due or any(other.ready for other in self._others.values()):
                if self._beat_due:
                    self._beat_due = False
                    await self._beat()
                for other in list(self._others.values()):
                    if other.ready:
                        await self._say(other)

    async def _say(self, other: Other) -> None:
        plain, stream = other.next(self._directory.instance), other.stream
        try:
            data = self._wire.seal(plain, to=other.end, stream=stream, number=other.number)
            there = await self._channel.send(other.end.address, data)
        except (StoreUnavailable, KeyUnavailable) as error:
            self._complain("Other instances cannot be told: %s", str(error))
            there = False
        if not there:
            other.resting = True
            if other.stream == stream:
                self._begin(other)

    async def _beat(self) -> None:
        """A sign of life, with how much was said to each: so that the last message is not missed either."""
        self._beats += 1
        said = {other.end.life: (other.stream, other.number) for other in self._others.values()}
        try:
            entry = ["beat", self._directory.instance, said]
            await self._channel.publish(self._sealed(entry, to=ALL, stream=0, number=self._beats))
        except (StoreUnavailable, KeyUnavailable) as error:
            self._complain("Other instances cannot be told: %s", str(error))

    def _sealed(self, entry: list[Any], *, to: End, stream: int, number: int) -> bytes:
        return self._wire.seal(packing.pack(entry), to=to, stream=stream, number=number)

    # What it hears

    def _hear(self, data: bytes) -> None:
        try:
            said = self._wire.open(data)
        except (NotOurs, KeyUnavailable) as error:
            self._complain("A message of another instance was dropped: %s", str(error))
            return
        try:
            plain = packing.unpack(said.plain)
            if said.to != ALL:
                name, taken, *batch = plain
                other = self._known(said.sender, name)
                if other is not None:
                    self._heard(other, said.stream, said.number, taken, batch)
            elif plain[0] == "bye":
                self._left(said.sender)
            elif plain[0] == "beat":
                _, name, told = plain
                other = self._known(said.sender, name)
                if other is not None:
                    self._compare(other, *told.get(self._wire.here.life, (0, 0)))
        except Exception as error:  # noqa: BLE001 - a newer version may say it otherwise
            self._complain("A message of another instance was not understood: %s", type(error).__name__)

    def _known(self, end: End, name: str) -> Other | None:
        """The instance that says this; a new one is told all. None: it has ended, or has another's name."""
        if end in self._over or name == self._directory.instance:
            self._complain("Two servers are called %s: give each a server_id of its own", name)
            return None
        other = self._others.get(end)
        if other is None:
            other = self._others[end] = Other(end=end, name=name, heard=0)
            self._begin(other)
            self._beat_due = True
        other.heard = self._clock.monotonic()
        return other

    def _heard(self, other: Other, stream: int, number: int, taken: list[int], batch: list[Any]) -> None:
        before, broken = other.took, other.broken
        if not other.follows(stream, number):
            if not broken:
                self._lost(other, stream)
            return
        if self._names.get(other.name) is not other:
            self._proven(other)
        elif before != stream:
            self._roster.fail(other.name)
        other.taken(*taken)
        for entry in other.incoming.take(*batch):
            try:
                self._take(other, *packing.unpack(entry))
            except Exception as error:  # noqa: BLE001 - as above
                self._complain("What another instance says was not understood: %s", type(error).__name__)
        if other.ready:
            self._work.set()

    def _proven(self, other: Other) -> None:
        """It has spoken to this life of ours: it is there, and nobody says again what it said to another."""
        before = self._names.get(other.name)
        if before is not None:  # it was started anew
            self._left(before.end)
        self._names[other.name] = other

    def _compare(self, other: Other, stream: int, number: int) -> None:
        """With what it says it has said."""
        if number and (other.broken or (stream, number) > (other.took, other.at)):
            other.broken = True
            self._lost(other, stream)

    def _lost(self, other: Other, stream: int) -> None:
        """Something of that stream was: ask for a new one, at each beat until it comes."""
        self._roster.fail(other.name)
        self._put(other, "lost", stream)

    def _left(self, end: End) -> None:
        """It has ended, for good."""
        self._over[end] = None
        if len(self._over) > _MOST_OVER:
            del self._over[next(iter(self._over))]
        other = self._others.get(end)
        if other is not None:
            self._forget(other)

    def _forget(self, other: Other) -> None:
        self._others.pop(other.end, None)
        if self._names.get(other.name) is other:
            del self._names[other.name]
            self._roster.drop(other.name)
        self._settling.gone(other.end)

    # The entries of a stream

    def _take(self, other: Other, kind: str, *rest: Any) -> None:
        if not self._roster.takes(other.name, kind, *rest) and kind in self._said_here:  # a newer version says more
            self._said_here[kind](other, *rest)

    def _arrived(self, other: Other, packed: list[Any]) -> None:
        message, stamp = packing.message(packed)
        # The server's own services ask who calls, and only the caller's own instance knows: replies alone go there.
        refused = self._relay.owns(message.to) and message.method.startswith("services.")
        if (refused or not self._relay.arrive(message, stamp)) and message.promised:
            self._put(other, "undelivered", message.sender, message.session, message.to)

    def _undelivered(self, _: Other, sender: str, session: str, to: str) -> None:
        self._relay.undelivered(Message(method="", to=to, sender=sender, session=session))

    def _asked_anew(self, other: Other, stream: int) -> None:
        if stream >= other.stream:
            self._begin(other)

    def _told(self, _: Other, kind: str, facts: dict[str, Any]) -> None:
        handler = self._handlers.get(kind)
        outcome = None if handler is None else handler(**facts)
        if inspect.isawaitable(outcome):
            task = asyncio.ensure_future(outcome)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # What the relay and the directory say

    def deliver(self, instance: str, message: Message, stamp: Stamp) -> None:
        """See `Away`."""
        other = self._names.get(instance)
        if other is None:
            self._relay.undelivered(message)
        elif forward(other.out, message, stamp):
            self._work.set()
        elif message.promised:
            self._relay.send(rejection(FULL, call=message), NOBODY)

    def instance_of(self, address: str) -> str | None:
        """See `Away`."""
        word, _, name = address.partition("/")[2].partition("-")
        return name if word in _OWN and name in self._names else None

    def joined(self, member: Member) -> None:
        """See `Watcher`."""
        if member.instance == self._directory.instance:
            self._tell_all("join", packing.of_member(member), self._roster.own(member))

    def left(self, member: Member, services: tuple[Registered, ...]) -> None:
        """See `Watcher`."""
        del services
        if member.instance == self._directory.instance:
            self._roster.own_left(member)
            self._tell_all("leave", member.peer)

    def registered(self, service: Registered) -> None:
        """See `Watcher`."""
        if self._here(service.peer):
            self._tell_all("register", packing.of_service(service))

    def unregistered(self, service: Registered) -> None:
        """See `Watcher`."""
        if self._here(service.peer):
            self._tell_all("unregister", service.peer, service.id)

    def _here(self, peer: str) -> bool:
        member = self._directory.member(peer)
        return member is not None and member.instance == self._directory.instance

    # For the rooms of this instance

    def tell(self, kind: str, /, **facts: Any) -> None:
        """Tell all other instances something: plain values."""
        self._tell_all("tell", kind, facts)

    def on(self, kind: str, handler: Callable[..., Any]) -> None:
        """What another instance tells is handed to that, by keyword; it may be a coroutine function."""
        self._handlers[kind] = handler

    async def settle(self) -> None:
        """Return once all that other instances knew before this call is known here, or soon where one is silent."""
        await self._settling.settle()

    def _ask(self, number: int) -> list[End]:
        now = self._clock.monotonic()
        asked = [other for other in self._others.values() if other.took and now - other.heard < FRESH]
        for other in asked:
            self._put(other, "ask", number)
        return [other.end for other in asked]
