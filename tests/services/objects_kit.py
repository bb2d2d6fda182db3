"""The server's own services behind a relay, and clients' RPC objects before it: the real library, and no sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tests.services.kit import BASE, Place
from valetkey.model.services import Member
from valetkey.services.directory import Directory
from valetkey.services.frames import Message
from valetkey.services.library import Wire, load
from valetkey.services.objects import Objects
from valetkey.services.relay import Link, Relay, Stamp
from valetkey.services.sight import Sight, Who
from valetkey.services.table import ServiceTable


class Client:
    """One client: a peer of the relay, with an RPC object of the real library."""

    def __init__(self, stage: "Stage", who: Who, name: str) -> None:
        self.stage = stage
        self.name = name
        self.taken: list[Message] = []
        self.link = Link(
            peer=self,
            who=who,
            stamp=Stamp.of(who),
            member=Member(
                workspace=who.workspace, client=name, instance="tests", principal=who.caller.principal, user=who.user
            ),
        )
        stage.relay.attach(self.link)
        self.rpc: Any = load()(Wire(self.send), client_id=name, workspace=who.workspace, silent=True)

    @property
    def peer(self) -> str:
        return self.link.member.peer

    async def send(self, data: bytes) -> None:
        await self.stage.relay.receive(self.link, data)

    def deliver(self, message: Message, stamp: Stamp) -> None:
        self.taken.append(message)
        asyncio.get_running_loop().call_soon(self.rpc._on_message, stamp.write(message))

    async def service(self, query: str) -> Any:
        return await self.rpc.get_remote_service(query)

    def method(self, name: str, target: str = "public/server") -> Any:
        """Any method of any peer, as a client with ill will calls it."""
        return self.rpc._generate_remote_method(
            {"_rtype": "method", "_rtarget": target, "_rmethod": name, "_rpromise": "*"}
        )

    async def leave(self) -> None:
        self.stage.relay.detach(self.link)
        await self.rpc.disconnect()


class Stage:
    """A relay with the server's own services."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.directory = Directory(instance="tests")
        permission_of = place.workspaces.permission
        self.table = ServiceTable(permission_of=permission_of)
        self.relay = Relay(
            directory=self.directory,
            sight=Sight(permission_of),
            clock=place.clock,
            manager_id="manager-tests",
            cap=1_048_576,
            whole=64 * 1_048_576,
            most_pending=1000,
        )
        self.objects = Objects(
            table=self.table, relay=self.relay, clock=place.clock, entropy=place.entropy, base_url=lambda: BASE
        )
        self.clients: list[Client] = []

    async def client(self, name: str = "ada", *, workspace: str = "", client: str = "") -> Client:
        _, caller = await self.place.signed_in(name)
        assert caller.user is not None
        home = workspace or caller.user.get_workspace()
        named = client or f"{name}-1"
        made = Client(self, Who(caller=caller, workspace=home, peer=f"{home}/{named}"), named)
        self.clients.append(made)
        return made

    def register(self, workspace: str = "public", **service: Any) -> None:
        config = service.pop("config", {"visibility": "public"})
        self.table.register({"config": config, **service}, workspace=workspace)


@contextlib.asynccontextmanager
async def staged(place: Place) -> AsyncIterator[Stage]:
    stage = Stage(place)
    yield stage
    await stage.objects.close()
    for each in stage.clients:
        await each.rpc.disconnect()
