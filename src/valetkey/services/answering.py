"""What functions of this process give, and how they fail, as a client is told it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from pydantic_core import to_jsonable_python

from valetkey.identity.handlers import presentable
from valetkey.services.table import run

_LONGEST = 1000  # characters of a failure's text
_EXPECTED = (PermissionError, KeyError, TypeError, ValueError, AssertionError, TimeoutError)

_log = logging.getLogger("valetkey.services")


def failed(error: Exception, method: str) -> str:
    """A failure as its caller is told it: type and text, no traceback."""
    if not isinstance(error, _EXPECTED):
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "unknown"
        _log.error("%s failed: %s in %s", method, type(error).__qualname__, place)
    text = presentable(error)[:_LONGEST]
    return f"{type(error).__name__}{': ' if text else ''}{text}"


def written(value: Any, encode: Callable[[Any], Any]) -> Any:
    """A value as RPC writes it; one that it cannot write, such as a date or a dataclass, as JSON has it.

    Raises:
        TypeError: it is neither.
    """
    try:
        return encode(value)
    except Exception:  # noqa: BLE001 - the library raises Exception itself
        try:
            return to_jsonable_python(value, inf_nan_mode="constants")
        except Exception:  # noqa: BLE001 - a model of the host program's own may raise anything
            raise TypeError(f"the function gave a {type(value).__name__} that cannot be sent") from None


async def stepped(values: Iterator[Any]) -> AsyncIterator[Any]:
    """A synchronous generator, step by step in threads."""
    done = object()
    while (value := await run(lambda: next(values, done), asynchronous=False)) is not done:
        yield value


def called_from_threads(function: Callable[..., Any], *, loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """A client's function as a thread may call it: it gives a concurrent future."""

    async def called(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def call(*args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        return asyncio.run_coroutine_threadsafe(called(*args, **kwargs), loop)

    return functools.wraps(function, assigned=("__name__", "__doc__"))(call)
