"""Several instances in one process: each with its directory, relay and mesh, over one bus; time is handed in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgpack

from tests.vault.keys import Dice, Given, a_ring
from valetkey.adapters.local_channel import LocalBus, LocalChannel
from valetkey.errors import StoreUnavailable
from valetkey.model.caller import Caller
from valetkey.model.services import Member, Registered
from valetkey.model.users import UserPermission
from valetkey.services.directory import Directory
from valetkey.services.frames import Message
from valetkey.services.mesh import BEAT, Mesh
from valetkey.services.relay import Link, Relay, Stamp
from valetkey.services.sight import Sight, Who
from valetkey.testing.clock import ManualClock

NOBODY: Any = None
NO_CALLER: Any = object.__new__(Caller)


class Ear:
    """A peer that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[Message, Stamp]] = []

    def deliver(self, message: Message, stamp: Stamp) -> None:
        self.heard.append((message, stamp))

    @property
    def methods(self) -> list[str]:
        return [message.method for message, _ in self.heard]


class Line:
    """A channel on which a test may lose, hold or copy what is sent."""

    def __init__(self, channel: LocalChannel) -> None:
        self._channel = channel
        self.sent: list[tuple[str, bytes]] = []
        self.loses: Callable[[str, bytes], bool] = lambda _to, _data: False
        self.broken = False

    @property
    def instance(self) -> str:
        return self._channel.instance

    async def send(self, instance: str, data: bytes) -> bool:
        if self.broken:
            raise StoreUnavailable("The bus is not there.")
        self.sent.append((instance, data))
        return True if self.loses(instance, data) else await self._channel.send(instance, data)

    async def publish(self, data: bytes) -> None:
        if self.broken:
            raise StoreUnavailable("The bus is not there.")
        self.sent.append(("", data))
        if not self.loses("", data):
            await self._channel.publish(data)

    def open(self, take: Callable[[bytes], None], *, back: Callable[[], None]) -> Any:
        return self._channel.open(take, back=back)


@dataclass(kw_only=True)
class Instance:
    """One of them."""

    name: str
    line: Line
    directory: Directory
    relay: Relay
    mesh: Mesh
    cut: list[Link]
    clock: ManualClock
    ears: dict[str, Ear] = field(default_factory=dict)

    def client(self, client: str, *, workspace: str = "lab", since: float | None = None, **about: Any) -> Link:
        """A client's socket is there."""
        member = Member(
            workspace=workspace,
            client=client,
            instance=self.name,
            user={"id": "ada"},
            since=self.clock.now() if since is None else since,
            **{"principal": ("issuer", "ada"), **about},
        )
        who = Who(caller=NO_CALLER, workspace=workspace, peer=member.peer)
        ear = self.ears[client] = Ear()
        stamp = Stamp(workspace=workspace, user={"id": "ada"})
        link = Link(peer=ear, who=who, stamp=stamp, member=member)
        self.relay.attach(link)
        return link

    def service(self, client: str, service_id: str, *, workspace: str = "lab", **about: Any) -> Registered:
        """It registers a service."""
        service = Registered(workspace=workspace, client=client, id=service_id, **about)
        self.directory.register(service)
        return service

    @property
    def peers(self) -> list[str]:
        """Who is there, as it knows."""
        return [member.peer for member in self.directory.members()]

    @property
    def services(self) -> list[str]:
        """What is registered, as it knows."""
        return [service.full_id for service in self.directory.services()]


class Circle:
    """Instances on one bus."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.bus = LocalBus()
        self.there: list[Instance] = []
        self._count = 0

    async def join(self, name: str, *, keys: str = "k1", address: str = "") -> Instance:
        """One is started, and all that is said then has been heard."""
        self._count += 1
        directory = Directory(instance=name)
        relay = Relay(
            directory=directory,
            sight=Sight(lambda _caller, _workspace: UserPermission.admin),
            clock=self.clock,
            manager_id=f"manager-{name}",
            cap=1_000_000,
            whole=64_000_000,
            most_pending=1000,
        )
        line = Line(self.bus.channel(address or f"{name}-{self._count}"))
        cut: list[Link] = []
        mesh = Mesh(
            channel=line,
            directory=directory,
            relay=relay,
            keyring=a_ring(Given(keys)),
            clock=self.clock,
            entropy=Dice(f"{name} {self._count}"),
            cut=cut.append,
        )
        relay.away = mesh
        instance = Instance(
            name=name, line=line, directory=directory, relay=relay, mesh=mesh, cut=cut, clock=self.clock
        )
        self.there.append(instance)
        await mesh.start()
        await quiet()
        return instance

    async def kill(self, instance: Instance) -> None:
        """It is gone without a word, as by SIGKILL."""
        self.there.remove(instance)
        instance.line.broken = True
        await instance.mesh.close()

    async def wait(self, seconds: float) -> None:
        """Time goes by, beat by beat."""
        for _ in range(round(seconds / BEAT)):
            await self.clock.sleepers(len([each for each in self.there if not each.line.broken]))
            self.clock.advance(BEAT)
            await quiet()


async def quiet() -> None:
    """Until nobody has anything to say."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def circle(*names: str) -> AsyncIterator[Any]:
    """Instances of these names that know each other; the circle comes first."""
    made = Circle()
    there = [await made.join(name) for name in names]
    yield made, *there
    for each in list(made.there):
        await each.mesh.close()


def call(
    caller: Link, to: str, session: str = "s1", *, method: str = "services.echo.say", args: bytes = b"\x91\x01"
) -> bytes:
    """A call as a client sends it."""
    first = {"type": "method", "to": to, "method": method, "session": session}
    promise = [msgpack.packb(each) for each in ("promise", "*", "t", 5)]
    return b"".join([msgpack.packb(first), b"\x83\xa4args", args, *promise])


def reply(session: str, to: str, value: Any, name: str = "resolve") -> bytes:
    """A reply as a client sends it."""
    first = {"type": "method", "to": to, "method": f"{session}.{name}"}
    return b"".join([msgpack.packb(first), msgpack.packb({"args": [value]})])
