"""For whoever watches the server: alive, ready, and the metrics; details only for this machine or with a token."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from valetkey.entrypoints.web.hosts import host_name, is_loopback
from valetkey.secret import Secret
from valetkey.wiring.readiness import Report

TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of Prometheus's text format."""

_FORWARDED = frozenset({"forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-client-ip"})
_READING = ("GET", "HEAD")
_NO_STORE = {"cache-control": "no-store"}
_log = logging.getLogger("valetkey")


def health_routes(
    readiness: Callable[[], Awaitable[Report]],
    *,
    metrics: Callable[[], Awaitable[bytes]] | None = None,
    token: Secret | None = None,
    local: bool = True,
) -> list[BaseRoute]:
    """``/health``, ``/health/liveness``, ``/health/readiness`` and ``/metrics``.

    Args:
        readiness: ``Readiness.report``.
        metrics: what a scrape gets, ``Recorders.exposition``; None: there is no ``/metrics``.
        token: who shows it sees the metrics and the details from anywhere; None: nobody does.
        local: whether programs of this machine see them, too. Not behind a reverse proxy: it is one of them.
    """
    pages = _Pages(readiness, token, local=local)
    routes: list[BaseRoute] = [
        Route("/health", pages.alive, methods=_READING),
        Route("/health/liveness", pages.alive, methods=_READING),
        Route("/health/readiness", pages.ready, methods=_READING),
    ]
    if metrics is not None:
        routes.append(Route("/metrics", _Metrics(metrics, pages)))
    return routes


class _Pages:
    def __init__(self, readiness: Callable[[], Awaitable[Report]], token: Secret | None, *, local: bool) -> None:
        self._readiness = readiness
        self._token = token
        self._local = local

    async def alive(self, request: Request) -> Response:
        """The process answers; no other part is asked, for a restart would mend none of them."""
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    async def ready(self, request: Request) -> Response:
        """200 while calls can be served, else 503."""
        try:
            report = await self._readiness()
        except Exception as error:  # noqa: BLE001 - what cannot tell that it is ready is not
            _log.error("readiness could not be told: %s", type(error).__name__)
            return JSONResponse({"status": "unavailable"}, status_code=503, headers=_NO_STORE)
        public = {"status": "ready" if report.ready else "unavailable"}
        shown = report.as_dict() if self.trusts(request) else public
        return JSONResponse(shown, status_code=200 if report.ready else 503, headers=_NO_STORE)

    def trusts(self, request: Request) -> bool:
        """Whether it may see more than the status."""
        return (self._local and is_local(request)) or self._shows_token(request)

    def _shows_token(self, request: Request) -> bool:
        given = request.headers.getlist("authorization")
        if not self._token or len(given) != 1:
            return False
        scheme, _, value = given[0].partition(" ")
        return scheme.lower() == "bearer" and self._token.matches(value.strip())


class _Metrics:
    """The metrics in Prometheus's text format. To whoever may not read them, by whichever method, it is not there."""

    def __init__(self, metrics: Callable[[], Awaitable[bytes]], pages: _Pages) -> None:
        self._metrics = metrics
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if not self._pages.trusts(request):
            raise HTTPException(404)
        if request.method not in _READING:
            raise HTTPException(405, headers={"allow": ", ".join(_READING)})
        await Response(await self._metrics(), media_type=TEXT, headers=_NO_STORE)(scope, receive, send)


def is_local(request: Request) -> bool:
    """Whether a program of this machine asks, for itself.

    The peer is on loopback, names us by a name of this machine, and is no reverse proxy that says so. What a
    request says about its origin never makes it local.
    """
    names = {name.lower() for name in request.headers}
    if request.client is None or names & _FORWARDED or any(name.startswith("x-forwarded") for name in names):
        return False
    named = request.headers.getlist("host")
    host = host_name(named[0]) if len(named) == 1 else None
    return host is not None and is_loopback(host) and _on_loopback(request.client.host)


def _on_loopback(peer: str) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
