"""Services in somebody's app: clients connect, and functions are called, below a prefix of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

from valetkey.entrypoints.proxy.reverse import via_routes
from valetkey.entrypoints.rpc.routes import routes_of_services
from valetkey.entrypoints.rpc.startup import end_services, start_services
from valetkey.entrypoints.web import api
from valetkey.entrypoints.web.below import PagesRoute
from valetkey.entrypoints.web.doors import Door, Doors, plain_app
from valetkey.errors import CouldNotTell
from valetkey.wiring.services import Services, open_services
from valetkey.wiring.via import open_loans

if TYPE_CHECKING:
    from valetkey.entrypoints.rpc.apps import LoginPage
    from valetkey.services.relay import Lend
    from valetkey.settings.server import ServerSettings
    from valetkey.wiring.identity import Identity


class MountedServices:
    """Services over the rooms of a mounted identity; opened and closed from a thread that runs no loop of ours.

    Args:
        settings: how much of each, under which names they are asked, and what registers some at the start.
        base_url: the public address with the prefix of our paths.
    """

    def __init__(self, settings: ServerSettings, *, base_url: Callable[[], str]) -> None:
        self._settings = settings
        self._base_url = base_url
        self._open: tuple[Identity, Services] | None = None
        self._doors = Doors([], otherwise=plain_app([]))

    @property
    def services(self) -> Services:
        """The rooms of RPC.

        Raises:
            CouldNotTell: they are not open.
        """
        if self._open is None:
            raise CouldNotTell("This app has ended. Start it again.")
        return self._open[1]

    def open(self, identity: Identity, *, failed: Callable[[], object]) -> None:
        """Open them on the home loop, and run the startup functions.

        Args:
            identity: the rooms over which they are.
            failed: called after ``identity`` was closed, where a startup function failed.

        Raises:
            StartupFailed: one did. Nothing stays in place.
        """
        home = identity.system.home
        try:
            self._open = identity, home.block(lambda: self._begin(identity))
        except BaseException:
            home.block(identity.close)
            failed()
            raise

    async def _begin(self, identity: Identity) -> Services:
        settings = self._settings
        services = await open_services(
            identity,
            settings.services,
            server_id=settings.serving.server_id,
            base_url=self._base_url,
            lend=_lend(identity, self._base_url),
        )
        try:
            await start_services(
                identity,
                settings.serving.startup_functions,
                plain=identity.plain,
                base_url=self._base_url(),
                services=services,
            )
        except BaseException:
            await services.close()
            raise
        return services

    def serve(self, *, base_url: str, login_page: LoginPage) -> None:
        """Serve them from now on.

        Args:
            base_url: the public address with the prefix of our paths.
            login_page: our own page of the login service.
        """
        if self._open is None:
            return
        identity, services = self._open
        serving = self._settings.serving
        routes = routes_of_services(
            identity, services, serving=serving, base_url=base_url, login_page=login_page, hosts=serving.hosts
        )
        routes += via_routes(identity, trusted_proxies=serving.trusted_proxies)
        app = plain_app(routes, api.exception_handlers())
        self._doors = Doors([Door(app=app, routes=routes)], otherwise=app)

    def route(
        self, app: FastAPI, prefix: str, *, opened: Callable[[], Identity], met: Callable[[Scope], None]
    ) -> ServicesRoute:
        """They as a route of the app.

        Args:
            app: the app.
            prefix: the path below which they are.
            opened: opens them, unless they are open.
            met: told of each request before it is served.
        """

        def doors() -> Doors:
            opened()
            return self._doors

        return ServicesRoute(app, prefix, doors=doors, home=lambda: opened().system.home, met=met)

    def close(self) -> None:
        """Send clients away, and end what runs by itself."""
        if self._open is None:
            return
        (identity, services), self._open = self._open, None

        async def end() -> None:
            end_services(identity, services.table)
            await services.close()

        identity.system.home.block(end)


def _lend(identity: Identity, base_url: Callable[[], str]) -> Lend | None:
    try:
        return open_loans(identity, base_url=base_url).lend
    except ModuleNotFoundError:  # the packages for clients: `open_services` says so
        return None


class ServicesRoute(PagesRoute):
    """Matches the paths of services, sockets too, where no route of the app does, whenever that was added.

    The sockets are the app's loop's; the relay is at home, on another one. So each message of a socket crosses over,
    one after the other: who does not read is waited for there as here.
    """

    def __init__(self, app: FastAPI, prefix: str, **about: Any) -> None:
        super().__init__(prefix, **about)
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is a path of services, and of nothing that the app has itself."""
        if scope["type"] not in ("http", "websocket") or not self.is_below(scope):
            return Match.NONE, {}
        found = self._doors().match(self._below(scope))
        if found is not Match.NONE and any(_takes(route, scope) for route in self._app.router.routes):
            return Match.NONE, {}
        return found, {}


def _takes(route: BaseRoute, scope: Scope) -> bool:
    """Whether it is there for that path. One that is there for all paths that nobody else takes is not."""
    if isinstance(route, ServicesRoute) or (isinstance(route, Mount) and not route.path):
        return False
    return route.matches(scope)[0] is not Match.NONE
