"""Results and failures of services over HTTP: JSON, a stream of events, a status that says what is wrong."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import inspect
import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import to_json, to_jsonable_python
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from valetkey.entrypoints.render import http_status
from valetkey.entrypoints.rpc.arguments import UnsupportedType
from valetkey.entrypoints.web import page
from valetkey.errors import InvalidArguments, RateLimited, Unauthenticated, ValetkeyError
from valetkey.identity.handlers import presentable
from valetkey.scrub import Scrubber
from valetkey.secret import Secret
from valetkey.services.arrays import holds_bytes, plain, without_bytes
from valetkey.services.failures import PeerGone, RemoteFailure
from valetkey.services.table import run

LOOKED_AT = 1.0
"""Seconds of a call or an answer after which it is asked whether its caller still is one."""

Still = Callable[[], Awaitable[None]]
"""Raises `Unauthenticated` where the caller is one no more, `CouldNotTell` where nobody knows."""

_OURS = [(name.lower().encode(), text.encode("latin-1")) for name, text in page.HEADERS.items()]
_JSON = [(b"content-type", b"application/json"), *_OURS]
_MSGPACK = [(b"content-type", b"application/msgpack"), *_OURS]
_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), *_OURS]
_LONGEST = 1000  # characters of a failure's text
_LAST_WORDS = 1.0  # seconds in which a stream that is cut says why
_SECRET_NAMES = ("token", "key", "secret", "password")

_log = logging.getLogger("valetkey.services")


class TooLarge(ValetkeyError):
    """The body has more bytes than a call may have."""


def secrets_of(presented: str | Secret, arguments: Mapping[str, Any]) -> list[Secret]:
    """What no failure's text may hold: the caller's credential, and arguments that are called like one."""
    own = presented if isinstance(presented, Secret) else Secret(presented)
    return [own] + [
        Secret(value)
        for name, value in arguments.items()
        if isinstance(value, str) and name.lower().endswith(_SECRET_NAMES)
    ]


class NotAcceptable(InvalidArguments):
    """The answer cannot be given in the form that was asked for (RFC 9110 §15.5.7)."""


class Answer(Response):
    """A body that was made, whole."""

    def __init__(self, body: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), *headers]


def result(
    value: Any, secrets: Callable[[], list[Secret]] = list, *, packed: bool = False, still: Still | None = None
) -> Response:
    """What a function gave; a generator's values one by one, as server-sent events, ``[DONE]`` at the end.

    Args:
        value: what it gave.
        secrets: what no failure's text in the stream may hold.
        packed: as msgpack, where it is no stream.
        still: whether the caller still is one: a stream ends when they are not.

    Raises:
        RuntimeError: it cannot be written so.
    """
    if inspect.isgenerator(value):
        value = _stepped(value)
    if hasattr(value, "__anext__"):
        return Events(value, secrets, still)
    if packed:
        return Answer(_packed(value), 200, _MSGPACK)
    return Answer(_encoded(value), 200, _JSON)


def answer(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that was made."""
    more = [(name.encode(), text.encode("latin-1")) for name, text in (headers or {}).items()]
    return Answer(body, status, _JSON + more)


def failure(error: BaseException, secrets: Iterable[Secret] = (), *, service: str = "") -> Response:
    """``{"success": false, "detail": ...}`` with the status of decision 27, scrubbed."""
    status, text, headers = _told(error, service)
    detail = Scrubber(secrets).text(text)[:_LONGEST]
    url = getattr(error, "url", "") if isinstance(error, ValetkeyError) else ""  # where a person is asked
    told = {"success": False, "detail": detail, **({"url": url} if url else {})}
    return answer(json.dumps(told).encode(), status, headers)


def _told(error: BaseException, service: str) -> tuple[int, str, dict[str, str]]:
    if isinstance(error, NotAcceptable | UnsupportedType | TooLarge):
        return _OF_FORM[type(error)], str(error), {}
    if isinstance(error, Unauthenticated):
        return 401, str(error), {"www-authenticate": "Bearer"}
    if isinstance(error, ValetkeyError):
        wait = error.retry_after if isinstance(error, RateLimited) else 1 if isinstance(error, PeerGone) else 0
        status = 503 if isinstance(error, PeerGone) else http_status(error)
        return status, str(error), {"retry-after": str(wait)} if wait else {}
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), {}
    if isinstance(error, RemoteFailure):
        return _status_of(error.kind), f"RemoteException: {error}", {}
    status = _status(type(error))
    if status == 500:  # noqa: PLR2004
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "unknown"
        _log.error("the service %s failed: %s in %s", service, type(error).__qualname__, place)
    return status, f"RemoteException: {type(error).__name__}: {presentable(error)}", {}


_OF_FORM: Mapping[type[BaseException], int] = {NotAcceptable: 406, TooLarge: 413, UnsupportedType: 415}
_STATUSES: tuple[tuple[type[BaseException], int], ...] = (
    (PermissionError, 403),
    (KeyError, 404),
    (TypeError, 400),
    (ValueError, 400),
    (AssertionError, 400),
    (TimeoutError, 504),
)
"""Decision 27."""


def _status(kind: type[BaseException]) -> int:
    return next((status for known, status in _STATUSES if issubclass(kind, known)), 500)


def _status_of(name: str) -> int:
    """The same of a client's exception, of which only the name is known."""
    if name in ("AuthRequired", "ApprovalRequired"):
        return 403
    kind = getattr(builtins, name, None) if name.isidentifier() else None
    return _status(kind) if isinstance(kind, type) and issubclass(kind, BaseException) else 500


def _encoded(value: Any) -> bytes:
    """JSON of what a function gave: dataclasses, models, dates and sets too; arrays of RPC as lists, bytes as base64.

    Raises:
        RuntimeError: it holds something that JSON has not.
    """
    try:
        if holds_bytes(value):
            value = without_bytes(value)
        text = to_json(value, inf_nan_mode="null", bytes_mode="base64")
        return text if b'"_rtype":"' not in text else to_json(plain(value), inf_nan_mode="null", bytes_mode="base64")
    except Exception:  # noqa: BLE001 - a model of the host program's own may raise anything
        raise RuntimeError(f"the function gave a {type(value).__name__} that is no JSON") from None


def _packed(value: Any) -> bytes:
    """The same as msgpack; what that does not have goes as JSON has it."""
    try:
        import msgpack
    except ImportError:
        raise NotAcceptable("This server gives no msgpack. Ask for JSON: Accept: application/json") from None
    try:
        return bytes(msgpack.packb(value, default=to_jsonable_python))
    except Exception:  # noqa: BLE001 - of whatever kind
        raise RuntimeError(f"the function gave a {type(value).__name__} that is no msgpack") from None


class Events(Response):
    """Server-sent events. A reader who leaves early, or may read no more, closes what they come from."""

    def __init__(
        self, values: AsyncIterator[Any], secrets: Callable[[], list[Secret]], still: Still | None = None
    ) -> None:
        self.status_code = 200
        self.body = b""
        self.background = None
        self.raw_headers = list(_STREAM)
        self._values = values
        self._secrets = secrets
        self._still = still

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end, or until nobody reads (ASGI 3)."""
        tasks = {asyncio.ensure_future(self._stream(send)), asyncio.ensure_future(left(receive))}
        over: ValetkeyError | None = None
        try:
            for task in await attended(tasks, self._still):
                task.result()
        except ValetkeyError as error:  # values' own failures are told in the stream
            over = error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            close = getattr(self._values, "aclose", None)
            if close is not None:
                with contextlib.suppress(Exception):  # the host program's own
                    await close()
        if over is not None:
            with contextlib.suppress(TimeoutError):  # it does not read
                async with asyncio.timeout(_LAST_WORDS):
                    await send({"type": "http.response.body", "body": self._failed(over), "more_body": False})

    async def _stream(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for event in self._events():
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> AsyncIterator[bytes]:
        done = object()
        try:
            while (value := await run(lambda: anext(self._values, done), asynchronous=True)) is not done:
                yield b"data: " + _encoded(value) + b"\n\n"
        except Exception as error:  # noqa: BLE001 - the status is out: the reader is told in the stream
            yield self._failed(error)
        else:
            yield b"data: [DONE]\n\n"

    def _failed(self, error: BaseException) -> bytes:
        return b"event: error\ndata: " + bytes(failure(error, self._secrets(), service="stream").body) + b"\n\n"


async def attended(
    tasks: Collection[asyncio.Future[Any]], still: Still | None, *, deadline: float | None = None
) -> set[asyncio.Future[Any]]:
    """Those of them that are done first; nothing at the deadline.

    Raises:
        Unauthenticated, CouldNotTell: meanwhile their caller ceased to be one.
    """
    loop = asyncio.get_running_loop()
    until = None if deadline is None else loop.time() + deadline
    done: set[asyncio.Future[Any]] = set()
    while not done:
        rest = LOOKED_AT if until is None else min(LOOKED_AT, until - loop.time())
        if rest <= 0:
            break
        done, _ = await asyncio.wait(tasks, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
        if not done and still is not None:
            await still()
    return done


async def left(receive: Receive) -> None:
    """Return once whoever asked has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stepped(values: Iterator[Any]) -> AsyncIterator[Any]:
    """A synchronous generator, step by step in threads."""
    done = object()
    while (value := await run(lambda: next(values, done), asynchronous=False)) is not done:
        yield value
