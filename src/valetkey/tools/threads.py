"""Threads for synchronous tools: daemons, so that one that hangs keeps neither the others nor the exit waiting."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 256
"""Threads at a time; further calls wait for one to be free."""

IDLE = 30.0
"""Seconds after which a thread with nothing to do ends."""

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Threads:
    """A pool that grows while all its threads are busy."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Begin anew: a forked child has none of its parent's threads."""
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        self._idle = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run it in a thread, with the caller's context variables. Cancelling leaves the thread to end by itself."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()
        self._jobs.put((lambda: context.run(work), loop, future))
        with self._lock:
            starting = self._idle < self._jobs.qsize() and self._count < self._most
            if starting:
                self._count += 1
        if starting:
            threading.Thread(target=self._serve, name="valetkey-tool", daemon=True).start()
        return await future

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            try:
                job = self._jobs.get(timeout=IDLE)
            except queue.Empty:
                with self._lock:
                    self._idle -= 1
                    if self._jobs.empty():
                        self._count -= 1
                        return
                continue
            with self._lock:
                self._idle -= 1
            _do(*job)
            del job


def _do(work: Callable[[], Any], loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
    if future.cancelled():
        return  # told of as not done while it waited for a thread
    try:
        result, error = work(), None
    except BaseException as raised:  # noqa: BLE001  # whatever it is, it belongs to the caller
        result, error = None, raised
    if isinstance(error, StopIteration):
        error = RuntimeError("the tool raised StopIteration")
    with contextlib.suppress(RuntimeError):
        # The caller's loop may have ended meanwhile. In debug mode it logs a callback's arguments: so it has none.
        loop.call_soon_threadsafe(lambda: _settle(future, result, error))


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


THREADS = Threads()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=THREADS.forget)
