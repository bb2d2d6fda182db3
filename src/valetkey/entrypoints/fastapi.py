"""Dependencies for other people's apps."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Security, WebSocketException
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from valetkey.audit import Audit
from valetkey.entrypoints.render import http_status, rendering
from valetkey.entrypoints.web import api
from valetkey.entrypoints.web.below import PagesRoute, path_before
from valetkey.entrypoints.web.doors import Door, Doors, login_pages, page_door, plain_app
from valetkey.entrypoints.web.hosts import by_https
from valetkey.entrypoints.web.oauth import Published
from valetkey.entrypoints.web.presented import presented
from valetkey.errors import InvalidArguments, MissingSetting, RateLimited, Unauthenticated, ValetkeyError
from valetkey.model.caller import Caller
from valetkey.model.users import UserInfo, UserPermission, includes
from valetkey.settings.sections import Serving
from valetkey.settings.server import ServerSettings, load_server
from valetkey.wiring import build
from valetkey.wiring import identity as rooms
from valetkey.wiring.identity import Identity
from valetkey.wiring.system import System

if TYPE_CHECKING:
    from valetkey.entrypoints.rpc.mounted import MountedServices  # loads with the first app that serves some

DEFAULT_ADDRESS = "http://127.0.0.1:8000"
"""Where an app is that does not say so: uvicorn's default."""

SIGN_IN_FIRST = "Sign in first: present a token of this app as Authorization: Bearer <token>."

_CLOSE_REASON = 120  # bytes that a WebSocket's close frame has for it (RFC 6455 §5.5)
_STATE = "valetkey"
_log = logging.getLogger("valetkey")


def mount_valetkey(app: FastAPI, *, prefix: str = "", services: bool = False, **settings: Any) -> Mounted:
    """Serve our pages in an app of yours: sign-in, account, connecting accounts and their callbacks (``/auth/…``).

    No port is opened: from now on the links of this process's Pockets lead to the app. Routes that the app had before
    go first.

    Args:
        app: the app; its lifespan goes on as it is.
        prefix: the path under which the pages are, such as ``/accounts``; none by default.
        services: whether programs may register services there, and call them (``/ws``, ``/<workspace>/services/…``,
            ``/<workspace>/apps/…``).
        settings: go before all other sources, such as ``public_base_url="https://my-app.example/api"`` (by default
            links lead to ``http://127.0.0.1:8000`` and the app's ``root_path``), ``jwt_secret=…``, ``hosts=[…]``.

    Returns:
        What ``confirm_link`` takes.

    Raises:
        InvalidSetting: a setting cannot be used; the text names it.
        StartupFailed: with ``services``: one of ``startup_functions`` did.
    """
    mounted = Mounted(prefix.strip("/"), settings, root_path=app.root_path, services=services)
    setattr(app.state, _STATE, mounted)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(whose: Any) -> AsyncIterator[Any]:
        # The app's loop stays the app's: on the home loop a handler of its own could not wait for a FutureStore.
        mounted.open()
        try:
            async with inner(whose) as state:
                yield state
        finally:
            await asyncio.to_thread(mounted.close)

    app.router.lifespan_context = lifespan
    app.exception_handlers.setdefault(ValetkeyError, _told)
    app.router.routes.append(mounted.route())
    if mounted.services is not None:
        app.router.routes.append(mounted.services.route(app, mounted.prefix, opened=mounted.open, met=mounted.learn))
    return mounted


async def _told(_: Request, error: Exception) -> Response:
    """What a route of the app let pass, such as ``AuthRequired`` with its link, by the table of errors."""
    known = error if isinstance(error, ValetkeyError) else ValetkeyError("")
    content = {"detail": known.message, "code": known.code}
    url = getattr(known, "url", "")
    return JSONResponse({**content, "url": url} if url else content, http_status(known))


class Mounted:
    """Valetkey in somebody's app. Closed with the app; opened anew when the app starts again."""

    def __init__(self, prefix: str, settings: dict[str, Any], *, root_path: str = "", services: bool = False) -> None:
        self._settings = load_server(Path.cwd(), os.environ, keywords=settings)
        self._own = bool(settings)
        self._identity: Identity | None = None
        self.services = _services_of(self._settings, lambda: self.base_url) if services else None
        self._lock = threading.RLock()
        self._process = 0
        self._end: Callable[[], None] = lambda: None
        self.prefix = prefix
        self._origin = self._settings.serving.public_base_url or DEFAULT_ADDRESS
        self._before = self._settings.serving.base_path or path_before(root_path)
        self.base_url = self._own_address = self._address()
        if not self._settings.serving.public_base_url:
            _log.info("public_base_url is not set: links lead to %s", self.base_url)
        self.open()

    @property
    def identity(self) -> Identity:
        """The rooms behind the pages."""
        return self.open()

    @property
    def system(self) -> System:
        """The system that the pages are of."""
        return self.open().system

    @property
    def audit(self) -> Audit:
        """Where it is noted."""
        return self.open().audit

    @property
    def serving(self) -> Serving:
        """Under which names it is asked, and through which proxies."""
        return self._settings.serving

    @property
    def doors(self) -> Doors:
        """What is served."""
        self.open()
        return self._doors

    def learn(self, scope: Scope) -> None:
        """Take the path before the app's own from a request, where nothing said one and no request had one yet.

        It is the server's own (``uvicorn --root-path``), or of the app in which this one is mounted; no client's.
        """
        before = "" if self._before else path_before(scope.get("root_path", ""))
        if not before:
            return
        with self._lock:
            if self._before:
                return
            identity, self._before = self.open(), before
            self.base_url = self._address()
            self._serve(identity)
        _log.info("links lead to %s, as a request came that way; public_base_url can say it", self.base_url)

    def _address(self) -> str:
        return self._origin + self._before + (f"/{self.prefix}" if self.prefix else "")

    def route(self) -> PagesRoute:
        """The pages as a route of the app."""
        return PagesRoute(self.prefix, doors=lambda: self.doors, home=lambda: self.system.home, met=self.learn)

    def open(self) -> Identity:
        """Make it, unless it is there."""
        with self._lock:
            if self._identity is None or self._process != os.getpid():
                self._process = os.getpid()
                self._identity = self._opened()
            return self._identity

    def _opened(self) -> Identity:
        first = build.personal()
        shared = first is not None and not self._own
        system = first if first is not None and shared else build.build(self._settings.config, upkeep=True)
        identity: Identity = rooms.open_identity(
            system, self._settings.identity, base_url=self._own_address, pages=lambda: self.base_url
        )
        # So that a parser of the app, put in place by ``identity.plugin``, may ask us in turn.
        identity.plugin.open(
            plain=identity.plain, home=system.home, forget=identity.chain.forget, alive=lambda: system.ours
        )
        # Once its links are personal; of several apps in one process the first one is where Pockets' links lead.
        if first is None:
            build.use(system, again=lambda: self.open().system)
        self._end = (lambda: build.use(None)) if first is None else (lambda: None) if shared else system.close
        if self.services is not None:  # Pockets of startup functions find the system by now
            self.services.open(identity, failed=self._end)
        self._serve(identity)
        return identity

    def _serve(self, identity: Identity) -> None:
        serving = self._settings.serving
        trusted = serving.trusted_proxies
        login = login_pages(identity, base_url=self.base_url, trusted_proxies=trusted)
        pages = page_door(
            identity,
            login=login,
            base_url=self.base_url,
            trusted_proxies=trusted,
            hosts=serving.hosts,
            root=bool(self.prefix),
        )
        own = Published(identity.signer, base_url=lambda: self.base_url).routes()
        handlers = api.exception_handlers()
        self._doors = Doors([Door(app=plain_app(own, handlers), routes=own), pages], otherwise=pages.app)
        if self.services is not None:
            self.services.serve(base_url=self.base_url, login_page=login.index)

    def close(self) -> None:
        """End what runs by itself, and close what is open; from a thread that runs no loop."""
        identity, self._identity = self._identity, None
        if identity is None:
            return
        if self.services is not None:
            self.services.close()
        identity.system.home.block(identity.close)
        self._end()

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Who sends this, from any loop.

        Raises:
            Unauthenticated, CouldNotTell, InvalidAnswer: see ``presented`` and ``Chain.identify``.
        """
        identity = self.open()

        async def identify() -> Caller:
            shown = await presented(
                connection,
                plugin=identity.plugin,
                secure=by_https(connection, self.base_url),
                trusted_proxies=self._settings.serving.trusted_proxies,
            )
            return await identity.chain.identify(shown)

        return await identity.system.home.run(identify)

    async def permission(self, caller: Caller, workspace: str) -> UserPermission | None:
        """What the caller may do there."""
        identity = self.open()

        async def ask() -> UserPermission | None:
            return await identity.workspaces.permission(caller, workspace)

        return await identity.system.home.run(ask)


def _services_of(settings: ServerSettings, base_url: Callable[[], str]) -> MountedServices:
    from valetkey.entrypoints.rpc.mounted import MountedServices

    return MountedServices(settings, base_url=base_url)


class _Bearer(SecurityBase):
    """Says in the app's OpenAPI document how callers sign in; works for WebSocket routes, too."""

    def __init__(self) -> None:
        self.model = HTTPBearer(description="A token of this app: from its sign-in, or an API key of My account.")
        self.scheme_name = "Valetkey"

    async def __call__(self, connection: HTTPConnection) -> HTTPConnection:
        return connection


_Connection = Annotated[HTTPConnection, Security(_Bearer())]


async def current_user(connection: _Connection) -> UserInfo:
    """The user who calls: ``user: UserInfo = Depends(current_user)``, in HTTP and WebSocket routes.

    Raises:
        HTTPException: 401 without a credential, or with a bad one; 503 where it cannot be told now.
    """
    return _user_of(await _caller(connection), connection)


async def optional_user(connection: _Connection) -> UserInfo | None:
    """The same, or None where nothing is presented; a bad credential is refused still.

    Raises:
        HTTPException: 401, 503.
    """
    caller = await _caller(connection)
    return None if _is_nobody(caller) else _user_of(caller, connection)


def require(permission: str) -> Callable[..., Any]:
    """A dependency that lets on only who may do that much there: ``Depends(require("my-workspace#rw"))``.

    Args:
        permission: workspace and permission, ``#r``, ``#rw`` or ``#a``.

    Returns:
        The dependency; it gives the ``UserInfo``, and refuses others with 403.

    Raises:
        InvalidArguments: the text is no permission.
    """
    workspace, _, mark = permission.rpartition("#")
    try:
        wanted = UserPermission(mark)
    except ValueError:
        wanted = None
    if wanted is None or not workspace:
        raise InvalidArguments(f"{permission!r} is no permission. Write workspace#r, workspace#rw or workspace#a.")

    async def check(connection: _Connection) -> UserInfo:
        caller = await _caller(connection)
        user = _user_of(caller, connection)
        if user.is_specialized_token():
            raise _refusal(403, "A token for one purpose opens no workspace. Use one without such scopes.", connection)
        if not includes(await _mounted_in(connection).permission(caller, workspace), wanted):
            raise _refusal(403, f"You need {permission} for this. Ask an owner of {workspace}.", connection)
        return user

    return check


def require_scope(scope: str) -> Callable[..., Any]:
    """A dependency that lets on only tokens with that extra scope: ``Depends(require_scope("billing:read"))``.

    Returns:
        The dependency; it gives the ``UserInfo``, and refuses others with 403.

    Raises:
        InvalidArguments: the text is no scope.
    """
    if not scope or scope != "".join(scope.split()):
        raise InvalidArguments("A scope is a text without spaces, such as billing:read.")

    async def check(connection: _Connection) -> UserInfo:
        user = _user_of(await _caller(connection), connection)
        if not user.is_granted(scope):
            raise _refusal(403, f"The token lacks the scope {scope}. Ask for one that has it.", connection)
        return user

    return check


def _mounted_in(connection: HTTPConnection) -> Mounted:
    mounted: Mounted | None = getattr(connection.app.state, _STATE, None)
    if mounted is None:
        raise MissingSetting("This app does not know Valetkey yet. Call mount_valetkey(app) where the app is made.")
    return mounted


async def _caller(connection: HTTPConnection) -> Caller:
    mounted = _mounted_in(connection)
    try:
        return await mounted.caller(connection)
    except ValetkeyError as error:
        raise _turned_away(error, connection) from None


def _is_nobody(caller: Caller) -> bool:
    return caller.user is None or caller.user.is_anonymous


def _user_of(caller: Caller, connection: HTTPConnection) -> UserInfo:
    if caller.user is None or _is_nobody(caller):
        raise _turned_away(Unauthenticated(SIGN_IN_FIRST), connection)
    return caller.user.model_copy(deep=True)  # what the app does to it stays the app's: verdicts are remembered


def _turned_away(error: ValetkeyError, connection: HTTPConnection) -> Exception:
    look = rendering(error)
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = api.challenge(error, presented="authorization" in connection.headers)
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    return _refusal(look.http, error.message, connection, headers=headers, close=look.close)


def _refusal(
    status: int, text: str, connection: HTTPConnection, *, headers: dict[str, str] | None = None, close: int = 4403
) -> Exception:
    if connection.scope["type"] == "websocket":
        return WebSocketException(close, text.encode()[:_CLOSE_REASON].decode("utf-8", "ignore"))
    return HTTPException(status, text, headers)
