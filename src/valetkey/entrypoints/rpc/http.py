"""Calls of registered services over HTTP: of this process, and of clients."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.rpc.answers import NotAcceptable, failure, left, result, secrets_of
from valetkey.entrypoints.rpc.apps import Apps, LoginPage
from valetkey.entrypoints.rpc.arguments import check_keys, from_body, from_query, is_msgpack, mode_of
from valetkey.entrypoints.rpc.bodies import CAP, whole_body
from valetkey.entrypoints.rpc.callers import Callers
from valetkey.entrypoints.rpc.listing import Listing
from valetkey.entrypoints.web import page
from valetkey.errors import InvalidArguments
from valetkey.identity.login import PAGE, SERVICE
from valetkey.model.calls import Presented
from valetkey.services.manager import MANAGER, Manager
from valetkey.services.sight import Who
from valetkey.services.table import Service, ServiceTable

if TYPE_CHECKING:
    from valetkey.model.services import Registered
    from valetkey.services.calls import Calls
    from valetkey.wiring.identity import Identity

CALL_DEADLINE = 300.0
"""Seconds until a call ends with 504."""

_SOON = 0.2  # seconds of a call after which it is watched whether its caller is still there
_GRACE = 1.0  # seconds that a call has to end after its caller went away
_BY_POST_ONLY = {(SERVICE, "report"), (MANAGER, "parse_token"), (MANAGER, "revoke_token")}

Endpoint = Callable[[Request], Awaitable[Response]]


class _Gone(Exception):
    """The caller went away."""


def service_routes(
    identity: Identity,
    table: ServiceTable,
    *,
    manager: Manager,
    calls: Calls | None = None,
    base_url: str,
    trusted_proxies: Collection[str] = (),
    login_page: LoginPage | None = None,
    cap: int = CAP,
    deadline: float = CALL_DEADLINE,
) -> list[BaseRoute]:
    """The paths of contract 3.1. They see to bodies, answers and headers themselves.

    Args:
        identity: the rooms of the server.
        table: the services of this process.
        manager: finds services, of clients too.
        calls: calls those of clients; None: none can connect.
        base_url: the public address.
        trusted_proxies: whose ``X-Forwarded-For`` is believed.
        login_page: our own page of the login service, for as long as a host program has no other: request and key in.
        cap: bytes that a body may have.
        deadline: seconds that a call may take.
    """
    return _Services(
        identity,
        table,
        manager=manager,
        calls=calls,
        base_url=base_url,
        trusted_proxies=trusted_proxies,
        login_page=login_page,
        cap=cap,
        deadline=deadline,
    ).routes()


class _Services:
    def __init__(
        self,
        identity: Identity,
        table: ServiceTable,
        *,
        manager: Manager,
        calls: Calls | None,
        base_url: str,
        trusted_proxies: Collection[str],
        login_page: LoginPage | None,
        cap: int,
        deadline: float,
    ) -> None:
        self._table = table
        self._prefix = urlsplit(base_url).path.rstrip("/")
        self._cap = cap
        self._deadline = deadline
        self._manager = manager
        self._calls = calls
        self._callers = Callers(identity, base_url=base_url, trusted_proxies=trusted_proxies)
        self._apps = Apps(
            table,
            plugin=identity.plugin,
            callers=self._callers,
            manager=manager,
            calls=calls,
            login_page=login_page,
            cap=cap,
            deadline=deadline,
        )
        self._listing = Listing(manager, workspaces=identity.workspaces, callers=self._callers, base_url=base_url)

    def routes(self) -> list[BaseRoute]:
        both, every = ["GET", "POST"], ["GET", "POST", "PUT", "PATCH", "DELETE"]
        services, apps, listing = "/{workspace}/services", "/{workspace}/apps/{service}", self._listing
        return [
            Route("/login", self._to_login, methods=["GET"]),
            Route(services, self._add_slash, methods=both),
            Route(f"{services}/", _told(listing.services), methods=["GET"]),
            Route(f"{services}/{{service}}", _told(listing.service), methods=["GET"]),
            Route(f"{services}/{{service}}/", _told(listing.service), methods=["GET"]),
            Route(f"{services}/{{service}}/openapi.json", _told(listing.document), methods=["GET"]),
            Route(f"{services}/{{service}}/{{function:path}}", self._call, methods=both),
            Route("/{workspace}/info", _told(listing.workspace), methods=["GET"]),
            Route("/{workspace}/openapi.json", _told(listing.document), methods=["GET"]),
            Route(apps, self._add_slash, methods=["GET"]),
            Route(f"{apps}/{{path:path}}", _told(self._apps.serve), methods=every),
        ]

    async def _to_login(self, request: Request) -> Response:
        return self._redirect(PAGE, request)

    async def _add_slash(self, request: Request) -> Response:
        return self._redirect(f"{quote(_own_path(request), safe=_SAFE)}/", request)

    def _redirect(self, path: str, request: Request) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        location = f"{self._prefix}{path}{'?' if query else ''}{query}"
        return Response(status_code=307, headers={**page.HEADERS, "location": location})

    async def _call(self, request: Request) -> Response:
        shown: Presented | None = None
        arguments: dict[str, Any] = {}
        service_id, kind = request.path_params["service"], request.headers.get("content-type", "")
        try:
            shown, who = await self._callers.of(request, calls=True)
            watch = self._callers.watch(who)
            service = await self._service(request, who)
            arguments = await self._arguments(request, service, kind)
            if watch.due:  # its body took its time
                await watch.still()
            path = request.path_params["function"].split(".")
            if isinstance(service, Service):
                async with asyncio.timeout(self._deadline):
                    value = await _attended(request, self._table.call(service, path, arguments, who))
            else:
                value = await self._remote(request, service, path, arguments, who)
            if watch.due:
                await watch.still()
        except (ClientDisconnect, _Gone):
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 - each has its status
            return failure(error, _secrets(shown, arguments), service=service_id)
        packed = is_msgpack(kind) or is_msgpack(request.headers.get("accept", ""))
        try:
            return result(value, lambda: _secrets(shown, arguments), packed=packed, still=watch.still)
        except (RuntimeError, NotAcceptable) as error:
            return failure(error, _secrets(shown, arguments), service=service_id)

    async def _service(self, request: Request, who: Who) -> Service | Registered:
        workspace, query = request.path_params["workspace"], request.path_params["service"]
        if query in {MANAGER, "~"}:
            return self._manager.service(workspace)
        mode = mode_of(request.scope["query_string"])
        return await self._manager.resolve(f"{workspace}/{query}", who, mode=mode)

    async def _remote(
        self, request: Request, service: Registered, path: list[str], arguments: dict[str, Any], who: Who
    ) -> Any:
        """Call a client's service, for as long as the caller is there. None of their code runs in this task."""
        calls, task, gone = self._calls, asyncio.current_task(), False
        if calls is None or task is None:
            raise InvalidArguments("Services of clients are not called here.")
        if is_msgpack(request.headers.get("content-type", "")):
            check_keys(arguments)
        watching: list[asyncio.Task[None]] = []

        def watch() -> None:
            watching.append(asyncio.ensure_future(left(request.receive)))
            watching[0].add_done_callback(stop)

        def stop(ended: asyncio.Task[None]) -> None:
            nonlocal gone
            if not ended.cancelled():
                gone = True
                task.cancel()

        soon = asyncio.get_running_loop().call_later(_SOON, watch)
        try:
            return await calls.call(service, path, (), arguments, who, deadline=self._deadline)
        except asyncio.CancelledError:
            if gone and task.uncancel() == 0:
                raise _Gone from None
            raise
        finally:
            soon.cancel()
            for each in watching:
                each.remove_done_callback(stop)
                each.cancel()

    async def _arguments(self, request: Request, service: Service | Registered, kind: str) -> dict[str, Any]:
        if request.method != "POST":
            name = request.path_params["function"]
            if isinstance(service, Service) and name in service.ours and (service.id, name) in _BY_POST_ONLY:
                raise InvalidArguments("A token is sent in the body of a POST, never in an address.")
            return from_query(request.scope["query_string"])
        return from_body(await whole_body(request, self._cap), kind)


def _secrets(shown: Presented | None, arguments: dict[str, Any]) -> list[Any]:
    return [] if shown is None else secrets_of(shown.value, arguments)


async def _attended(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """Run it for as long as its caller is there: nobody is handed a token who has gone.

    Raises:
        _Gone: the caller went, and it did not end soon.
        RuntimeError: it cancelled itself.
    """
    call = asyncio.ensure_future(work)
    gone = None
    try:
        await asyncio.wait({call}, timeout=_SOON)
        if not call.done():
            gone = asyncio.ensure_future(left(request.receive))
            await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            await asyncio.wait({call}, timeout=_GRACE)
        if not call.done():
            raise _Gone
        if call.cancelled():  # by itself: nobody here ended it
            raise RuntimeError("the function ended its own task")
        return call.result()
    finally:
        tasks = [task for task in (call, gone) if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


def _told(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose failures are told as JSON."""

    async def serve(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 - each has its status
            return failure(error, service=str(request.path_params.get("service", "")))

    return serve


def _own_path(request: Request) -> str:
    return str(request.scope["path"]).removeprefix(str(request.scope.get("root_path", "")))


_SAFE = "/:@!$&'()*+,;=~|"
