"""A chat on a real server, on a free port of this machine, with real WebSockets; its clock is wound by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import httpx2
import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from valetkey.entrypoints.chat.plugin import BedrockChatPlugin, add_bedrock_chat
from valetkey.ports.agents import ChatModel, Message, ToolCall
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build
from valetkey.wiring.system import System

DEADLINE = 10.0
SECRET = "token-of-ada-0123456789"


class Scripted:
    """A language model that says what it is told, once it is let."""

    model_id = "scripted"

    def __init__(self) -> None:
        self.pieces: list[str | ToolCall] = ["Here you are."]
        self.go = asyncio.Event()
        self.go.set()
        self.lets_go = asyncio.Event()
        self.lets_go.set()
        self.asked = asyncio.Semaphore(0)
        self.seen: list[Sequence[Message]] = []
        self.closed = self.given_up = 0

    async def answer(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, system: str, stream: bool
    ) -> AsyncIterator[str | ToolCall]:
        self.seen.append(messages)
        self.asked.release()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            await self.lets_go.wait()
            raise
        for piece in self.pieces:
            yield piece

    async def close(self) -> None:
        self.closed += 1


class Client:
    """One client; frames are read one by one."""

    def __init__(self, wire: ClientConnection) -> None:
        self.wire = wire
        self.first: dict[str, Any] = {}

    @property
    def id(self) -> str:
        return str(self.first["session_id"])

    async def send(self, frame: object = None, **fields: Any) -> None:
        """An object, or bytes and text as they are."""
        value = fields if frame is None else frame
        await self.wire.send(value if isinstance(value, str | bytes) else json.dumps(value))

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE):
            return cast("dict[str, Any]", json.loads(await self.wire.recv()))

    async def ask(self, frame: object = None, **fields: Any) -> dict[str, Any]:
        """Send, and give the next frame."""
        await self.send(frame, **fields)
        return await self.hear()

    async def until(self, kind: str) -> dict[str, Any]:
        """The next frame of that type."""
        while True:
            frame = await self.hear()
            if frame["type"] == kind:
                return frame

    async def closed(self) -> tuple[int, list[dict[str, Any]]]:
        """The code with which the other side closes, and what came before."""
        frames = []
        while True:
            try:
                frames.append(await self.hear())
            except ConnectionClosed as error:
                return (error.rcvd.code if error.rcvd is not None else 1006), frames


@dataclass
class Live:
    """A chat that runs."""

    app: FastAPI
    plugin: BedrockChatPlugin
    clock: ManualClock
    model: Scripted
    port: int
    server: uvicorn.Server
    clients: list[ClientConnection] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def raw(self, path: str = "/bedrock-chat/ws", *, named: str = "", **about: Any) -> ClientConnection:
        """An open WebSocket, of which nothing has been read; ``named``: what it calls us."""
        wire = await connect(
            f"ws://{named or f'127.0.0.1:{self.port}'}{path}",
            host="127.0.0.1",
            port=self.port,
            proxy=None,
            open_timeout=DEADLINE,
            close_timeout=1,
            **about,
        )
        self.clients.append(wire)
        return wire

    async def open(self, path: str = "/bedrock-chat/ws", **about: Any) -> Client:
        """A client that has read its first frame."""
        headers = {"cookie": about.pop("cookie")} if "cookie" in about else {}
        client = Client(await self.raw(path, additional_headers={**headers, **about.pop("headers", {})}, **about))
        client.first = await client.hear()
        return client

    def browser(self, cookie: str = "") -> dict[str, Any]:
        """What a page of ours sends along."""
        given = {"cookie": cookie} if cookie else {}
        return {"origin": self.url, **given}

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """One request; redirects are answers."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx2.AsyncClient(trust_env=False) as client:
            return await client.get(self.url + path, headers=given)

    async def gone(self, session_id: str) -> None:
        """Once the session is closed on the server's side."""
        await eventually(lambda: self.plugin.session_manager.get(session_id) is None)


async def eventually(true: Callable[[], object]) -> None:
    """Return as soon as it is true."""
    async with asyncio.timeout(DEADLINE):
        while not true():  # noqa: ASYNC110 - nothing tells of the other side
            await asyncio.sleep(0.001)


def _write(name: str, text: str) -> None:
    """A file of settings in the current folder, for nobody else to read."""
    Path(name).write_text(text, "utf-8")
    Path(name).chmod(0o600)


def _system(clock: ManualClock) -> System:
    system = build.build(Config.load(Path.cwd(), {}), clock=clock)
    system.links.lead_to_pages("http://127.0.0.1")  # so that the app takes it, as one that serves several people
    build.use(system)
    return system


class _Server(uvicorn.Server):
    """Without signal handlers; it looks more often whether it is to end."""

    async def main_loop(self) -> None:
        while not self.should_exit:  # noqa: ASYNC110 - it is uvicorn's own way to be told
            await asyncio.sleep(0.005)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def live(
    app: FastAPI | None = None, *, lifespan: str = "on", toml: str = "", host: str = "127.0.0.1", **settings: Any
) -> AsyncIterator[Live]:
    """A chat of these settings on a server."""
    app = app or FastAPI()
    clock, model = ManualClock(), Scripted()
    _write("valetkey.toml", f'[session]\nsession_type = "in_memory"\n{toml}')
    with contextlib.closing(socket.create_server((host, 0))) as listening:
        async with _serving(app, listening, clock, model, lifespan, settings) as found:
            yield found


@asynccontextmanager
async def _serving(
    app: FastAPI, listening: socket.socket, clock: ManualClock, model: Scripted, lifespan: str, settings: dict[str, Any]
) -> AsyncIterator[Live]:
    port = listening.getsockname()[1]
    settings.setdefault("model_id", "offline")
    if "public_base_url" not in settings:
        _write(".env", f"POCKET_SERVER__PUBLIC_BASE_URL=http://127.0.0.1:{port}\n")
    _system(clock)
    plugin = add_bedrock_chat(app, **settings)
    plugin.chat.model = cast("ChatModel", model)
    server = _Server(
        uvicorn.Config(
            app, log_config=None, lifespan=cast("Any", lifespan), timeout_graceful_shutdown=2, access_log=False
        )
    )
    task = asyncio.create_task(server.serve([listening]))
    found = Live(app=app, plugin=plugin, clock=clock, model=model, port=port, server=server)
    try:
        await eventually(lambda: server.started or task.done())
        yield found
    finally:
        for wire in found.clients:
            await wire.close()
        server.should_exit = True
        await task
        await asyncio.to_thread(build.use, None)


class Held:
    """Keeps a model from answering."""

    def __init__(self, chat: Live) -> None:
        self._model = chat.model

    def __enter__(self) -> Self:
        self._model.go.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._model.go.set()
