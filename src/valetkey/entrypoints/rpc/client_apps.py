"""Web apps of clients: what they are told of a request, and what of their answer reaches a browser.

Whoever may register a service may show pages under our name. So they are shown in a sandbox (CSP, an origin of their
own): their scripts reach neither our pages nor our cookies. They set no cookies, and never see those that we set, nor
the credential by which the caller signed in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from valetkey.entrypoints.rpc.answers import TooLarge, failure
from valetkey.entrypoints.rpc.bodies import whole_body
from valetkey.entrypoints.rpc.pages import event_of, page_of
from valetkey.entrypoints.web.presented import session_cookie
from valetkey.errors import InvalidArguments, NotFound
from valetkey.model.calls import Presented
from valetkey.model.services import Registered, schema_at
from valetkey.secret import Secret
from valetkey.services.failures import RemoteFailure
from valetkey.services.sight import Who

if TYPE_CHECKING:
    from valetkey.services.calls import Calls

LONGEST = 3600.0
"""Seconds that one answer of an ASGI app may take, as a whole."""

SANDBOX = (
    "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads; base-uri 'self'; object-src 'none';"
    " frame-ancestors 'none'"
)

_log = logging.getLogger("valetkey.services")
_LEAVING = 5.0  # seconds that an app has to end after whoever asked has gone
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_COOKIES = frozenset({session_cookie(secure=True), session_cookie(secure=False)})
_KEPT = ("type", "http_version", "method", "scheme", "query_string", "client", "server")
_NOT_TOLD = frozenset({b"authorization", b"proxy-authorization", b"connection", b"transfer-encoding", b"upgrade"})
NOT_SENT = frozenset(
    {
        "set-cookie",
        "content-security-policy",
        "content-security-policy-report-only",
        "strict-transport-security",
        "clear-site-data",
        "service-worker-allowed",
        "alt-svc",
        "connection",
        "keep-alive",
        "transfer-encoding",
        "upgrade",
        "trailer",
        "proxy-authenticate",
        "x-request-id",
    }
)
"""Headers of an answer that are not a client's to say of this whole site, or of this connection."""


class ClientApp:
    """One service of a client with pages, for one caller."""

    def __init__(
        self, calls: Calls, service: Registered, who: Who, shown: Presented, *, cap: int, deadline: float
    ) -> None:
        self._calls = calls
        self._service = service
        self._who = who
        self._secret = shown.value.reveal() if isinstance(shown.value, Secret) else shown.value
        self._cap = cap
        self._deadline = deadline

    async def answer(self, request: Request, path: str) -> Response:
        """What it answers.

        Raises:
            NotFound: it has no such page.
            RemoteFailure, PeerGone, TimeoutError: it did not answer.
        """
        headers = self._told(request.scope["headers"])
        if self._service.type == "asgi":
            scope = self._scope(request, path, headers)
            return _Answering(self._calls, self._service, self._who, scope, cap=self._cap, deadline=self._deadline)
        names = [part for part in path.split("/") if part] or ["index"]
        if schema_at(self._service.schema, names) is None:
            if schema_at(self._service.schema, ["default"]) is None:
                raise NotFound(f"Function not found: {'/'.join(names)} of the service {self._service.id}")
            names = ["default"]
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
        event = event_of(request, path, self._service, self._who, named, await whole_body(request, self._cap))
        value = await self._calls.call(self._service, names, [event], {}, self._who, deadline=self._deadline)
        return page_of(value, dropped=NOT_SENT, more={"content-security-policy": SANDBOX})

    def _scope(self, request: Request, path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        """The scope as the app sees it: itself at the root."""
        return {
            **{key: request.scope.get(key) for key in _KEPT},
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "path": f"/{path}",
            "raw_path": quote(f"/{path}").encode(),
            "root_path": "",
            "headers": headers,
            "workspace": self._service.workspace,
            "service_id": self._service.id,
            "user": self._who.user,
        }

    def _told(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Headers without what this caller signs in with here, wherever it stands."""
        own = self._secret.encode("utf-8", "surrogatepass")
        kept = []
        for name, value in headers:
            lower = name.lower()
            shown = _without_session(value) if lower == b"cookie" else value
            if lower not in _NOT_TOLD and shown and not (own and own in shown):
                kept.append((name, shown))
        return kept


class _Answering(Response):
    """What an ASGI app of a client answers, as it comes."""

    def __init__(
        self,
        calls: Calls,
        service: Registered,
        who: Who,
        scope: Mapping[str, Any],
        *,
        cap: int,
        deadline: float,
    ) -> None:
        super().__init__()
        self._calls = calls
        self._service = service
        self._who = who
        self._scope = scope
        self._cap = cap
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; one that fails before it began to answer is answered for (ASGI 3)."""
        road = _Road(receive, send, self._cap)
        try:
            await self._served(road)
        except Exception as error:  # noqa: BLE001 - each has its status
            if road.started:  # it breaks off: the server cuts the connection, and whoever asked sees it
                _log.info("the app %s broke off its answer: %s", self._service.full_id, type(error).__name__)
            else:
                await failure(road.refused or error, service=self._service.id)(scope, receive, send)

    async def _served(self, road: _Road) -> None:
        functions: dict[str, Callable[..., Awaitable[Any]]] = {"receive": road.receive, "send": road.send}
        with self._calls.offering(self._service, self._who, functions) as references:
            given = [{"scope": self._scope, **references}]
            work = self._calls.call(self._service, ["serve"], given, {}, self._who, deadline=LONGEST)
            call = asyncio.ensure_future(work)
            gone = asyncio.ensure_future(road.left.wait())
            try:
                await asyncio.wait({call, gone}, timeout=self._deadline, return_when=asyncio.FIRST_COMPLETED)
                if road.started and not gone.done():
                    await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() and not call.done():
                    await asyncio.wait({call}, timeout=_LEAVING)
                if call.done():
                    call.result()
            finally:
                call.cancel()
                gone.cancel()
                road.close()
                await asyncio.gather(call, gone, return_exceptions=True)
        if not road.started and not road.gone:
            if call.cancelled():
                raise TimeoutError(f"The app {self._service.full_id} did not answer in time.")
            raise RemoteFailure("", "the app gave no answer")


class _Road:
    """``receive`` and ``send`` of one request, as a client calls them.

    Attributes:
        left: it is over, or whoever asked has gone.
        gone: the latter.
        refused: why no more of the body is read.
        started: whether the answer has begun.
    """

    def __init__(self, receive: Receive, send: Send, cap: int) -> None:
        self._receive = receive
        self._send = send
        self._cap = cap
        self._size = 0
        self._whole = False
        self._reading = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self.left = asyncio.Event()
        self.gone = False
        self.refused: TooLarge | None = None
        self.started = False

    async def receive(self) -> dict[str, Any]:
        """The next piece of the body, then nothing until whoever asked has gone.

        Raises:
            TooLarge: the body has too many bytes.
        """
        async with self._reading:
            if not self._whole and not self.left.is_set():
                return await self._next()
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _next(self) -> dict[str, Any]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._leave()
            return {"type": "http.disconnect"}
        body, more = message.get("body", b""), message.get("more_body", False)
        self._size += len(body)
        if self._size > self._cap:
            self.refused = TooLarge(f"The body of a request has at most {self._cap} bytes.")
            self.left.set()
            raise self.refused
        if not more:
            self._end_of_body()
        return {"type": "http.request", "body": body, "more_body": more}

    def _end_of_body(self) -> None:
        self._whole = True
        self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        with contextlib.suppress(Exception):
            while (await self._receive())["type"] != "http.disconnect":
                pass
        self._leave()

    def _leave(self) -> None:
        self.gone = True
        self.left.set()

    async def send(self, message: Any) -> None:
        """Send a part of the answer on.

        Raises:
            ConnectionResetError: whoever asked has gone.
            InvalidArguments: it is no part of an answer.
        """
        async with self._sending:
            if self.left.is_set():
                raise ConnectionResetError("Nobody waits for this answer any more.")
            part = _part(message, started=self.started)
            self.started = True
            await self._send(part)

    def close(self) -> None:
        """It is over."""
        self.left.set()
        if self._watching is not None:
            self._watching.cancel()


def _part(message: Any, *, started: bool) -> Message:
    kind = message.get("type") if isinstance(message, dict) else None
    if kind == "http.response.body" and started:
        body = message.get("body", b"")
        if isinstance(body, bytes):
            return {"type": kind, "body": body, "more_body": message.get("more_body") is True}
    if kind == "http.response.start" and not started:
        status, headers = message.get("status"), message.get("headers") or []
        if isinstance(status, int) and 200 <= status <= 599 and isinstance(headers, list):  # noqa: PLR2004
            return {"type": kind, "status": status, "headers": _headers(headers)}
    raise InvalidArguments(
        "an app sends http.response.start with a status and headers, then http.response.body with bytes"
    )


def _headers(given: list[Any]) -> list[tuple[bytes, bytes]]:
    kept = []
    for pair in given:
        name, value = pair if isinstance(pair, list | tuple) and len(pair) == 2 else (None, None)  # noqa: PLR2004
        if not isinstance(name, bytes) or not isinstance(value, bytes) or not _TOKEN.fullmatch(name):
            raise InvalidArguments("a header is a pair of bytes, and its name is a token")
        if any(mark in value for mark in (b"\r", b"\n", b"\0")):
            raise InvalidArguments("a header cannot hold a line break")
        if name.decode("ascii").lower() not in NOT_SENT:
            kept.append((name, value))
    return [*kept, (b"content-security-policy", SANDBOX.encode()), (b"x-content-type-options", b"nosniff")]


def _without_session(cookies: bytes) -> bytes:
    parts = cookies.decode("latin-1").split(";")
    return ";".join(part for part in parts if part.partition("=")[0].strip() not in _COOKIES).encode("latin-1")
