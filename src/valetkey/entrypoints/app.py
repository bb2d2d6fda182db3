"""The server: every door on one ASGI app; opened after the startup functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from valetkey.entrypoints.proxy.reverse import is_via, via_routes
from valetkey.entrypoints.rpc.apps import LoginPage
from valetkey.entrypoints.rpc.http import service_routes
from valetkey.entrypoints.rpc.routes import routes_of_services
from valetkey.entrypoints.web import api
from valetkey.entrypoints.web.doors import Door, Doors, login_pages, page_door, plain_app
from valetkey.entrypoints.web.edge import Edge, Rules
from valetkey.entrypoints.web.health import health_routes
from valetkey.entrypoints.web.hosts import by_https
from valetkey.entrypoints.web.oauth import Published
from valetkey.entrypoints.web.presented import presented, session_cookie, token_of
from valetkey.entrypoints.web.rates import Buckets
from valetkey.errors import Unauthenticated
from valetkey.model.calls import BEARER, SESSION, TICKET, Presented
from valetkey.model.hosts import is_loopback
from valetkey.protocol.apikey import Prefix, claims_to_be
from valetkey.secret import Secret
from valetkey.wiring.readiness import Readiness
from valetkey.wiring.services import manager_of
from valetkey.wiring.serving import own_names

if TYPE_CHECKING:
    from valetkey.services.table import ServiceTable
    from valetkey.settings.sections import Serving
    from valetkey.wiring.identity import Identity
    from valetkey.wiring.services import Services


def build_app(
    identity: Identity,
    *,
    serving: Serving,
    base_url: str,
    table: ServiceTable | None = None,
    program: str = "",
    services: Services | None = None,
) -> ASGIApp:
    """Everything that a server serves.

    Args:
        identity: the rooms behind the doors.
        serving: how it is served.
        base_url: the public address with the prefix of our paths, without a slash at the end.
        table: the services that are called here; None: there are none.
        program: what people know the program by.
        services: those of clients, too, and their door; None: no client can connect.
    """
    clock, often = identity.system.clock, serving.signed_in_rate
    doors = build_doors(identity, serving=serving, base_url=base_url, table=table, program=program, services=services)
    rules = Rules(
        base_url=base_url,
        hosts=own_names(serving),
        origins=frozenset(serving.allow_origins),
        trusted_proxies=serving.trusted_proxies,
    )
    return Edge(
        doors,
        rules=rules,
        entropy=identity.system.entropy,
        known=_known(identity, base_url),
        by_address=Buckets(per_second=serving.rate.per_second, burst=serving.rate.burst, clock=clock),
        by_caller=Buckets(per_second=often.per_second, burst=often.burst, clock=clock),
        prefix=serving.base_path,
    )


def build_doors(
    identity: Identity,
    *,
    serving: Serving,
    base_url: str,
    table: ServiceTable | None = None,
    program: str = "",
    services: Services | None = None,
) -> Doors:
    """The doors alone: health and what programs ask first, then pages, then services."""
    own = [*_health(identity, serving), *Published(identity.signer, base_url=lambda: base_url).routes()]
    own.append(Route("/assets/config.json", _config(identity, serving, base_url), methods=["GET"]))
    trusted = serving.trusted_proxies
    login = login_pages(identity, base_url=base_url, trusted_proxies=trusted)
    pages = page_door(
        identity, login=login, base_url=base_url, program=program, trusted_proxies=trusted, hosts=own_names(serving)
    )
    called = _services(identity, services, table, serving=serving, base_url=base_url, login_page=login.index)
    handlers = api.exception_handlers()
    via = via_routes(identity, trusted_proxies=trusted)
    return Doors(
        [
            Door(app=plain_app(own, handlers), routes=own),
            Door(app=plain_app(via, handlers), routes=via),
            pages,
            Door(app=plain_app(called, handlers), routes=called),
        ],
        otherwise=pages.app,
    )


def _services(
    identity: Identity,
    services: Services | None,
    table: ServiceTable | None,
    *,
    serving: Serving,
    base_url: str,
    login_page: LoginPage,
) -> list[BaseRoute]:
    """Calls over HTTP, and the socket of clients."""
    if services is None:
        if table is None:
            return []
        return service_routes(
            identity,
            table,
            manager=manager_of(identity, table, base_url=lambda: base_url),
            base_url=base_url,
            trusted_proxies=serving.trusted_proxies,
            login_page=login_page,
        )
    return routes_of_services(
        identity, services, serving=serving, base_url=base_url, login_page=login_page, hosts=own_names(serving)
    )


def _health(identity: Identity, serving: Serving) -> list[BaseRoute]:
    system = identity.system
    config = system.config
    has_bus = config.general.redis_url is not None or config.session.session_type == "redis"
    readiness = Readiness(
        stores=system.stores,
        bus=system.bus if has_bus else None,
        sealer=system.sealer,
        journal=system.journal if system.stores.kept else None,
        home=system.home,
        clock=system.clock,
    )
    return health_routes(
        readiness.report,
        metrics=getattr(system.recorder, "exposition", None),
        token=config.general.metrics_token,
        local=not behind_proxy(serving),
    )


def behind_proxy(serving: Serving) -> bool:
    """Whether those who connect may be a reverse proxy's, which looks like a program of this machine."""
    host = serving.public_base_url.partition("://")[2].rpartition("@")[2]
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return bool(serving.trusted_proxies) or bool(host and not is_loopback(name.lower()))


def _known(identity: Identity, base_url: str) -> Callable[[HTTPConnection], str | None]:
    """Who presented this token before; one that nobody has verified yet counts for its address."""

    def known(connection: HTTPConnection) -> str | None:
        given = connection.headers.getlist("authorization")
        try:
            if given:
                text = token_of(given[0])
                is_ticket = claims_to_be(text) is Prefix.TICKET and is_via(connection.scope)
                shown = Presented(scheme=TICKET if is_ticket else BEARER, value=Secret(text))
            else:
                cookie = connection.cookies.get(session_cookie(secure=by_https(connection, base_url)), "")
                shown = Presented(scheme=SESSION, value=Secret(cookie))
        except Unauthenticated:
            return None
        caller = identity.chain.known(shown)
        return None if caller is None else "\0".join(caller.principal)

    return known


def _config(identity: Identity, serving: Serving, base_url: str) -> Callable[[Request], Awaitable[Response]]:
    server = {"server_id": serving.server_id or identity.system.entropy.token(9), "public_base_url": base_url}

    async def config(request: Request) -> Response:
        """Who asks, and where they are."""
        shown = await presented(
            request,
            plugin=identity.plugin,
            secure=by_https(request, base_url),
            trusted_proxies=serving.trusted_proxies,
        )
        caller = await identity.chain.identify(shown)
        user = None if caller.user is None else caller.user.model_dump(mode="json")
        return JSONResponse({"user": user, "server_info": server})

    return config
