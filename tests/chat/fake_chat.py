"""The page with a scripted chat behind it, on loopback: each test says what the other side does."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from valetkey.entrypoints.chat.page import ui_routes
from valetkey.entrypoints.chat.rooms import Chat
from valetkey.settings.bedrock import ChatConfig
from valetkey.settings.sections import Serving

STAMP = "2026-11-22T14:05:00.000001"
SESSION = "6f2f6c1e-0d6a-4a53-9a55-1f2b6f0f8a11"

Answer = Callable[["Wire", dict[str, Any]], Awaitable[None]]


class Wire:
    """One socket as the script sees it."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.asked = socket.query_params.get("session_id", "")

    async def say(self, kind: str, message: str | None = None, **fields: Any) -> None:
        text = {} if message is None else {"message": message}
        await self._socket.send_text(json.dumps({"type": kind, **text, **fields, "timestamp": STAMP}))

    async def close(self, code: int) -> None:
        await self._socket.close(code)


class Fake:
    """What was heard, and what is said to it."""

    def __init__(self, answer: Answer, *, resumed: bool = True) -> None:
        self.heard: list[dict[str, Any]] = []
        self.wires: list[Wire] = []
        self.said: list[dict[str, Any]] = []
        self.resumed = resumed
        self.refusal = ""
        self._answer = answer

    async def serve(self, socket: WebSocket) -> None:
        await socket.accept()
        wire = Wire(socket)
        self.wires.append(wire)
        resumed = bool(wire.asked) and self.resumed
        await wire.say("connection_established", "Connected to AI assistant", session_id=SESSION, resumed=resumed)
        try:
            while True:
                frame = json.loads(await socket.receive_text())
                self.heard.append(frame)
                await self._usual(wire, frame)
        except (WebSocketDisconnect, RuntimeError):
            pass

    async def _usual(self, wire: Wire, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "options":
                pass
            case "ping":
                await wire.say("pong")
            case "auth" if self.refusal:
                await wire.say("auth_failed", self.refusal, auth_type=frame["auth_type"])
            case "auth":
                kind = frame["auth_type"]
                await wire.say("auth_configured", f"Authentication configured: {kind}", auth_type=kind)
            case "logout":
                await wire.say("logout_success", "Successfully logged out")
            case "clear":
                await wire.say("history_cleared", "Conversation history cleared")
            case "history":
                await wire.say("history", messages=self.said)
            case "cancel":
                await wire.say("cancelled", "The answer was cancelled")
            case _:
                await self._answer(wire, frame)


def page_app(fake: Fake, config: ChatConfig) -> Starlette:
    """The page and the fake, under the paths of the settings."""
    system = SimpleNamespace(entropy=SimpleNamespace(token=lambda size: "c" * 43))
    mounted = SimpleNamespace(
        base_url="http://127.0.0.1:8000", prefix="bedrock-chat", serving=Serving(), learn=lambda _: None
    )
    chat = cast("Chat", SimpleNamespace(config=config, system=system, mounted=mounted))
    return Starlette(routes=[*ui_routes(chat), WebSocketRoute(config.websocket_endpoint, fake.serve)])


class _Server(uvicorn.Server):
    """Without signal handlers; says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listens.set()


@asynccontextmanager
async def served(app: ASGIApp, *, port: int = 0, lifespan: str = "off") -> AsyncIterator[str]:
    """The app's origin, by a real server with WebSockets on this loop."""
    listener = socket.create_server(("127.0.0.1", port))
    settings: Any = {"ws": "websockets-sansio", "lifespan": lifespan, "log_config": None}
    server = _Server(uvicorn.Config(app, access_log=False, timeout_graceful_shutdown=1, **settings))
    task = asyncio.create_task(server.serve([listener]))
    try:
        await asyncio.wait_for(server.listens.wait(), 10)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
