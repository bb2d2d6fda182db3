"""All pages of one identity behind one guard, and which door a request is for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from valetkey.entrypoints.web import api, page
from valetkey.entrypoints.web.account import AccountPages
from valetkey.entrypoints.web.admin import AdminPages
from valetkey.entrypoints.web.first import FirstAdminPages
from valetkey.entrypoints.web.forms import Forms
from valetkey.entrypoints.web.guard import Guard
from valetkey.entrypoints.web.links import link_routes
from valetkey.entrypoints.web.login import LoginPages
from valetkey.entrypoints.web.password import PasswordPages
from valetkey.ports.world import Home

if TYPE_CHECKING:
    from valetkey.wiring.identity import Identity


REMEMBERED = 2000
"""Paths whose door is remembered."""

LONGEST = 256
"""Characters that such a path may have."""


@dataclass(frozen=True, kw_only=True)
class Door:
    """One app, and what it is for.

    Attributes:
        app: answers.
        routes: those of the app.
    """

    app: ASGIApp
    routes: Sequence[BaseRoute]

    def match(self, scope: Scope) -> Match:
        """How well one of the routes fits the request."""
        found = Match.NONE
        for route in self.routes:
            fit = route.matches(scope)[0]
            if fit is Match.FULL:
                return fit
            if fit is Match.PARTIAL:
                found = fit
        return found


class Doors:
    """Hands each request to the first door that has a route for its path; to the others it is 404."""

    def __init__(self, doors: Sequence[Door], *, otherwise: ASGIApp) -> None:
        self.doors = tuple(doors)
        self._otherwise = otherwise
        self._found: OrderedDict[tuple[object, ...], Door] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        door = self._of(scope)
        if door is not None:
            await door.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        elif api.wants_page(HTTPConnection(scope)):
            await self._otherwise(scope, receive, send)
        else:
            await api.from_status(404, HTTPConnection(scope))(scope, receive, send)

    def match(self, scope: Scope) -> Match:
        """How well one of the doors fits the request."""
        fits = {door.match(scope) for door in self.doors}
        return next((fit for fit in (Match.FULL, Match.PARTIAL) if fit in fits), Match.NONE)

    def _of(self, scope: Scope) -> Door | None:
        # All that a route looks at: most requests are for a path that was asked for before.
        key = scope["type"], scope.get("method"), scope["path"], scope.get("root_path")
        found = self._found.get(key)
        if found is not None:
            return found
        fits = [(door.match(scope), door) for door in self.doors]
        for wanted in (Match.FULL, Match.PARTIAL):  # a path for another method is 405, unless somebody else has it
            for fit, door in fits:
                if fit is wanted:
                    if wanted is Match.FULL and len(scope["path"]) <= LONGEST:
                        self._found[key] = door
                        if len(self._found) > REMEMBERED:
                            self._found.popitem(last=False)
                    return door
        return None


def login_pages(identity: Identity, *, base_url: str, trusted_proxies: Collection[str] = ()) -> LoginPages:
    """The pages of signing in, for :func:`page_door` and for the login service."""
    forms = Forms(base_url=base_url, entropy=identity.system.entropy)
    return LoginPages(identity, forms, base_url=base_url, trusted_proxies=trusted_proxies)


def page_door(
    identity: Identity,
    *,
    login: LoginPages,
    base_url: str,
    program: str = "",
    trusted_proxies: Collection[str] = (),
    hosts: Collection[str] = (),
    root: bool = True,
) -> Door:
    """Every page for people; from now on links lead there.

    Args:
        identity: whose pages.
        login: those of signing in.
        base_url: the public address with the prefix of our paths, without a slash at the end.
        program: what people know the program by.
        trusted_proxies: whose ``X-Forwarded-For`` is believed.
        hosts: further names under which we are asked.
        root: whether ``/`` is ours.
    """
    entropy = identity.system.entropy
    forms = Forms(base_url=base_url, entropy=entropy)
    about: dict[str, Any] = {"base_url": base_url, "trusted_proxies": trusted_proxies}
    account = f"{urlsplit(base_url).path.rstrip('/')}/account"

    async def show_root(_: Request) -> Response:
        return page.see_other(account)

    routes = [
        *([Route("/", show_root, methods=["GET"])] if root else []),
        *login.routes(),
        *AccountPages(identity, forms, **about).routes(),
        *PasswordPages(identity, forms, **about).routes(),
        *AdminPages(identity, forms, **about).routes(),
        *FirstAdminPages(identity, forms, **about).routes(),
        *link_routes(identity, forms, base_url=base_url, program=program, trusted_proxies=trusted_proxies),
    ]
    return Door(app=Guard(plain_app(routes), base_url=base_url, entropy=entropy, hosts=hosts), routes=routes)


def plain_app(routes: Sequence[BaseRoute], handlers: Any = None) -> Starlette:
    """An app of these routes, whose errors are pages, or as ``handlers`` say; no slash is added by a redirect."""
    app = Starlette(routes=list(routes), exception_handlers=handlers or page.exception_handlers())
    # RFC 9700 §4.12: a slash too many would be answered by 307, which sends what was posted on.
    app.router.redirect_slashes = False
    return app


def at_home(home: Home, app: ASGIApp) -> ASGIApp:
    """The app, run on the home loop; from another loop each message goes over."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        here = asyncio.get_running_loop()

        async def run() -> None:
            if asyncio.get_running_loop() is here:
                await app(scope, receive, send)
            else:
                await app(scope, received, sent)

        async def received() -> Message:
            future = asyncio.run_coroutine_threadsafe(_of(receive), here)
            return await asyncio.wrap_future(future)

        async def sent(message: Message) -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_to(send, message), here))

        await home.run(run)

    return serve


async def _of(receive: Receive) -> Message:
    return await receive()


async def _to(send: Send, message: Message) -> None:
    await send(message)
