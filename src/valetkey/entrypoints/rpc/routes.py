"""Where services are called and clients connect, in a server and in somebody's app."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from valetkey.entrypoints.rpc.http import service_routes

if TYPE_CHECKING:
    from valetkey.entrypoints.rpc.apps import LoginPage
    from valetkey.settings.sections import Serving
    from valetkey.wiring.identity import Identity
    from valetkey.wiring.services import Services


def routes_of_services(
    identity: Identity,
    services: Services,
    *,
    serving: Serving,
    base_url: str,
    login_page: LoginPage | None,
    hosts: Collection[str],
) -> list[BaseRoute]:
    """Calls over HTTP, and the socket of clients where its packages are there.

    Args:
        identity: the rooms of the server.
        services: the rooms of RPC.
        serving: which proxies are believed, and whose pages may connect.
        base_url: the public address.
        login_page: our own page of the login service.
        hosts: further names under which we are asked.
    """
    trusted = serving.trusted_proxies
    routes = service_routes(
        identity,
        services.table,
        manager=services.manager,
        calls=services.calls,
        base_url=base_url,
        trusted_proxies=trusted,
        login_page=login_page,
    )
    if services.complete:
        from valetkey.entrypoints.rpc.websocket import rpc_socket_route  # its packages may be missing

        routes.append(
            rpc_socket_route(
                identity,
                services,
                base_url=base_url,
                trusted_proxies=trusted,
                hosts=hosts,
                origins=serving.allow_origins,
            )
        )
    return routes
