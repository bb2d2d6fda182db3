"""Run a coroutine from synchronous code, on a loop of its own: never on the home loop, where no user code runs."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def in_loop() -> bool:
    """Whether this thread runs a loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it to its end, and block this thread meanwhile; works inside a running loop, too."""
    if not in_loop():
        return asyncio.run(work())
    outcome: list[T] = []
    failure: list[BaseException] = []
    context = contextvars.copy_context()

    def runner() -> None:
        try:
            outcome.append(context.run(asyncio.run, work()))
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that asked
            failure.append(error)

    thread = threading.Thread(target=runner, name="valetkey-invoke", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
