"""Web apps of registered services: an ASGI app, or functions that answer one request each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from valetkey.entrypoints.rpc.answers import TooLarge, failure
from valetkey.entrypoints.rpc.arguments import mode_of
from valetkey.entrypoints.rpc.bodies import whole_body
from valetkey.entrypoints.rpc.callers import Callers
from valetkey.entrypoints.rpc.client_apps import ClientApp
from valetkey.entrypoints.rpc.pages import event_of, page_of
from valetkey.entrypoints.web.presented import session_cookie
from valetkey.errors import InvalidArguments, NotFound
from valetkey.identity.handlers import is_async
from valetkey.identity.login import SERVICE
from valetkey.identity.plugin import AuthPlugin
from valetkey.model.workspaces import PUBLIC
from valetkey.services.manager import Manager
from valetkey.services.sight import Who
from valetkey.services.table import Service, ServiceTable, is_ending, run

if TYPE_CHECKING:
    from valetkey.services.calls import Calls

LoginPage = Callable[[Request, str], Awaitable[Response]]

_COOKIES = frozenset({session_cookie(secure=True), session_cookie(secure=False)})
_OWN_PAGES = frozenset({(PUBLIC, SERVICE, "profile"), (PUBLIC, SERVICE, "logout")})
_OWN_KEYS = frozenset({"app", "router", "route", "endpoint", "path_params"})


class Apps:
    """``/{workspace}/apps/{service}/{path}`` (contract 3.1)."""

    def __init__(
        self,
        table: ServiceTable,
        *,
        plugin: AuthPlugin,
        callers: Callers,
        manager: Manager,
        calls: Calls | None,
        login_page: LoginPage | None,
        cap: int,
        deadline: float,
    ) -> None:
        self._table = table
        self._plugin = plugin
        self._callers = callers
        self._manager = manager
        self._calls = calls
        self._login_page = login_page
        self._cap = cap
        self._deadline = deadline

    async def serve(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            NotFound: there is no such service, or it has no such page.
            Denied: there is, and not for this caller.
        """
        workspace, name = request.path_params["workspace"], request.path_params["service"]
        path = request.path_params["path"]
        is_login = (workspace, name) == (PUBLIC, SERVICE)
        if is_login and self._plugin.login_app is not None:
            return _Asgi(self._plugin.login_app, _rewritten(request, workspace, name, path), self._cap)
        if is_login and not path and not self._has_own_page() and self._login_page is not None:
            return await self._login_page(request, request.query_params.get("key", ""))
        shown, who = await self._callers.of(request, calls=request.method not in {"GET", "HEAD"})
        mode = mode_of(request.scope["query_string"])
        service = await self._manager.resolve(f"{workspace}/{name}", who, mode=mode)
        if service.type not in ("asgi", "functions"):
            raise InvalidArguments(f"Invalid service type: {service.type}. Only asgi and functions have pages.")
        if not isinstance(service, Service):
            if self._calls is None:
                raise InvalidArguments("Services of clients are not called here.")
            app = ClientApp(self._calls, service, who, shown, cap=self._cap, deadline=self._deadline)
            return await app.answer(request, path)
        if service.type == "asgi":
            scope = _rewritten(request, workspace, name, path)
            scope["user"] = who.user
            return _Asgi(_served(service, who), scope, self._cap)
        async with asyncio.timeout(self._deadline):
            return await self._answered(request, service, path, who)

    def _has_own_page(self) -> bool:
        return self._table.has(PUBLIC, SERVICE) and "index" in self._table.at(PUBLIC, SERVICE).functions

    async def _answered(self, request: Request, service: Service, path: str, who: Who) -> Response:
        names = tuple(part for part in path.split("/") if part) or ("index",)
        if (service.workspace, service.id, *names) in _OWN_PAGES and names[0] in service.ours:
            return page_of(await self._table.call(service, names, {}, who))
        function: Any = None
        if names[0] not in service.ours:  # ours answer calls, and are no pages
            try:
                function = service.find(names)
            except NotFound:
                function = service.functions.get("default")
        if not callable(function):
            raise NotFound(f"Function not found: {'/'.join(names)} of the service {service.id}")
        event = event_of(request, path, service, who, _headers(request.scope), await whole_body(request, self._cap))
        told = {"context": service.context(who)} if service.require_context else {}
        return page_of(await run(lambda: function(event, **told), asynchronous=is_async(function)))


class _Asgi(Response):
    """What an ASGI app of the host program answers."""

    def __init__(self, app: ASGIApp, scope: Scope, cap: int) -> None:
        super().__init__()
        self._app = app
        self._scope = scope
        self._cap = cap

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; one that fails before it began to answer is answered for."""
        size, started = 0, False

        async def capped() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._cap:
                raise TooLarge(f"The body of a request has at most {self._cap} bytes.")
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        task = asyncio.current_task()
        try:
            await self._app(self._scope, capped, noted)
        except BaseException as error:
            if started or is_ending(error, task):
                raise
            await failure(error, service=str(self._scope["service_id"]))(scope, receive, send)


def _served(service: Service, who: Who) -> ASGIApp:
    """The service's ``serve(args)``, as an ASGI app."""
    serve = service.functions["serve"]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        arguments = {"scope": scope, "receive": receive, "send": send}
        told = {"context": service.context(who)} if service.require_context else {}
        value = serve(arguments, **told)  # on the loop, whatever it is: it gives an awaitable
        if inspect.isawaitable(value):
            await value

    return app


def _rewritten(request: Request, workspace: str, service: str, path: str) -> Scope:
    """The scope as the app sees it: itself at the root, and without this browser's session."""
    scope = {key: value for key, value in request.scope.items() if key not in _OWN_KEYS}
    scope |= {
        "path": f"/{path}",
        "raw_path": quote(f"/{path}").encode(),
        "root_path": "",
        "workspace": workspace,
        "service_id": service,
        "headers": [
            (name, _without_session(value) if name.lower() == b"cookie" else value)
            for name, value in request.scope["headers"]
        ],
    }
    return scope


def _headers(scope: Scope) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): (_without_session(value) if name.lower() == b"cookie" else value).decode(
            "latin-1"
        )
        for name, value in scope["headers"]
    }


def _without_session(cookies: bytes) -> bytes:
    parts = cookies.decode("latin-1").split(";")
    return ";".join(part for part in parts if part.partition("=")[0].strip() not in _COOKIES).encode("latin-1")
