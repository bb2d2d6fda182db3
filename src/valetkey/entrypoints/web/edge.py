"""Before every door of a server: under which name, from where, how often, from which origins."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from valetkey.audit import Origin
from valetkey.entrypoints.render import http_status
from valetkey.entrypoints.web import api, page
from valetkey.entrypoints.web.guard import audited_as, note
from valetkey.entrypoints.web.hosts import host_name, is_public_https, own_hosts
from valetkey.entrypoints.web.presented import client_address
from valetkey.entrypoints.web.rates import Buckets
from valetkey.errors import CouldNotTell, RateLimited, ValetkeyError
from valetkey.model.hosts import visitor_of
from valetkey.ports.world import Entropy

_log = logging.getLogger("valetkey.web")
_EXPOSED = "x-request-id, retry-after, www-authenticate"
_PREFLIGHT = {
    "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "access-control-allow-headers": "authorization, content-type, accept, x-request-id",
    "access-control-max-age": "600",
}
_HSTS = "max-age=31536000"
_THEIR_PAGES = "base-uri 'self'; object-src 'none'; frame-ancestors 'none'"
"""For a page of a host program's own, which may have scripts; ours bring a policy that allows none."""

_LATER = {"retry-after": "5"}
"""Beside 503, where nobody knows better (RFC 9110 §15.6.4)."""

_CSP = "content-security-policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who may ask, and how.

    Attributes:
        base_url: the public address, with the prefix that a reverse proxy leaves.
        hosts: further names under which we are asked.
        origins: whose pages may call us; ``*``: those of any. Cookies never count for them.
        trusted_proxies: whose ``X-Forwarded-For`` and ``-Proto`` are believed.
    """

    base_url: str
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    trusted_proxies: frozenset[str] = frozenset()


class Edge:
    """The first of all: it refuses what is not for us, before any other part reads it.

    A Host that is not ours (DNS rebinding), a request target that is no path (RFC 9112 §3.2), too many requests
    (429). Nobody may send a Cookie from another origin, and ``Origin: null`` is nobody's.

    Args:
        app: every door.
        known: the caller of a request whose token was verified not long ago, as text; None: nobody knows it yet.
        by_address: requests of those whom nobody knows.
        by_caller: requests of the others.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: Rules,
        entropy: Entropy,
        known: Callable[[HTTPConnection], str | None],
        by_address: Buckets,
        by_caller: Buckets,
        prefix: str = "",
    ) -> None:
        self._app = app
        self._rules = rules
        self._hosts = own_hosts(rules.base_url, rules.hosts)
        self._entropy = entropy
        self._known = known
        self._by_address = by_address
        self._by_caller = by_caller
        self._prefix = prefix
        self._said = False
        self._headers = dict(page.HEADERS)
        if is_public_https(rules.base_url):
            self._headers["strict-transport-security"] = _HSTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it through (ASGI 3)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope = self._seen(scope)
        address = scope["client"][0] if scope.get("client") else ""
        with audited_as(Origin(address=address, request=page.reference_of(scope))):
            if scope["type"] == "http":
                await self._http(scope, receive, send)
            elif status := self._fault(scope) or self._too_often(scope):
                await _deny(status, scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = HTTPConnection(scope)
        origin = self._origin(connection.headers)
        more = {"x-request-id": page.reference_of(scope), **_cors(origin)}
        if self._rules.origins:
            more["vary"] = "Origin"
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                later = _LATER if message["status"] == http_status(CouldNotTell) else {}
                message = {**message, "headers": self._with(message.get("headers", ()), {**more, **later})}
            await send(message)

        refusal = self._refusal(scope, connection)
        if refusal is not None and refusal.status_code == 400:  # noqa: PLR2004
            # Whoever reads the lengths in another way than we do sees the next request elsewhere (RFC 9112 §6.3).
            refusal.headers["connection"] = "close"
        if refusal is None and origin and _is_preflight(scope, connection.headers):
            refusal = Response(status_code=204)
            more |= _PREFLIGHT
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - the last one who can turn it into an answer
            note(error, page.reference_of(scope))
            if not started:
                await api.from_status(500, connection)(scope, receive, send_with_headers)

    def _seen(self, scope: Scope) -> Scope:
        """The request as the client sent it, where a trusted proxy stands between; and where our paths begin."""
        seen: Scope = {**scope, page.REFERENCE: self._entropy.token(6)}
        path = seen["path"]
        if self._prefix and (path == self._prefix or path.startswith(f"{self._prefix}/")):
            seen["root_path"] = self._prefix
        trusted = self._rules.trusted_proxies
        address = client_address(scope, trusted)
        peer = (scope.get("client") or ("", 0))[0]
        if trusted and address != peer:
            seen["client"] = (address, 0)
            proto = Headers(scope=scope).getlist("x-forwarded-proto")
            if len(proto) == 1 and proto[0].lower() in {"http", "https"}:
                secure = proto[0].lower() == "https"
                seen["scheme"] = {"http": ("http", "https"), "websocket": ("ws", "wss")}[scope["type"]][secure]
        return seen

    def _refusal(self, scope: Scope, connection: HTTPConnection) -> Response | None:
        status = self._fault(scope)
        if status:
            if api.wants_page(connection):
                return page.from_status(status, reference=page.reference_of(scope))
            return api.from_status(status, connection)
        try:
            self._count(connection)
        except RateLimited as error:
            return _rendered(error, connection)
        return None

    def _fault(self, scope: Scope) -> int:
        named = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
        host = host_name(named[0]) if len(named) == 1 else None
        lengths = {name.lower() for name, _ in scope["headers"]} & {b"content-length", b"transfer-encoding"}
        if host is None or not scope["path"].startswith("/") or len(lengths) > 1:
            return 400
        if host in self._hosts:
            return 0
        if not self._said:
            self._said = True
            _log.warning("a request for %r was refused (421), as all for other names are: %s", host, api.NOT_THIS_NAME)
        return 421

    def _too_often(self, scope: Scope) -> int:
        try:
            self._count(HTTPConnection(scope))
        except RateLimited:
            return 429
        return 0

    def _count(self, connection: HTTPConnection) -> None:
        caller = self._known(connection)
        if caller is not None:
            self._by_caller.take(caller)
            return
        self._by_address.take(visitor_of(connection.client.host if connection.client else ""))

    def _origin(self, headers: Headers) -> str:
        """The origin to which the answer may be shown, as it is to be named; empty: to none but our own."""
        given = headers.getlist("origin")
        if len(given) != 1 or given[0] == "null":
            return ""
        if "*" in self._rules.origins:
            return "*"
        return given[0] if given[0] in self._rules.origins else ""

    def _with(self, given: Iterable[tuple[bytes, bytes]], more: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        headers = list(given)
        names = {name.lower().decode("latin-1") for name, _ in headers}
        # What a door or a host program's service said about other origins does not count.
        headers = [header for header in headers if not header[0].lower().startswith(b"access-control-")]
        lacking = {name: value for name, value in self._headers.items() if name not in names}
        if _CSP in lacking and any(name.lower() == b"content-type" and b"html" in value for name, value in headers):
            lacking[_CSP] = _THEIR_PAGES
        if "access-control-allow-origin" in more:
            lacking["cross-origin-resource-policy"] = "cross-origin"
        lacking |= {name: value for name, value in more.items() if name != "retry-after" or name not in names}
        return headers + [(name.encode(), value.encode("latin-1")) for name, value in lacking.items()]


async def _deny(status: int, scope: Scope, receive: Receive, send: Send) -> None:
    """The handshake's answer; where the server cannot send one, it is a bare 403."""
    if "websocket.http.response" in scope.get("extensions", {}):
        await api.from_status(status, HTTPConnection(scope))(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})


def _rendered(error: ValetkeyError, connection: HTTPConnection) -> Response:
    if api.wants_page(connection):
        return page.from_error(error, reference=page.reference_of(connection.scope))
    return api.from_error(error, connection)


def _cors(origin: str) -> dict[str, str]:
    if not origin:
        return {}
    return {"access-control-allow-origin": origin, "access-control-expose-headers": _EXPOSED}


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "OPTIONS" and "access-control-request-method" in headers
