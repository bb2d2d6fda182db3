"""The callback server of a script: the connect pages on loopback, on the system's own loop."""

from __future__ import annotations

import asyncio
import atexit
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valetkey.entrypoints.web.connect import ConnectPages
    from valetkey.ports.serving import Listening
    from valetkey.wiring.system import System


LINGER = 2.0
"""Seconds that a script's end waits for a browser to fetch the page that says how it ended."""


class LocalServer:
    """HTTP for the pages, and HTTPS at the default redirect URI's port; both on loopback only."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._listeners: list[Listening] = []
        self._lock: asyncio.Lock | None = None
        self._pages: ConnectPages | None = None

    async def start(self) -> None:
        """Listen, if it does not yet.

        Raises:
            PortTaken: a port is in use; the text names it and its setting.
        """
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            if self._listeners:
                return
            started: list[Listening] = []
            try:
                for listener in self._system.listeners(self._app()):
                    await listener.start()
                    started.append(listener)
            except BaseException:
                for listener in started:
                    await listener.stop()
                raise
            self._listeners = started
            atexit.register(self._at_exit)

    async def stop(self) -> None:
        """Stop listening, once browsers on their way have their page; what waits goes on at the next start."""
        atexit.unregister(self._at_exit)
        stopping, self._listeners = self._listeners, []
        if stopping and self._pages is not None:
            await self._pages.keep_promises(LINGER)
        for listener in stopping:
            await listener.stop()

    def _at_exit(self) -> None:
        if self._system.ours:
            self._system.home.block(self.stop)

    def _app(self) -> Any:
        from starlette.applications import Starlette  # the web loads with the first link
        from starlette.routing import Mount, Router

        from valetkey.entrypoints.web import page
        from valetkey.entrypoints.web.connect import ConnectPages
        from valetkey.entrypoints.web.forms import Forms
        from valetkey.entrypoints.web.guard import Guard
        from valetkey.entrypoints.web.own import OwnRoutes

        system = self._system
        base_url = system.config.callbacks.public_base_url
        pages = ConnectPages(
            answering=system.answering,
            began=system.links.answering,
            interactions=system.interactions,
            forms=Forms(base_url=base_url, entropy=system.entropy),
            program=_program(),
        )
        # A handler of the host program may serve a path that ours would, too: it goes first.
        self._pages = pages
        routes = [OwnRoutes(system.links.routers), *pages.routes()]
        prefix = system.config.callbacks.callback_url_rewrite_prefix.strip("/")
        if prefix:
            routes = [Mount(f"/{prefix}", app=Router(routes, redirect_slashes=False)), *routes]
        app = Starlette(routes=routes, exception_handlers=page.exception_handlers())
        # RFC 9700 §4.12: a slash too many would be answered by 307, which sends what was posted on.
        app.router.redirect_slashes = False
        return Guard(app, base_url=base_url, entropy=system.entropy)


def _program() -> str:
    """What a person knows the program by; empty where it was started by ``python -c``, ``-m`` or from a prompt."""
    name = Path(sys.argv[0]).name if sys.argv else ""
    return "" if name in ("-c", "-m", "-", "__main__.py") else name


def attach(system: System, routers: Sequence[Any] = ()) -> None:
    """Serve these routers from the next request on, and give the system its callback server, unless it has one.

    Where several people are served, the server that they are served by takes the callbacks, too.
    """
    links = system.links
    links.routers.extend(router for router in routers if router not in links.routers)
    if links.server is None and not links.personal:
        links.server = LocalServer(system)
