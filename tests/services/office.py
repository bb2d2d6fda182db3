"""The workspace manager and its desk over a relay without sockets: clients that keep what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack

from tests.services.kit import BASE, Place
from valetkey.model.caller import OURS, Owner
from valetkey.model.calls import NEWCOMER, Presented
from valetkey.model.services import Member
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserInfo, create_scope
from valetkey.services.desk import Desk
from valetkey.services.directory import Directory
from valetkey.services.events import Events
from valetkey.services.frames import Message
from valetkey.services.manager import Manager
from valetkey.services.relay import Link, Relay, Stamp
from valetkey.services.sight import Sight, Who
from valetkey.services.table import ServiceTable


class Client:
    """A peer that keeps what it is sent."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def deliver(self, message: Message, stamp: Stamp) -> None:
        self.heard.append(message)
        self._news.set()

    async def until(self, enough: Callable[[], bool]) -> None:
        """Return as soon as enough came."""
        async with asyncio.timeout(5):
            while not enough():
                self._news.clear()
                await self._news.wait()

    def deliver_event(self, data: bytes) -> None:
        self.events.append(msgpack.unpackb(data))

    @property
    def replies(self) -> list[tuple[str, Any]]:
        """How each call ended, and with what."""
        ends = [each for each in self.heard if each.method.rpartition(".")[2] in ("resolve", "reject")]
        return [(each.method.rpartition(".")[2], _told(each.arguments()[0][0])) for each in ends]


class Answers:
    """Calls of clients' services, answered from a table."""

    def __init__(self) -> None:
        self.raw: dict[str, Any] = {}  # by peer: what its built-in service gives
        self.values: dict[str, Any] = {}  # by full id: what any function gives
        self.asked: list[tuple[Any, ...]] = []

    async def call_raw(
        self, peer: str, method: str, args: Sequence[Any], *, as_manager: bool = True, deadline: float = 10
    ) -> Any:
        self.asked.append((peer, method, list(args), as_manager, deadline))
        return _given(self.raw.get(peer))

    async def call(
        self, service: Any, path: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any], who: Who, **_: Any
    ) -> Any:
        self.asked.append((service.full_id, ".".join(path), who.peer))
        return _given(self.values.get(service.full_id))


class Others:
    """The other instances: they know what a test gives them."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.handlers: dict[str, Any] = {}
        self.known: list[Any] = []

    def tell(self, kind: str, /, **facts: Any) -> None:
        self.told.append((kind, facts))

    def on(self, kind: str, handler: Any) -> None:
        self.handlers[kind] = handler

    async def settle(self) -> None:
        for act in self.known:
            act()


class Office(Place):
    """A manager with all its rooms, on the instance ``i1``."""

    def __init__(self, *, most_services: int = 100, **about: Any) -> None:
        super().__init__(**about)
        self.open()
        self.sight = Sight(self.workspaces.permission)
        self.table = ServiceTable(permission_of=self.workspaces.permission)
        self.directory = Directory(instance="i1")
        self.relay = Relay(
            directory=self.directory,
            sight=self.sight,
            clock=self.clock,
            manager_id="manager-i1",
            cap=1_048_576,
            whole=67_108_864,
            most_pending=1000,
        )
        self.calls = Answers()
        self.others = Others()
        self.kicked: list[tuple[str, str]] = []
        self.judged: list[str] = []
        self.events = Events(relay=self.relay, directory=self.directory, server="i1")
        self.manager = Manager(
            tokens=self.tokens,
            chain=self.chain,
            plugin=self.plugin,
            limits=self.limits,
            audit=self.audit,
            workspaces=self.workspaces,
            sealer=self.identity.system.sealer,
            table=self.table,
            sight=self.sight,
            entropy=self.entropy,
            base_url=lambda: f"{BASE}/",
            directory=self.directory,
            relay=self.relay,
            calls=self.calls,
            events=self.events,
            most_services=most_services,
            kick=lambda peer, reason: self.kicked.append((peer, reason)),
            judge=self._judge,
            mesh=self.others,
        )
        self.desk = Desk(manager=self.manager, relay=self.relay, clock=self.clock)

    async def _judge(self, workspace: str) -> None:
        self.judged.append(workspace)

    async def who(
        self,
        name: str = "ada",
        workspaces: Mapping[str, str] | None = None,
        *,
        workspace: str = "",
        peer: str = "",
        extra: Sequence[str] = (),
        roles: Sequence[str] = (),
        parent: str | None = None,
    ) -> Who:
        """Somebody with a token of ours: admin of their own workspace, and what ``workspaces`` says."""
        own = f"ws-user-{name}"
        held = {own: "a", **({"*": "a"} if "admin" in roles else {}), **(workspaces or {})}
        user = UserInfo(id=name, roles=list(roles), scope=create_scope(held, extra_scopes=extra), parent=parent)
        owner = Owner(workspace=own, issuer=OURS, subject=name)
        secret, _ = await self.tokens.issue(TokenKind.ACCESS, user, owner, expires_in=3600)
        caller = await self.identify(secret.reveal())
        return Who(caller=caller, workspace=workspace or own, peer=peer, address="192.0.2.1")

    async def nobody(self) -> Who:
        """Somebody on a socket who presented nothing."""
        caller = await self.chain.identify(Presented(scheme=NEWCOMER, value="", address="192.0.2.9"))
        assert caller.user is not None
        return Who(caller=caller, workspace=caller.user.get_workspace(), address="192.0.2.9")

    async def join(self, client: str = "c1", name: str = "ada", **about: Any) -> Link:
        """A connected client of somebody's."""
        return self.attach(await self.who(name, **about), client)

    def attach(self, who: Who, client: str) -> Link:
        peer = f"{who.workspace}/{client}"
        who = Who(caller=who.caller, workspace=who.workspace, address=who.address, peer=peer)
        member = Member(
            workspace=who.workspace,
            client=client,
            instance="i1",
            principal=who.caller.principal,
            user=who.user,
            since=self.clock.now(),
        )
        link = Link(peer=Client(), who=who, stamp=Stamp.of(who), member=member)
        self.relay.attach(link)
        return link

    async def register(self, link: Link, service_id: str = "calc", **about: Any) -> None:
        """A service with one function, ``add``."""
        config = {key: about.pop(key) for key in list(about) if key in _CONFIG}
        schema = {"add": {"type": "function", "function": {"name": "add", "description": "Adds numbers."}}}
        given = {"id": service_id, "config": config, "service_schema": schema, **about}
        await self.manager.register_service(given, who=link.who)

    def offers(self, link: Link, service_id: str = "calc", **more: Any) -> dict[str, Any]:
        """What that client's library says of such a service, as the manager will be told it."""
        add = {
            "_rtype": "method",
            "_rtarget": link.member.client,
            "_rmethod": f"services.{service_id}.add",
            "_rpromise": "*",
        }
        given = {"id": service_id, "config": {"visibility": "public"}, "add": add, **more}
        self.calls.raw[link.member.peer] = given
        return given


def client_of(link: Link) -> Client:
    assert isinstance(link.peer, Client)
    return link.peer


_CONFIG = ("visibility", "singleton", "authorized_workspaces", "require_context", "needs")


def _given(value: Any) -> Any:
    if isinstance(value, BaseException):
        raise value
    return value


def _told(value: Any) -> Any:
    return value["_rvalue"] if isinstance(value, dict) and value.get("_rtype") == "error" else value
