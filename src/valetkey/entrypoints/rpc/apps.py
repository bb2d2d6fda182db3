"""Web apps of registered services: an ASGI app, or functions that answer one request each."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from valetkey.entrypoints.rpc.answers import TooLarge, failure
from valetkey.entrypoints.rpc.arguments import mode_of
from valetkey.entrypoints.rpc.bodies import whole_body
from valetkey.entrypoints.rpc.callers import Callers, Watch
from valetkey.entrypoints.rpc.client_apps import ClientApp
from valetkey.entrypoints.rpc.pages import event_of, page_of
from valetkey.entrypoints.web.presented import without_ours
from valetkey.errors import CouldNotTell, InvalidArguments, NotFound, Unauthenticated
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

_log = logging.getLogger("valetkey.services")
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
        watch = self._callers.watch(who)
        mode = mode_of(request.scope["query_string"])
        service = await self._manager.resolve(f"{workspace}/{name}", who, mode=mode)
        if service.type not in ("asgi", "functions"):
            raise InvalidArguments(f"Invalid service type: {service.type}. Only asgi and functions have pages.")
        if not isinstance(service, Service):
            if self._calls is None:
                raise InvalidArguments("Services of clients are not called here.")
            app = ClientApp(self._calls, service, who, shown, watch=watch, cap=self._cap, deadline=self._deadline)
            return await app.answer(request, path)
        if service.type == "asgi":
            scope = _rewritten(request, workspace, name, path)
            scope["user"] = who.user
            return _Asgi(_served(service, who), scope, self._cap, watch)
        async with asyncio.timeout(self._deadline):
            return await self._answered(request, service, path, who, watch)

    def _has_own_page(self) -> bool:
        return self._table.has(PUBLIC, SERVICE) and "index" in self._table.at(PUBLIC, SERVICE).functions

    async def _answered(self, request: Request, service: Service, path: str, who: Who, watch: Watch) -> Response:
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
        if watch.due:  # the body took its time
            await watch.still()
        told = {"context": service.context(who)} if service.require_context else {}
        value = await run(lambda: function(event, **told), asynchronous=is_async(function))
        if watch.due:
            await watch.still()
        return page_of(value, still=watch.still)


class _Asgi(Response):
    """What an ASGI app of the host program answers."""

    def __init__(self, app: ASGIApp, scope: Scope, cap: int, watch: Watch | None = None) -> None:
        super().__init__()
        self._app = app
        self._scope = scope
        self._cap = cap
        self._watch = watch

    async def _look(self) -> None:
        """See whether the caller still is one, once in a while."""
        if self._watch is not None and self._watch.due:
            await self._watch.still()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; one that fails before it began to answer is answered for.

        One whose caller is none any more is told when it next reads or writes.
        """
        size, started = 0, False

        async def capped() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] != "http.disconnect":
                await self._look()
            size += len(message.get("body", b""))
            if size > self._cap:
                raise TooLarge(f"The body of a request has at most {self._cap} bytes.")
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            await self._look()
            started = True
            await send(message)

        task = asyncio.current_task()
        try:
            await self._app(self._scope, capped, noted)
        except (Unauthenticated, CouldNotTell) as error:
            if started:  # it breaks off: the server cuts the connection
                _log.info("the answer of the app %s was cut: %s", self._scope["service_id"], error.code)
            else:
                await failure(error, service=str(self._scope["service_id"]))(scope, receive, send)
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
        "headers": [(name, _without_ours(name, value)) for name, value in request.scope["headers"]],
    }
    return scope


def _headers(scope: Scope) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): _without_ours(name, value).decode("latin-1") for name, value in scope["headers"]
    }


def _without_ours(name: bytes, value: bytes) -> bytes:
    return without_ours(value.decode("latin-1")).encode("latin-1") if name.lower() == b"cookie" else value
