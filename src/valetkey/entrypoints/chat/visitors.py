"""Who opens a chat: the user of the app's own sign-in, of ours, or nobody but the session itself."""

from __future__ import annotations

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
from valetkey.identity.verifiers.vouched import CHAT_USERS, LONGEST, Named, in_chat, named
from valetkey.model.caller import Caller
from valetkey.model.users import UserInfo

if TYPE_CHECKING:
    from valetkey.entrypoints.fastapi import Mounted

NOBODY = "This chat is for users of this app, and its sign-in gave none. Sign in first."
LACKING = "This chat is for users of this app, and the request lacks what its sign-in needs. Sign in first."
NOT_NOW = "Who is calling cannot be told now. Try again later."

_KEYS = ("user_id", "sub", "email", "username", "user", "id", "name")
_log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who is there.

    Attributes:
        who: the user; None: nobody signed in.
        caller: how we know, where it was our own sign-in.
    """

    who: Named | None = None
    caller: Caller | None = None


class Reception:
    """Asks who is there: the app's own dependency, where it has one, else our sign-in.

    Args:
        dependency: ``auth_dependency``: a function as FastAPI's ``Depends`` takes it, or ``Depends(…)`` itself.
        overrides: the app, for its ``dependency_overrides``.
        path: of the WebSocket.

    Raises:
        ConfigurationError: the dependency cannot be run at a WebSocket's handshake.
    """

    def __init__(self, mounted: Mounted, dependency: Any = None, *, overrides: Any = None, path: str = "") -> None:
        self._mounted = mounted
        self._overrides = overrides
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
        user = vouched(value)
        if user is None:
            raise Refused(403, NOBODY)
        caller = None
        if isinstance(value, UserInfo) and user.user is not None:
            known = (await self._ours(connection)).caller
            caller = known if known is not None and known.owner == user.owner else None
        return Visitor(who=user, caller=caller)

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
        except Exception as error:  # noqa: BLE001 - the app's own code
            _log.error("auth_dependency raised %s", type(error).__name__)
            raise Refused(503, NOT_NOW) from None
        if told:
            raise Refused(403, NOBODY)
        if solved.errors:
            raise Refused(403, LACKING)
        return solved.values["value"]


def vouched(value: Any) -> Named | None:
    """The user whom the app's own sign-in gave: a ``UserInfo`` of ours is that user, any other one is the app's."""
    if isinstance(value, UserInfo):
        if value.is_anonymous:
            return None
        try:
            return cast("Named", named(value))
        except Unauthenticated:
            pass  # made by the app itself: nobody here vouched for it
    subject = _subject(value, nested=True)
    return None if subject is None else in_chat(subject, workspace=CHAT_USERS)


def _subject(value: Any, *, nested: bool) -> str | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | UUID):
        return str(value)
    if isinstance(value, str):
        usable = value.strip() and value.isprintable() and len(value) <= LONGEST
        return value if usable else None
    if not nested or isinstance(value, bytes | list | tuple | set | frozenset) or inspect.isroutine(value):
        return None
    for key in _KEYS:
        found = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
        subject = _subject(found, nested=key == "user" and found is not value)
        if subject is not None:
            return subject
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
