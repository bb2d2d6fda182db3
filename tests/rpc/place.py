"""A whole server in this process, on a free port of loopback: real sockets, stores in memory, tokens of anybody.

``async with place() as here`` gives one. ``here.raw(...)`` is a client at the wire, ``here.connect(...)`` the real one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import msgpack
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import ConnectionClosed

from valetkey.adapters.serving import Listener
from valetkey.entrypoints.app import build_app
from valetkey.entrypoints.rpc.startup import end_services, start_services
from valetkey.model.caller import OURS, Caller, Owner
from valetkey.model.calls import BEARER, Presented
from valetkey.model.services import Member, Registered
from valetkey.model.tokens import Token, TokenKind
from valetkey.model.users import UserInfo, UserPermission, create_scope
from valetkey.secret import Secret
from valetkey.services.peers import Link
from valetkey.settings.pocket import Config
from valetkey.settings.sections import Identity as IdentitySettings
from valetkey.settings.sections import Services as Limits
from valetkey.settings.sections import Serving
from valetkey.wiring import build
from valetkey.wiring.identity import Identity, open_identity
from valetkey.wiring.services import Services, open_services
from valetkey.wiring.serving import adopt, open_listener
from valetkey.wiring.system import System

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""Of RFC 6455 §1.3."""

ROOT_TOKEN = "root-" + "r" * 40
WAIT = 10.0
"""Real seconds after which a test gives up on an answer; none waits as long."""


class Raw:
    """A client at the wire: it says and reads what a test wants."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.info: dict[str, Any] = {}

    @property
    def peer(self) -> str:
        return f"{self.info['workspace']}/{self.info['client_id']}"

    @property
    def manager(self) -> str:
        return f"*/{self.info['manager_id']}"

    async def say(self, frame: object) -> None:
        """A text frame; a str as it is, anything else as JSON."""
        await self.socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def hear(self) -> Any:
        """The next frame: of text as JSON, of bytes as the list of its msgpack objects."""
        async with asyncio.timeout(WAIT):
            got = await self.socket.recv()
        return json.loads(got) if isinstance(got, str) else unpacked(got)

    async def send(
        self, to: str, method: str, *args: Any, payload: Mapping[str, Any] | None = None, **routing: Any
    ) -> None:
        """A message; ``payload`` goes into its second object beside ``args``, the rest into the first."""
        first = {"type": "method", "to": to, "method": method, **routing}
        await self.socket.send(packed(first, {"args": list(args), **(payload or {})}))

    async def call(self, to: str, method: str, *args: Any, session: str = "s1", t: float = 30.0) -> dict[str, Any]:
        """Call, and the reply: ``{"resolve": value}`` or ``{"reject": text}``; heartbeats are skipped."""
        await self.send(to, method, *args, session=session, payload={"promise": "*", "t": t})
        while True:
            first, *rest = await self.hear()
            name = first["method"].rpartition(".")
            if name[0] == session and name[2] in ("resolve", "reject"):
                value: Any = rest[0]["args"][0] if rest and rest[0].get("args") else None
                return {name[2]: value["_rvalue"] if name[2] == "reject" else value}

    async def ended(self, frames: list[Any] | None = None) -> tuple[int | None, str]:
        """Read until the socket is closed; its code and reason. What came before goes into ``frames``."""
        async with asyncio.timeout(WAIT):
            with suppress(ConnectionClosed):
                while True:
                    got = await self.socket.recv()
                    if frames is not None:
                        frames.append(json.loads(got) if isinstance(got, str) else unpacked(got))
        return self.socket.close_code, self.socket.close_reason or ""


def packed(*objects: Any) -> bytes:
    return b"".join(msgpack.packb(each) for each in objects)


def unpacked(data: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(data)
    return list(unpacker)


@dataclass(kw_only=True)
class Place:
    """One instance of a server."""

    identity: Identity
    services: Services
    listener: Listener
    base_url: str
    clock: Any
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def ws_url(self) -> str:
        return f"{self.base_url.replace('http', 'ws', 1)}/ws"

    async def issue(
        self,
        name: str = "ada",
        *extra: str,
        kind: TokenKind = TokenKind.API_KEY,
        workspaces: Mapping[str, str] | None = None,
        workspace: str | None = None,
        client_id: str | None = None,
        roles: Sequence[str] = (),
        **about: Any,
    ) -> tuple[str, Token]:
        """A token of somebody's, admin of their own workspace unless ``workspaces`` says otherwise, and its row."""
        own = f"ws-user-{name}"
        scope = create_scope(dict(workspaces) if workspaces is not None else {own: "a"}, extra_scopes=list(extra))
        scope.client_id, scope.current_workspace = client_id, workspace
        if "admin" in roles:
            scope.workspaces["*"] = UserPermission.admin
        user = UserInfo(id=name, roles=list(roles), email=f"{name}@example.com", scope=scope)
        secret, row = await self.identity.tokens.issue(
            kind, user, Owner(workspace=own, issuer=OURS, subject=name), **about
        )
        return secret.reveal(), row

    async def token(self, name: str = "ada", *extra: str, **about: Any) -> str:
        """The text of one."""
        return (await self.issue(name, *extra, **about))[0]

    async def caller(self, token: str) -> Caller:
        return await self.identity.chain.identify(Presented(scheme=BEARER, value=Secret(token)))

    async def open_raw(self, *, path: str = "", **options: Any) -> Raw:
        """A socket on which nothing was said yet; closed at the end."""
        options = {"compression": None, "proxy": None, "ping_interval": None, **options}
        socket = await connect_socket(self.ws_url + path, **options)
        self._open.push_async_callback(_closed, socket)
        return Raw(socket)

    async def knock(self, headers: Mapping[str, str], *, path: str = "/ws") -> int:
        """The status with which a handshake of these headers is answered; Host and the others are as they are given."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        try:
            lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
            upgrade = [
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                f"Sec-WebSocket-Key: {KEY}",
            ]
            writer.write("\r\n".join([*lines, *upgrade, "", ""]).encode("latin-1"))
            async with asyncio.timeout(WAIT):
                answer = await reader.readline()
            return int(answer.split()[1])
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)

    async def raw(
        self, client: str = "c1", *, token: str | None = None, workspace: str | None = None, **first: Any
    ) -> Raw:
        """A client that was let in; else its ``info`` is the error."""
        raw = await self.open_raw()
        frame = {"client_id": client, "workspace": workspace, "token": token, "reconnection_token": None}
        await raw.say({**frame, **first})
        raw.info = await raw.hear()
        return raw

    async def connect(self, client: str = "c1", **config: Any) -> Any:
        """The real client of seed 004, disconnected at the end."""
        from hypha_rpc import connect_to_server

        server = await connect_to_server({"server_url": self.base_url, "client_id": client, **config})
        self._open.push_async_callback(server.disconnect)
        return server

    def http(self, token: str | None = None) -> httpx2.AsyncClient:
        """A client over HTTP."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx2.AsyncClient(base_url=self.base_url, headers=headers, trust_env=False)

    async def gone(self, peer: str) -> None:
        """Return once that client is not there any more."""
        leaves = _Leaves(peer)
        unwatch = self.services.directory.watch(leaves)
        if self.services.directory.member(peer) is not None:
            async with asyncio.timeout(WAIT):
                await leaves.told.wait()
        unwatch()

    def link(self, peer: str) -> Link:
        """The server's end of a client."""
        found = self.services.relay.link(peer)
        assert found is not None, f"{peer} is not connected"
        return found


class _Leaves:
    """Watches for the end of one client."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self.told = asyncio.Event()

    def joined(self, member: Member) -> None:
        pass

    def left(self, member: Member, services: tuple[Registered, ...]) -> None:
        if member.peer == self._peer:
            self.told.set()

    def registered(self, service: Registered) -> None:
        pass

    def unregistered(self, service: Registered) -> None:
        pass


@asynccontextmanager
async def place(
    *startup: str,
    clock: Any = None,
    limits: Mapping[str, Any] | None = None,
    serving: Mapping[str, Any] | None = None,
    identity: IdentitySettings | None = None,
    system: System | None = None,
    server_id: str = "",
    lend: Any = None,
) -> AsyncIterator[Place]:
    """A server; ``limits`` are fields of its services' settings, ``system`` one that it shares with others."""
    own = system is None
    if system is None:
        system = build.build(Config.load(Path.cwd(), {}, session={"session_type": "in_memory"}), clock=clock)
    adopt(system)
    settings = Limits(**(limits or {}))
    doors: list[Any] = []

    async def door(scope: Any, receive: Any, send: Any) -> None:
        await doors[0](scope, receive, send)

    listener = open_listener(door, Serving(host="127.0.0.1", port=0), message=settings.max_message)
    async with AsyncExitStack() as ending:
        if own:
            ending.push_async_callback(asyncio.to_thread, system.close)
        await listener.reserve()
        ending.callback(listener.release)
        base_url = f"http://127.0.0.1:{listener.port}"
        rooms = open_identity(system, identity or IdentitySettings(root_token=Secret(ROOT_TOKEN)), base_url=base_url)
        ending.push_async_callback(rooms.close)
        services = await open_services(rooms, settings, server_id=server_id, base_url=base_url, lend=lend)
        ending.push_async_callback(services.close)
        table = await start_services(rooms, startup, plain=rooms.plain, base_url=base_url, services=services)
        ending.callback(end_services, rooms, table)
        doors.append(build_app(rooms, serving=Serving(**(serving or {})), base_url=base_url, services=services))
        await listener.start()
        ending.push_async_callback(listener.stop)
        ending.callback(services.leave)
        here = Place(identity=rooms, services=services, listener=listener, base_url=base_url, clock=system.clock)
        async with here._open:
            yield here


async def until(holds: Callable[[], bool]) -> None:
    """Let others run until that holds."""
    async with asyncio.timeout(WAIT):
        for _ in itertools.count():
            if holds():
                return
            await asyncio.sleep(0)


async def wind(clock: Any, seconds: float, until: asyncio.Future[Any]) -> float:
    """Let time pass second by second until that is done; how many seconds it took, at most ``seconds``."""
    for second in range(int(seconds) + 1):
        for _ in range(100):
            if until.done():
                return float(second)
            await asyncio.sleep(0)
        clock.advance(1)
    return seconds


async def _closed(socket: ClientConnection) -> None:
    socket.transport.abort()


logging.getLogger("websockets").setLevel(logging.ERROR)
