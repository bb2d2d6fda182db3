"""Our pages as one route of somebody's app, whatever path is before the app's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from valetkey.entrypoints.web.doors import Doors, at_home

if TYPE_CHECKING:
    from valetkey.ports.world import Home

_ROOT = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_VARIABLE = re.compile(r"\{[^}]*\}")


class PagesRoute(BaseRoute):
    """Matches the paths of our pages, and nothing else: the app's own routes are where they were.

    Starlette's ``Mount`` finds nothing where a proxy took the path off that ``root_path`` names.

    Args:
        prefix: the path below which they are, without slashes around it; empty: none.
        doors: what is served.
        home: where it runs.
        met: told of each request before it is served.
    """

    def __init__(
        self, prefix: str, *, doors: Callable[[], Doors], home: Callable[[], Home], met: Callable[[Scope], None]
    ) -> None:
        self._prefix = f"/{prefix}" if prefix else ""
        self._doors = doors
        self._home = home
        self._met = met

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a page of ours has that path."""
        if scope["type"] != "http" or not self.is_below(scope):
            return Match.NONE, {}
        return self._doors().match(self._below(scope)), {}

    def is_below(self, scope: Scope) -> bool:
        """Whether its path is below the prefix."""
        return _parted(scope)[1].startswith(f"{self._prefix}/")

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """No page of ours has a name that the app could ask for.

        Raises:
            NoMatchFound: always.
        """
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it."""
        self._met(scope)
        await at_home(self._home(), self._doors())(self._below(scope), receive, send)

    def _below(self, scope: Scope) -> Scope:
        root, path = _parted(scope)
        return {**scope, "app_root_path": root, "root_path": root + self._prefix, "path": root + path}

    def place(self, routes: list[BaseRoute], *, after: str) -> None:
        """Put it before the first route that takes a path of ours; behind all where there is none.

        Args:
            routes: the app's.
            after: routes of this path, and below it, are the app's own choice and stay before ours.
        """
        paths = [getattr(route, "path", "/") for door in self._doors().doors for route in door.routes]
        scopes = [_asked(self._prefix + _VARIABLE.sub("x", path)) for path in paths]
        for at, route in enumerate(routes):
            if not f"{getattr(route, 'path', '')}/".startswith(f"{after.rstrip('/')}/") and any(
                route.matches(scope)[0] is not Match.NONE for scope in scopes
            ):
                routes.insert(at, self)
                return
        routes.append(self)


def path_before(root_path: str) -> str:
    """A ``root_path`` without a slash at its end, where it can be part of a link; else none."""
    path = root_path.rstrip("/")
    return path if _ROOT.fullmatch(path) else ""


def _parted(scope: Scope) -> tuple[str, str]:
    """The path before the app's own, and the app's own, which has the other before it or has not (ASGI 3)."""
    root, path = str(scope.get("root_path", "")).rstrip("/"), str(scope["path"])
    return root, path.removeprefix(root) if path.startswith(f"{root}/") else path


def _asked(path: str) -> Scope:
    return {
        "type": "http", "method": "GET", "path": path, "root_path": "", "query_string": b"", "path_params": {},
        "headers": [(b"host", b"localhost")],
    }  # fmt: skip
