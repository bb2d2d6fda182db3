"""An app called in process, as a server would call it: no socket, no address of this machine."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from valetkey.errors import ExchangeFailed
from valetkey.logs import SPOKEN
from valetkey.ports.world import VISIT, Request, Response

App = Callable[..., Awaitable[None]]
Event = MutableMapping[str, Any]

NOBODY = ("chat", 0)
"""The client of a call that no person's connection stands behind: no address, so none that is trusted."""

_USER_AGENT = {b"user-agent": b"valetkey-chat"}
_log = logging.getLogger("valetkey")


class AppFetcher:
    """Sends requests into an ASGI app, on the loop of whoever calls.

    The app sees the visitor's own connection (``VISIT``): host, scheme and address. It runs in a task of its own, so
    that what it does after its answer goes on; who gives up, is out of time or has read enough, ends it. Of the context
    variables around the call it sees ``VISIT`` and ``SPOKEN`` only: what a middleware of the app knows of the person
    from their handshake is no sign-in of this request.

    Args:
        app: the app; looked at for its ``root_path``.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._running: set[asyncio.Task[None]] = set()

    async def fetch(self, request: Request) -> Response:
        """Send a request within its deadline and cap; redirects are answers, not followed.

        An exception of the app's is an empty 500: its text is for the operator, in the log.

        Raises:
            ExchangeFailed: no whole answer in time, or one over the cap where the request wants it whole.
        """
        loop = asyncio.get_running_loop()
        answering = _Answering(request, loop)
        task = loop.create_task(self._handled(request, answering), context=_context())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # A timer of our own: asyncio.timeout takes several times as long, and would be around a wait only.
        timer = loop.call_later(request.deadline, answering.expire)
        try:
            await answering.answered
        except asyncio.CancelledError:
            _end(task, answering)
            raise
        finally:
            timer.cancel()
        if answering.late:
            _end(task, answering)
            if request.whole or not answering.status:
                what = f"The app gave no whole answer within {request.deadline:g} s; look there before you repeat it."
                raise ExchangeFailed(what, sent=True, late=True)
            answering.cut = True
        if answering.cut:
            _end(task, answering)
            if request.whole:
                raise ExchangeFailed(f"The app answered with more than {request.cap} bytes.", sent=True)
        return answering.response()

    async def _handled(self, request: Request, answering: _Answering) -> None:
        scope: Event = {}
        try:
            scope = self._scope(request)
            await self._app(scope, answering.receive, answering.send)
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  # whatever the app raises, SystemExit too: a server answers 500
            if not answering.gone:
                # As a server would log it; ``SPOKEN`` stars out what was lent.
                what = f"{request.method} {_template(scope)}"
                _log.error("the app raised %s in a call of the chat: %s", type(error).__name__, what, exc_info=error)
            if not answering.over:
                answering.failed = True
        finally:
            answering.end()

    def _scope(self, request: Request) -> dict[str, Any]:
        """The connection scope (ASGI 3, "HTTP Connection Scope")."""
        visit = VISIT.get()
        target = request.url.split("/", 3)[3] if request.url.count("/") > 2 else ""  # noqa: PLR2004  # scheme://host/
        path, _, query = target.partition("?")
        root = str(getattr(self._app, "root_path", "") or "").rstrip("/")
        raw = f"{root}/{path}"
        host = "localhost" if visit is None else visit.host
        scheme = "http" if visit is None else visit.scheme
        given = {name.lower().encode("ascii"): value.encode("latin-1") for name, value in request.headers.items()}
        headers = [(b"host", host.encode("latin-1")), *{**_USER_AGENT, **given}.items()]
        if request.body or request.method in {"POST", "PUT", "PATCH"}:
            headers.append((b"content-length", b"%d" % len(request.body)))
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": scheme,
            "path": unquote(raw) if "%" in raw else raw,
            "raw_path": raw.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": root,
            "headers": headers,
            "client": NOBODY if visit is None or visit.client is None else visit.client,
            "server": _server(host, scheme),
            "extensions": {},
        }
        if visit is not None:
            scope["state"] = dict(visit.state)
        return scope


class _Answering:
    """One request's body as the app reads it, and the answer as it sends it."""

    def __init__(self, request: Request, loop: asyncio.AbstractEventLoop) -> None:
        self.answered: asyncio.Future[None] = loop.create_future()
        self.over = self.late = self.cut = self.failed = self.gone = False
        self._left: asyncio.Event | None = None
        self.status = 0
        self._headers: list[tuple[str, str]] = []
        self._pieces: list[bytes] = []
        self._room = request.cap
        self._body: bytes | None = request.body

    async def receive(self) -> Event:
        """The body, then, once the answer is there or nobody waits for it, that the client has gone."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if not self.over:
            self._left = self._left or asyncio.Event()
            await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        """Take a piece of the answer."""
        if self.gone:
            raise OSError("the client has gone")  # what servers raise (ASGI 3, spec version 2.4)
        if event["type"] == "http.response.start":
            self.status = int(event["status"])
            self._headers = [
                (bytes(name).decode("latin-1").lower(), bytes(value).decode("latin-1"))
                for name, value in event.get("headers", ())
            ]
        elif event["type"] == "http.response.body" and not self.over:
            piece = bytes(event.get("body", b""))
            if len(piece) > self._room:
                self.cut = True
            self._pieces.append(piece[: self._room])
            self._room -= len(self._pieces[-1])
            if self.cut or not event.get("more_body", False):
                self.end()

    def end(self) -> None:
        """The answer is there as far as it will be: wake who waits for it, and who would hear that the client left."""
        self.over = True
        if not self.answered.done():
            self.answered.set_result(None)
        if self._left is not None:
            self._left.set()

    def expire(self) -> None:
        """Its time is over."""
        if not self.over:
            self.late = True
            self.end()

    def response(self) -> Response:
        """What came."""
        if self.failed or not self.status:
            return Response(status=500)
        return Response(status=self.status, headers=tuple(self._headers), body=b"".join(self._pieces), cut=self.cut)


def _context() -> contextvars.Context:
    """Nothing of whoever calls, but on whose behalf it is, and what no log may show."""
    visit, spoken = VISIT.get(), SPOKEN.get()
    context = contextvars.Context()
    context.run(VISIT.set, visit)
    context.run(SPOKEN.set, spoken)
    return context


def _end(task: asyncio.Task[None], answering: _Answering) -> None:
    """Tell the app that nobody waits, and end what it does for this request."""
    answering.gone = True
    answering.end()
    task.cancel()


def _template(scope: Event) -> str:
    """The path as its route declares it, without the values that the model gave."""
    return str(getattr(scope.get("route"), "path", "(no route)"))


def _server(host: str, scheme: str) -> tuple[str, int]:
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    usual = 443 if scheme == "https" else 80
    return (name.strip("[]"), int(port)) if name and port.isdecimal() else (host.strip("[]"), usual)
