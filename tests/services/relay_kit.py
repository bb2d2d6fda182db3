"""A relay without sockets: peers that keep what they are given, and messages as clients write them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgpack

from valetkey.model.caller import Caller, Owner
from valetkey.model.needs import PUBLIC, Needs
from valetkey.model.services import Member, Registered
from valetkey.model.users import UserInfo, UserPermission
from valetkey.services.directory import Directory
from valetkey.services.frames import Message
from valetkey.services.relay import Link, Relay, Stamp
from valetkey.services.sight import Sight, Who
from valetkey.testing.clock import ManualClock

MANAGER = "manager-one"
CAP, WHOLE = 1 << 20, 4 << 20
_counted = itertools.count()


def written(first: Mapping[str, Any], second: Mapping[str, Any] | None = None) -> bytes:
    """Two segments."""
    return bytes(msgpack.packb(first) + (b"" if second is None else msgpack.packb(second)))


def call(
    to: str, method: str, *args: Any, session: str = "s1", promise: Any = "*", t: Any = 15.0, **first: Any
) -> bytes:
    """A call as a client's library writes it."""
    routing = {"type": "method", "from": "whoever", "to": to, "method": method, "session": session, **first}
    return written(routing, {"args": list(args), "promise": promise, "t": t})


def tell(to: str, method: str, *args: Any, **first: Any) -> bytes:
    """A message that waits for no reply, or is one."""
    return written({"type": "method", "from": "whoever", "to": to, "method": method, **first}, {"args": list(args)})


def reference(target: str, method: str, **more: Any) -> dict[str, Any]:
    """A function in arguments."""
    return {"_rtype": "method", "_rtarget": target, "_rmethod": method, "_rpromise": "*", **more}


class Sink:
    """A peer that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.read: list[dict[str, Any]] = []

    def deliver(self, message: Message, stamp: Stamp) -> None:
        self.messages.append(message)
        self.read.append(as_client(stamp.write(message)))

    @property
    def methods(self) -> list[str]:
        return [each["method"] for each in self.read]

    @property
    def last(self) -> dict[str, Any]:
        return self.read[-1]


def as_client(data: bytes) -> dict[str, Any]:
    """A message as a client's library reads it: the second segment over the first."""
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    found = unpacker.unpack()
    with suppress(msgpack.OutOfData):
        found.update(unpacker.unpack())
    return dict(found)


class Client:
    """A client whose socket is here."""

    def __init__(self, stage: Stage, workspace: str, name: str) -> None:
        self.stage = stage
        self.sink = Sink()
        user = UserInfo(id=f"user-of-{name}", roles=[], is_anonymous=False)
        caller = Caller(owner=Owner(workspace=workspace, issuer="here", subject=user.id), how="token", user=user)
        peer = f"{workspace}/{name}"
        who = Who(caller=caller, workspace=workspace, peer=peer)
        self.link = Link(
            peer=self.sink,
            who=who,
            stamp=Stamp.of(who),
            member=Member(
                workspace=workspace,
                client=name,
                instance="one",
                principal=caller.principal,
                user=who.user,
                since=next(_counted),
            ),
        )
        stage.relay.attach(self.link)

    @property
    def peer(self) -> str:
        return self.link.member.peer

    async def send(self, data: bytes) -> None:
        await self.stage.relay.receive(self.link, data)

    def offer(self, service_id: str, *, visibility: Any = "public", needs: Needs = PUBLIC) -> None:
        self.stage.directory.register(
            Registered(
                workspace=self.link.member.workspace,
                client=self.link.member.client,
                id=service_id,
                visibility=visibility,
                needs=needs,
            )
        )

    @property
    def refusal(self) -> str:
        """What the last message says was wrong."""
        said = self.sink.last
        assert said["method"].endswith(".reject"), said
        return str(said["args"][0]["_rvalue"])


class Stage:
    """A relay with nothing around it.

    Attributes:
        rights: who has which permission where, by workspace and workspace.
        meanwhile: called while one is looked up.
    """

    def __init__(self, **keywords: Any) -> None:
        self.clock = ManualClock()
        self.directory = Directory(instance="one")
        self.meanwhile: Callable[[], None] = lambda: None
        self.rights: dict[tuple[str, str], UserPermission | None] = {}
        self.relay = Relay(
            directory=self.directory,
            sight=Sight(self._permission),
            clock=self.clock,
            manager_id=MANAGER,
            **{"cap": CAP, "whole": WHOLE, "most_pending": 10, **keywords},
        )
        self.manager = Sink()
        self.relay.put(f"*/{MANAGER}", self.manager)

    def _permission(self, caller: Caller, workspace: str) -> UserPermission | None:
        self.meanwhile()
        own = UserPermission.admin if caller.owner.workspace == workspace else None
        return self.rights.get((caller.owner.workspace, workspace), own)

    def client(self, workspace: str, name: str) -> Client:
        return Client(self, workspace, name)
