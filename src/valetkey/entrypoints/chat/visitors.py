"""Who opens a chat: the user of the app's own sign-in, of ours, or nobody but the session itself."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from fastapi import Depends
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant, solve_dependencies
from fastapi.params import Depends as Marker
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection, Request
from starlette.types import Message, Scope
from starlette.websockets import WebSocket

from valetkey.entrypoints.chat.handshake import Refused
from valetkey.entrypoints.render import http_status
from valetkey.errors import ConfigurationError, CouldNotTell, StoreUnavailable, Unauthenticated, ValetkeyError
from valetkey.identity.verifiers.vouched import LONGEST, Named, in_chat, named
from valetkey.model.caller import CHAT_USERS, Caller
from valetkey.model.users import UserInfo

if TYPE_CHECKING:
    from valetkey.entrypoints.fastapi import Mounted

NOBODY = "This chat is for users of this app, and its sign-in gave none. Sign in first."
LACKING = "This chat is for users of this app, and the request lacks what its sign-in needs. Sign in first."
NOT_NOW = "Who is calling cannot be told now. Try again later."

_KEYS = ("user_id", "sub", "id", "email", "username", "user", "name")
"""Where a user's id is looked for: the first one that is there decides, and an empty one is nobody."""
_log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who is there.

    Attributes:
        who: the user; None: nobody signed in.
        caller: how we know, where our own sign-in had a part in it: with their token the chat ends.
    """

    who: Named | None = None
    caller: Caller | None = None


class Reception:
    """Asks who is there: the app's own dependency, where it has one, else our sign-in.

    Args:
        dependency: ``auth_dependency``: a function as FastAPI's ``Depends`` takes it, or ``Depends(…)`` itself.
        overrides: the app, for its ``dependency_overrides``.
        path: of the WebSocket; users of two chats on one app are never one.

    Raises:
        ConfigurationError: the dependency cannot be run at a WebSocket's handshake.
    """

    def __init__(self, mounted: Mounted, dependency: Any = None, *, overrides: Any = None, path: str = "") -> None:
        self._mounted = mounted
        self._overrides = overrides
        self._path = path
        self._dependant = None if dependency is None else _dependant(dependency, path)
        self._for_socket = self._dependant is not None and _takes(self._dependant, "websocket_param_name")

    @property
    def has_own(self) -> bool:
        """Whether the app says who is there."""
        return self._dependant is not None

    async def visitor(self, connection: HTTPConnection) -> Visitor:
        """Who opens this.

        Raises:
            Refused: the app's own sign-in lets them not in, or it cannot be told now.
        """
        if self._dependant is None:
            return await self._ours(connection)
        value = await self._solved(self._dependant, connection)
        try:
            user = vouched(value, self._path)
        except Exception as error:  # noqa: BLE001 - a property of the app's own class
            _log.error("what auth_dependency gave cannot be read: %s", type(error).__name__)
            raise Refused(503, NOT_NOW) from None
        if user is None:
            raise Refused(403, NOBODY)
        # Whatever the dependency made of it: where a token of ours came along, they are let in as long as it holds.
        return Visitor(who=user, caller=(await self._ours(connection)).caller)

    async def _ours(self, connection: HTTPConnection) -> Visitor:
        """A good session or token of ours is that user; a bad one is none (W-02)."""
        try:
            caller = await self._mounted.caller(connection)
        except (CouldNotTell, StoreUnavailable) as error:
            raise Refused(http_status(error), NOT_NOW) from None
        except ValetkeyError:
            return Visitor()
        user = caller.user
        if user is None or user.is_anonymous or user.is_specialized_token():
            return Visitor()
        try:
            return Visitor(who=cast("Named", named(user)), caller=caller)
        except Unauthenticated:
            return Visitor()

    async def _solved(self, dependant: Dependant, connection: HTTPConnection) -> Any:
        try:
            async with AsyncExitStack() as inner, AsyncExitStack() as function:
                stacks = {"fastapi_inner_astack": inner, "fastapi_function_astack": function}
                request, told = _request(connection, stacks, socket=self._for_socket)
                solved = await solve_dependencies(
                    request=request,
                    dependant=dependant,
                    dependency_overrides_provider=self._overrides,
                    async_exit_stack=inner,
                    embed_body_fields=False,
                )
        except HTTPException as error:
            status = error.status_code if error.status_code >= 400 else 401  # noqa: PLR2004 - a redirect is for pages
            raise Refused(status, error.detail, error.headers) from None
        except WebSocketException as error:
            raise Refused(403, error.reason or NOBODY) from None
        except ValetkeyError as error:
            raise Refused(http_status(error), error.message) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            _log.error("auth_dependency waited for something that was cancelled")
            raise Refused(503, NOT_NOW) from None
        except Exception as error:  # noqa: BLE001 - the app's own code
            _log.error("auth_dependency raised %s", type(error).__name__)
            raise Refused(503, NOT_NOW) from None
        if told:
            raise Refused(403, NOBODY)
        if solved.errors:
            raise Refused(403, LACKING)
        return solved.values["value"]


def vouched(value: Any, place: str) -> Named | None:
    """The user whom the app's own sign-in gave: a ``UserInfo`` of ours is that user, any other one is the app's.

    Args:
        value: what the dependency gave.
        place: the WebSocket's path. Who is 5 there need not be who is 5 elsewhere.
    """
    if isinstance(value, UserInfo):
        if value.is_anonymous:
            return None
        try:
            return cast("Named", named(value))
        except Unauthenticated:
            pass  # made by the app itself: nobody here vouched for it
    subject = _subject(value)
    if subject is None:
        return None
    # The key is part of it, so that no user's name is another one's id.
    whole = f"{place}#{subject}"
    return in_chat(whole, workspace=CHAT_USERS) if len(whole) <= LONGEST else None


def _subject(value: Any, key: str = "") -> str | None:
    """The key under which it is found, and the id itself; None: that can be no user."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | UUID):
        return f"{key or 'user'}:{value}"
    if isinstance(value, str):
        return f"{key or 'user'}:{value}" if value.strip() and value.isprintable() else None
    if key not in ("", "user") or isinstance(value, bytes | list | tuple | set | frozenset) or inspect.isroutine(value):
        return None
    for name in _KEYS:
        there = name in value if isinstance(value, Mapping) else hasattr(value, name)
        if there:
            found = value[name] if isinstance(value, Mapping) else getattr(value, name)
            return _subject(found, f"{key}.{name}" if key else name)
    return None


def _dependant(dependency: Any, path: str) -> Dependant:
    if not isinstance(dependency, Marker) and not callable(dependency):
        raise ConfigurationError("auth_dependency has to be a function, as FastAPI's Depends takes it.")
    marker: Any = dependency if isinstance(dependency, Marker) else Depends(dependency)

    def top(value: Any = marker) -> Any:
        return value

    try:
        dependant = get_dependant(path=path, call=top)
    except Exception as error:
        raise ConfigurationError(f"auth_dependency cannot be used: {error}") from error
    if _takes(dependant, "request_param_name") and _takes(dependant, "websocket_param_name"):
        raise ConfigurationError(
            "auth_dependency asks for a Request and for a WebSocket. Ask for an HTTPConnection instead: it is both."
        )
    return dependant


def _takes(dependant: Dependant, name: str) -> bool:
    return bool(getattr(dependant, name)) or any(_takes(each, name) for each in dependant.dependencies)


def _request(
    connection: HTTPConnection, stacks: Mapping[str, AsyncExitStack], *, socket: bool
) -> tuple[Request | WebSocket, list[Message]]:
    """The handshake as the dependency wants it, and what it answered to a WebSocket itself, other than an accept."""
    told: list[Message] = []

    async def send(message: Message) -> None:
        if message["type"] != "websocket.accept":
            told.append(message)

    if socket and connection.scope["type"] == "websocket":
        pending: list[Message] = [{"type": "websocket.connect"}]

        async def receive_nothing() -> Message:
            return pending.pop() if pending else {"type": "websocket.disconnect", "code": 1006}

        return WebSocket({**connection.scope, **stacks}, receive_nothing, send), told

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: Scope = {**connection.scope, **stacks}
    if connection.scope["type"] == "websocket":
        secure = connection.scope["scheme"] == "wss"
        scope.update({"type": "http", "method": "GET", "scheme": "https" if secure else "http"})
    return Request(scope, receive, send), told
