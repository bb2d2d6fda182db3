"""Calls of registered services over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.rpc.answers import failure, result, secrets_of
from valetkey.entrypoints.rpc.apps import Apps, LoginPage
from valetkey.entrypoints.rpc.arguments import from_body, from_query
from valetkey.entrypoints.rpc.bodies import CAP, whole_body
from valetkey.entrypoints.rpc.callers import Callers
from valetkey.entrypoints.web import page
from valetkey.errors import InvalidArguments
from valetkey.identity.login import PAGE, SERVICE
from valetkey.secret import Secret
from valetkey.services.own import MANAGER, Manager
from valetkey.services.table import Service, ServiceTable, Who

if TYPE_CHECKING:
    from valetkey.wiring.identity import Identity

CALL_DEADLINE = 300.0
"""Seconds until a call ends with 504."""

_GRACE = 1.0  # seconds that a call has to end after its caller went away
_BY_POST_ONLY = {(SERVICE, "report"), (MANAGER, "parse_token"), (MANAGER, "revoke_token")}

Endpoint = Callable[[Request], Awaitable[Response]]


class _Gone(Exception):
    """The caller went away."""


def service_routes(
    identity: Identity,
    table: ServiceTable,
    *,
    base_url: str,
    trusted_proxies: Collection[str] = (),
    login_page: LoginPage | None = None,
    cap: int = CAP,
    deadline: float = CALL_DEADLINE,
) -> list[BaseRoute]:
    """The paths of contract 3.1 for services of this process. They see to bodies, answers and headers themselves.

    Args:
        identity: the rooms of the server.
        table: what is registered.
        base_url: the public address.
        trusted_proxies: whose ``X-Forwarded-For`` is believed.
        login_page: our own page of the login service, for as long as a host program has no other: request and key in.
        cap: bytes that a body may have.
        deadline: seconds that a call may take.
    """
    return _Services(
        identity,
        table,
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
        base_url: str,
        trusted_proxies: Collection[str],
        login_page: LoginPage | None,
        cap: int,
        deadline: float,
    ) -> None:
        self._identity = identity
        self._table = table
        self._prefix = urlsplit(base_url).path.rstrip("/")
        self._cap = cap
        self._deadline = deadline
        self._callers = Callers(identity, base_url=base_url, trusted_proxies=trusted_proxies)
        self._apps = Apps(
            table, plugin=identity.plugin, callers=self._callers, login_page=login_page, cap=cap, deadline=deadline
        )
        self._manager = Manager(
            tokens=identity.tokens,
            chain=identity.chain,
            permission_of=identity.workspaces.permission,
            plugin=identity.plugin,
            limits=identity.limits,
        )

    def routes(self) -> list[BaseRoute]:
        both, every = ["GET", "POST"], ["GET", "POST", "PUT", "PATCH", "DELETE"]
        services, apps = "/{workspace}/services", "/{workspace}/apps/{service}"
        return [
            Route("/login", self._to_login, methods=["GET"]),
            Route(services, self._add_slash, methods=both),
            Route(f"{services}/", _told(self._list), methods=["GET"]),
            Route(f"{services}/{{service}}", _told(self._info), methods=["GET"]),
            Route(f"{services}/{{service}}/{{function:path}}", _told(self._call), methods=both),
            Route("/{workspace}/info", _told(self._workspace), methods=["GET"]),
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

    async def _list(self, request: Request) -> Response:
        _, who = await self._callers.of(request, calls=False)
        workspace = request.path_params["workspace"]
        return result([each.info() for each in await self._table.list(who, workspace=workspace)], ())

    async def _info(self, request: Request) -> Response:
        _, who = await self._callers.of(request, calls=False)
        return result((await self._service(request, who)).info(), ())

    async def _workspace(self, request: Request) -> Response:
        _, who = await self._callers.of(request, calls=False)
        return result(await self._identity.workspaces.get(who.caller, request.path_params["workspace"]), ())

    async def _call(self, request: Request) -> Response:
        secrets: list[Secret] = []
        service_id = request.path_params["service"]
        try:
            shown, who = await self._callers.of(request, calls=True)
            secrets = secrets_of(shown.value, {})
            service = await self._service(request, who)
            arguments = await self._arguments(request, service)
            secrets = secrets_of(shown.value, arguments)
            path = request.path_params["function"].split(".")
            async with asyncio.timeout(self._deadline):
                value = await _attended(request, self._table.call(service, path, arguments, who))
        except (ClientDisconnect, _Gone):
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 - each has its status
            return failure(error, secrets, service=service_id)
        try:
            return result(value, secrets)
        except RuntimeError as error:
            return failure(error, secrets, service=service_id)

    async def _service(self, request: Request, who: Who) -> Service:
        workspace, query = request.path_params["workspace"], request.path_params["service"]
        if query in {MANAGER, "~"}:
            return self._manager.service(workspace)
        return await self._table.get(query, who, workspace=workspace)

    async def _arguments(self, request: Request, service: Service) -> dict[str, Any]:
        if request.method != "POST":
            name = request.path_params["function"]
            if name in service.ours and (service.id, name) in _BY_POST_ONLY:
                raise InvalidArguments("A token is sent in the body of a POST, never in an address.")
            return from_query(request.scope["query_string"])
        body = await whole_body(request, self._cap)
        return from_body(body, request.headers.get("content-type", ""))


async def _attended(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """Run it for as long as its caller is there: nobody is handed a token who has gone.

    Raises:
        _Gone: the caller went, and it did not end soon.
        RuntimeError: it cancelled itself.
    """
    call = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            await asyncio.wait({call}, timeout=_GRACE)
        if not call.done():
            raise _Gone
        if call.cancelled():  # by itself: nobody here ended it
            raise RuntimeError("the function ended its own task")
        return call.result()
    finally:
        for task in (call, gone):
            task.cancel()
        await asyncio.gather(call, gone, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


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
