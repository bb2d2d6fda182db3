"""The routers of the host program's auth handlers, served under /auth before our own pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Receive, Scope, Send

from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.visitors import off_loop

if TYPE_CHECKING:
    from valetkey.entrypoints.web.interaction import Claims

PATH = "/auth"


class OwnRoutes(BaseRoute):
    """Matches what the routers match, and nothing else. A router that is added later is served from then on.

    Args:
        routers: may grow.
        claims: where several people are served: then a future is resolved by the browser that claimed its flow only.
    """

    def __init__(self, routers: list[APIRouter], *, claims: Claims | None = None) -> None:
        self._routers = routers
        self._claims = claims
        self._count = 0
        self._app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        self._mount = Mount(PATH, app=self._app)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether one of the routers serves this request."""
        self._renew()
        match, child = self._mount.matches(scope)
        if match is Match.NONE:
            return match, child
        inner = {**scope, **child}
        served = any(route.matches(inner)[0] is Match.FULL for route in self._app.routes)
        return (Match.FULL, child) if served else (Match.NONE, {})

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        """Where a route of that name is."""
        return self._mount.url_path_for(name, **path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run it, off the home loop."""
        await self._mount.handle(scope, receive, send)

    def _renew(self) -> None:
        if self._count == len(self._routers):
            return
        handlers: Any = page.exception_handlers()
        self._app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, exception_handlers=handlers)
        for router in self._routers:
            self._app.include_router(router)
        self._count = len(self._routers)
        app = off_loop(self._app)
        self._mount = Mount(PATH, app=app if self._claims is None else self._claims.around(app))
