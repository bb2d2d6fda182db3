"""Web apps of clients: what they are told of a request, and what of their answer reaches a browser.

Whoever may register a service may show pages under our name. So they are shown in a sandbox (CSP, an origin of their
own): their scripts reach neither our pages nor our cookies. They set no cookies, and see none, nor the credential by
which the caller signed in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from valetkey.entrypoints.rpc.answers import TooLarge, attended, failure
from valetkey.entrypoints.rpc.bodies import whole_body
from valetkey.entrypoints.rpc.callers import Watch
from valetkey.entrypoints.rpc.client_headers import OURS, checked, passes, told
from valetkey.entrypoints.rpc.pages import event_of, page_of
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

_log = logging.getLogger("valetkey.services")
_LEAVING = 5.0  # seconds that an app has to end after whoever asked has gone
_LENGTH = re.compile(rb"[0-9]{1,18}")
_NO_BODY = frozenset({204, 304})  # RFC 9110 §6.4.1
_NO_CONTENT = 204
_KEPT = ("type", "http_version", "method", "scheme", "query_string", "client", "server")


class ClientApp:
    """One service of a client with pages, for one caller."""

    def __init__(
        self,
        calls: Calls,
        service: Registered,
        who: Who,
        shown: Presented,
        *,
        watch: Watch,
        cap: int,
        deadline: float,
    ) -> None:
        self._calls = calls
        self._service = service
        self._who = who
        self._secret = shown.value.reveal() if isinstance(shown.value, Secret) else shown.value
        self._watch = watch
        self._cap = cap
        self._deadline = deadline

    async def answer(self, request: Request, path: str) -> Response:
        """What it answers.

        Raises:
            NotFound: it has no such page.
            RemoteFailure, PeerGone, TimeoutError: it did not answer.
            Unauthenticated: meanwhile the caller ceased to be one.
        """
        headers = told(request.scope["headers"], self._secret)
        if self._service.type == "asgi":
            scope = self._scope(request, path, headers)
            return _Answering(
                self._calls, self._service, self._who, scope, watch=self._watch, cap=self._cap, deadline=self._deadline
            )
        names = [part for part in path.split("/") if part] or ["index"]
        if schema_at(self._service.schema, names) is None:
            if schema_at(self._service.schema, ["default"]) is None:
                raise NotFound(f"Function not found: {'/'.join(names)} of the service {self._service.id}")
            names = ["default"]
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
        event = event_of(request, path, self._service, self._who, named, await whole_body(request, self._cap))
        if self._watch.due:  # the body took its time
            await self._watch.still()
        value = await self._calls.call(self._service, names, [event], {}, self._who, deadline=self._deadline)
        if self._watch.due:
            await self._watch.still()
        try:
            return page_of(value, still=self._watch.still, passes=passes, more=OURS)
        except RuntimeError as error:  # the client's own doing
            self._calls.complain.of(self._service.peer, "%s gave a page that is none: %s", error)
            raise RemoteFailure("", str(error)) from None

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


class _Answering(Response):
    """What an ASGI app of a client answers, as it comes."""

    def __init__(
        self,
        calls: Calls,
        service: Registered,
        who: Who,
        scope: Mapping[str, Any],
        *,
        watch: Watch,
        cap: int,
        deadline: float,
    ) -> None:
        super().__init__()
        self._calls = calls
        self._service = service
        self._who = who
        self._scope = scope
        self._watch = watch
        self._cap = cap
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; one that fails before it began to answer is answered for (ASGI 3)."""
        road = _Road(receive, send, self._cap, bodiless=scope["method"] == "HEAD")
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
            work = self._calls.call(
                self._service, ["serve"], given, {}, self._who, deadline=LONGEST, offered=references
            )
            call = asyncio.ensure_future(work)
            gone = asyncio.ensure_future(road.left.wait())
            try:
                await attended({call, gone}, self._watch.still, deadline=self._deadline)
                if road.started and not gone.done():
                    await attended({call, gone}, self._watch.still)
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

    What comes is read from the beginning: that whoever asked has gone is seen, whether the app reads or not.

    Attributes:
        left: it is over, or whoever asked has gone.
        gone: the latter.
        refused: why no more of the body is read.
        started: whether the answer has begun.
    """

    def __init__(self, receive: Receive, send: Send, cap: int, *, bodiless: bool) -> None:
        self._receive = receive
        self._send = send
        self._cap = cap
        self._bodiless = bodiless
        self._rest: int | None = None  # bytes that the answer still lacks
        self._came: deque[bytes] = deque()
        self._more = True  # of the body is to come
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()
        self.left = asyncio.Event()
        self.gone = False
        self.refused: TooLarge | None = None
        self.started = False
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        size = 0
        with contextlib.suppress(Exception):
            while (message := await self._receive())["type"] != "http.disconnect":
                size += len(message.get("body", b""))
                if size > self._cap:
                    self._refuse_body()
                else:
                    self._came.append(message.get("body", b""))
                    self._more = message.get("more_body", False)
                self._news.set()
        self.gone = True
        self._leave()

    def _refuse_body(self) -> None:
        self._came.clear()
        self.refused = TooLarge(f"The body of a request has at most {self._cap} bytes.")
        if not self.started:  # one that answers already may do without
            self._leave()

    def _leave(self) -> None:
        self.left.set()
        self._news.set()

    async def receive(self) -> dict[str, Any]:
        """The next piece of the body, then nothing until whoever asked has gone.

        Raises:
            TooLarge: the body has too many bytes.
        """
        while self.refused is None:
            if self.left.is_set():
                return {"type": "http.disconnect"}
            if self._came:
                body = self._came.popleft()
                return {"type": "http.request", "body": body, "more_body": bool(self._came) or self._more}
            self._news.clear()
            await self._news.wait()
        raise self.refused

    async def send(self, message: Any) -> None:
        """Send a part of the answer on.

        Raises:
            ConnectionResetError: whoever asked has gone.
            InvalidArguments: it is no part of an answer, or has not the length that the answer said.
        """
        async with self._sending:
            if self.left.is_set():
                raise ConnectionResetError("Nobody waits for this answer any more.")
            part = _part(message, started=self.started)
            if self.started:
                self._count(part)
            else:
                self._begin(part)
            self.started = True
            await self._send(part)

    def _begin(self, part: Message) -> None:
        self._bodiless = self._bodiless or part["status"] in _NO_BODY
        self._rest = _length(part["headers"])
        if part["status"] == _NO_CONTENT:
            part["headers"] = [each for each in part["headers"] if each[0].lower() != b"content-length"]

    def _count(self, part: Message) -> None:
        if self._bodiless:
            part["body"] = b""
        elif self._rest is not None:
            self._rest -= len(part["body"])
            if self._rest < 0 or (self._rest and not part["more_body"]):
                self._leave()  # nothing more is sent: the server cuts the connection, and whoever asked sees it
                raise InvalidArguments("the answer has not as many bytes as its content-length says")

    def close(self) -> None:
        """It is over."""
        self._leave()
        self._reading.cancel()


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
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise InvalidArguments("a header is a pair of bytes")
        try:
            plain, text = checked(name.decode("latin-1"), value.decode("latin-1"))
        except ValueError as error:
            raise InvalidArguments(str(error)) from None
        if passes(plain):
            kept.append((name, text.encode("latin-1")))
    return [*kept, *((name.encode(), text.encode()) for name, text in OURS.items())]


def _length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """How many bytes an answer says that it has; None: it does not say (RFC 9110 §8.6)."""
    given = [value for name, value in headers if name.lower() == b"content-length"]
    if not given:
        return None
    if len(given) > 1 or not _LENGTH.fullmatch(given[0]):
        raise InvalidArguments("an answer has one content-length at most, and it is a number")
    return int(given[0])
