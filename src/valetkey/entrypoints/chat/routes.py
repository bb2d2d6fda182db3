"""For whoever runs the chat: is it well, what does it do, what does it offer. None of it asks the model."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.chat.handshake import Refused, Threshold, is_here
from valetkey.entrypoints.chat.registry import Sessions
from valetkey.entrypoints.chat.visitors import Reception
from valetkey.errors import ValetkeyError

if TYPE_CHECKING:
    from valetkey.entrypoints.chat.generator import ToolsGenerator
    from valetkey.entrypoints.chat.rooms import Chat
    from valetkey.tools.tool import Tool

NOT_FOR_YOU = "This is for users who are signed in, and for programs of this machine. Sign in first."
NOT_THEIRS = "Pages of other sites may not ask for this."

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_ELSEWHERE = frozenset({"cross-site", "same-site"})
_log = logging.getLogger("valetkey")

Told = Callable[[], Mapping[str, Any]]


def operator_routes(chat: Chat, sessions: Sessions, reception: Reception, generator: ToolsGenerator) -> list[BaseRoute]:
    """``/health`` for all; ``/stats`` and ``/tools`` for the signed-in, and for this machine (decision 17)."""
    pages = _Pages(chat, sessions, reception, generator)
    base = chat.config.chat_endpoint
    told: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "health": pages.health,
        "stats": pages.only_known(pages.stats),
        "tools": pages.only_known(pages.tools),
    }
    return [
        Route(f"{base}/{name}", endpoint, methods=["GET"], include_in_schema=False) for name, endpoint in told.items()
    ]


class _Pages:
    def __init__(self, chat: Chat, sessions: Sessions, reception: Reception, generator: ToolsGenerator) -> None:
        self._chat = chat
        self._sessions = sessions
        self._reception = reception
        self._generator = generator
        self._threshold = Threshold(chat)

    async def health(self, _: Request) -> Response:
        """200 while chats can be served, else 503."""
        checks = {"tools": self._offers(), "sessions": self._has_room(), "store": "ok"}
        try:
            await self._chat.system.interactions.get("0" * 64)
        except ValetkeyError:
            checks["store"] = "failed"
        well = set(checks.values()) == {"ok"}
        content = {
            "status": "healthy" if well else "unhealthy",
            "model": self._chat.model.model_id,
            "checks": checks,
        }
        return JSONResponse(content, 200 if well else 503, headers=_HEADERS)

    def stats(self) -> Mapping[str, Any]:
        """How many sessions, which tools, which paths."""
        config = self._chat.config
        seats = self._sessions.seats()
        running = sum(seat.session.turn is not None and not seat.session.turn.done() for seat in seats)
        return {
            "websocket": {"active_connections": len(seats), "running_turns": running},
            "sessions": {
                "active_sessions": len(seats),
                "kept_sessions": self._sessions.kept,
                "max_sessions": config.max_sessions,
                "session_timeout": config.session_timeout,
            },
            "tools": {
                **self._statistics(),
                "names": sorted(self._chat.offer.tools()),
                "allowed_paths": list(config.allowed_paths),
                "excluded_paths": list(config.excluded_paths),
            },
        }

    def tools(self) -> Mapping[str, Any]:
        """What is offered, as the contract has it."""
        described = self._generator.generate_tools_desc()
        own = {name: _described(name, tool) for name, tool in self._own().items()}
        metadata = {name: {"function_desc": each} for name, each in own.items()}
        return {
            "tools_description": {**described, "functions": [*described["functions"], *own.values()]},
            "tools_metadata": {**self._generator.get_all_tools_metadata(), **metadata},
            "statistics": self._statistics(),
        }

    def _own(self) -> Mapping[str, Tool]:
        """Those that are no operations: ``tools=[…]``."""
        operations = self._generator.api.tools()
        return {name: tool for name, tool in self._chat.offer.tools().items() if name not in operations}

    def _statistics(self) -> dict[str, Any]:
        found, own = self._generator.get_tool_statistics(), len(self._own())
        return {**found, "total_tools": found["total_tools"] + own, "functions": own}

    def only_known(self, told: Told) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint that tells it to those who may know."""

        async def answer(request: Request) -> Response:
            try:
                self._threshold.check_host(request)
                await self._check(request)
            except Refused as refusal:
                headers = {**_HEADERS, **refusal.headers}
                return JSONResponse({"detail": refusal.detail}, refusal.status, headers=headers)
            try:
                return JSONResponse(told(), headers=_HEADERS)
            except ValetkeyError as error:
                return JSONResponse({"detail": error.message}, 503, headers=_HEADERS)

        return answer

    async def _check(self, request: Request) -> None:
        if request.headers.get("sec-fetch-site", "").lower() in _ELSEWHERE:
            raise Refused(403, NOT_THEIRS)
        if is_here(request):
            return
        try:
            visitor = await self._reception.visitor(request)
        except Refused as refusal:
            raise Refused(403, NOT_FOR_YOU) from refusal
        if visitor.who is None:
            raise Refused(403, NOT_FOR_YOU)

    def _offers(self) -> str:
        try:
            self._chat.offer.tools()
        except Exception as error:  # noqa: BLE001 - an app's own document, or somebody else's
            _log.error("the tools of the chat cannot be made: %s", type(error).__name__)
            return "failed"
        return "ok"

    def _has_room(self) -> str:
        return "ok" if len(self._sessions) < self._chat.config.max_sessions else "full"


def _described(name: str, tool: Tool) -> dict[str, Any]:
    return {"name": name, "description": tool.description, "parameters": tool.schema}
