"""Results and failures of services over HTTP: JSON, a stream of events, a status that says what is wrong."""

from __future__ import annotations

import inspect
import json
import logging
import traceback
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from valetkey.entrypoints.render import http_status
from valetkey.entrypoints.rpc.arguments import UnsupportedType
from valetkey.entrypoints.web import page
from valetkey.errors import RateLimited, Unauthenticated, ValetkeyError
from valetkey.identity.handlers import presentable
from valetkey.scrub import Scrubber
from valetkey.secret import Secret
from valetkey.services.table import run

_LONGEST = 1000  # characters of a failure's text
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


def result(value: Any, secrets: Iterable[Secret]) -> Response:
    """What a function gave; a generator's values one by one, as server-sent events, ``[DONE]`` at the end."""
    if inspect.isasyncgen(value) or inspect.isgenerator(value):
        events = _events(value if inspect.isasyncgen(value) else _stepped(value), list(secrets))
        return StreamingResponse(events, media_type="text/event-stream", headers=dict(page.HEADERS))
    return answer(_encoded(value))


def answer(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that was made."""
    shown = {**page.HEADERS, **(headers or {})}
    return Response(body, status_code=status, headers=shown, media_type="application/json")


def failure(error: BaseException, secrets: Iterable[Secret] = (), *, service: str = "") -> Response:
    """``{"success": false, "detail": ...}`` with the status of decision 27, scrubbed."""
    status, text, headers = _told(error, service)
    detail = Scrubber(secrets).text(text)[:_LONGEST]
    return answer(json.dumps({"success": False, "detail": detail}).encode(), status, headers)


def _told(error: BaseException, service: str) -> tuple[int, str, dict[str, str]]:
    if isinstance(error, UnsupportedType | TooLarge):
        return (415 if isinstance(error, UnsupportedType) else 413), str(error), {}
    if isinstance(error, Unauthenticated):
        return 401, str(error), {"www-authenticate": "Bearer"}
    if isinstance(error, ValetkeyError):
        wait = {"retry-after": str(error.retry_after)} if isinstance(error, RateLimited) else {}
        return http_status(error), str(error), wait
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), {}
    status = _status(error)
    if status == 500:  # noqa: PLR2004
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "unknown"
        _log.error("the service %s failed: %s in %s", service, type(error).__qualname__, place)
    return status, f"RemoteException: {type(error).__name__}: {presentable(error)}", {}


def _status(error: BaseException) -> int:
    match error:
        case PermissionError():
            return 403
        case KeyError():
            return 404
        case TypeError() | ValueError() | AssertionError():
            return 400
        case TimeoutError():
            return 504
        case _:
            return 500


def _encoded(value: Any) -> bytes:
    """JSON of what a function gave: dataclasses, models, dates and sets too.

    Raises:
        RuntimeError: it holds something that JSON has not.
    """
    from pydantic_core import to_json

    try:
        return to_json(value, inf_nan_mode="null", bytes_mode="base64")
    except Exception:  # noqa: BLE001 - a model of the host program's own may raise anything
        raise RuntimeError(f"the function gave a {type(value).__name__} that is no JSON") from None


async def _events(values: AsyncIterator[Any], secrets: list[Secret]) -> AsyncIterator[bytes]:
    done = object()
    try:
        while (value := await run(lambda: anext(values, done), asynchronous=True)) is not done:
            yield b"data: " + _encoded(value) + b"\n\n"
    except Exception as error:  # noqa: BLE001 - the status is out: the reader is told in the stream
        yield b"event: error\ndata: " + bytes(failure(error, secrets, service="stream").body) + b"\n\n"
    else:
        yield b"data: [DONE]\n\n"
    finally:
        if inspect.isasyncgen(values):
            await values.aclose()


async def _stepped(values: Iterator[Any]) -> AsyncIterator[Any]:
    """A synchronous generator, step by step in threads."""
    done = object()
    while (value := await run(lambda: next(values, done), asynchronous=False)) is not done:
        yield value
