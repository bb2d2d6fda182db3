"""Which requests reach a page: under our name, in our form, small and in time; every answer with its headers."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from valetkey.audit import ORIGIN, Origin
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.hosts import host_name, is_public_https, own_hosts
from valetkey.errors import ValetkeyError
from valetkey.ports.world import Entropy

_log = logging.getLogger(__name__)
_HSTS = (b"strict-transport-security", b"max-age=31536000")


@contextmanager
def audited_as(origin: Origin) -> Iterator[None]:
    """What is noted meanwhile is noted as this request's, unless the door before said so already."""
    if ORIGIN.get() is not None:
        yield
        return
    token = ORIGIN.set(origin)
    try:
        yield
    finally:
        ORIGIN.reset(token)


class TooLarge(Exception):
    """More bytes than the cap."""


class Gone(Exception):
    """The client went away."""


async def read_body(receive: Receive, cap: int) -> bytes:
    """The whole body of a request.

    Raises:
        TooLarge: it has more than ``cap`` bytes.
        Gone: the client left before it was whole.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > cap:
            raise TooLarge
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def strictly(
    endpoint: Callable[[Request], Awaitable[Response]], base_url: Callable[[], str]
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that stands behind no guard, with HSTS as ``Guard`` adds it."""

    async def answer(request: Request) -> Response:
        response = await endpoint(request)
        if is_public_https(base_url()):
            response.headers.setdefault(*(part.decode() for part in _HSTS))
        return response

    return answer


class Guard:
    """Stands in front of our pages.

    It refuses a Host that is not ours (DNS rebinding), a request target that is no path (RFC 9112 §3.2), a
    body over ``cap`` bytes and one that is not there within ``deadline`` seconds; gives each request a
    correlation id; adds the headers that an answer lacks, and HSTS (RFC 6797 §6.1) where browsers reach us by
    https under a public name; turns what nobody caught into a page, and logs it by type and place, without
    its text.

    Args:
        base_url: the public address, such as ``https://localhost:8001``.
        hosts: further host names to answer to, without port.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        base_url: str,
        entropy: Entropy,
        hosts: Iterable[str] = (),
        cap: int = 65_536,
        deadline: float = 10.0,
    ) -> None:
        self._app = app
        self._hosts = own_hosts(base_url, hosts)
        self._entropy = entropy
        self._cap = cap
        self._deadline = deadline
        self._headers = [(name.encode(), value.encode()) for name, value in page.HEADERS.items()]
        if is_public_https(base_url):
            self._headers.append(_HSTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it through (ASGI 3)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            reference = page.reference_of(scope) or self._entropy.token(6)
            with audited_as(Origin(request=reference)):
                await self._http({**scope, page.REFERENCE: reference}, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": ""})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = list(message.get("headers", []))
                names = {name.lower() for name, _ in given}
                lacking = [header for header in self._headers if header[0] not in names]
                message = {**message, "headers": given + lacking}
            await send(message)

        async def refuse(status: int) -> None:
            answer = page.from_status(status, reference=page.reference_of(scope))
            await answer(scope, receive, send_with_headers)

        status = self._fault(scope)
        if status:
            await refuse(status)
            return
        try:
            async with asyncio.timeout(self._deadline):
                body = await read_body(receive, self._cap)
        except TimeoutError:
            await refuse(408)
            return
        except TooLarge:
            await refuse(413)
            return
        except Gone:
            return
        try:
            await self._app(scope, _replay(body, receive), send_with_headers)
        except Exception as error:  # noqa: BLE001 - the last one who can turn it into a page
            note(error, page.reference_of(scope))
            if not started:
                known = error if isinstance(error, ValetkeyError) else ValetkeyError("")
                answer = page.from_error(known, reference=page.reference_of(scope))
                await answer(scope, receive, send_with_headers)

    def _fault(self, scope: Scope) -> int:
        """The status with which the request's head is refused; 0: it is fine."""
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        named = [value.decode("latin-1") for name, value in headers if name == b"host"]
        host = host_name(named[0]) if len(named) == 1 else None
        if host is None or not scope["path"].startswith("/"):
            return 400
        if host not in self._hosts:
            return 421
        length = next((value for name, value in headers if name == b"content-length"), b"0")
        return 413 if not length.isdigit() or int(length[:20]) > self._cap else 0


def note(error: BaseException, reference: str) -> None:
    """Log what went wrong by type and place: its text may hold what a person entered."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "unknown"
    _log.error("a page failed: %s in %s (reference %s)", type(error).__qualname__, place, reference)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the body that was read, then what the connection says."""
    pending = [body]

    async def replay() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replay
