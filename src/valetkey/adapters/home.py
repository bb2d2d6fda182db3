"""The loop that owns sockets: the server's own, or one thread in a script."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import selectors
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]
Outcome = asyncio.Task[T] | concurrent.futures.Future[T]

THREAD_NAME = "valetkey-home"
CLOSING_SECONDS = 5.0
QUIET_SECONDS = 2.0

_log = logging.getLogger("valetkey")


class HomeLoop:
    """The home loop: one that was adopted, else a daemon thread that begins with the first work.

    Work carries the context variables of whoever handed it in. After a fork the child has a home of its own.
    """

    def __init__(self) -> None:
        self._forget()
        _homes.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self._outcomes: set[Outcome[Any]] = set()
        self._upkeep: Work[object] | None = None
        self._upkept: concurrent.futures.Future[object] | None = None

    def on_start(self, work: Work[object]) -> None:
        """Run this in the background, from the first work on or as long as a loop is adopted, until :meth:`quiet`."""
        with self._lock:
            self._upkeep = work
            if self._alive() and not self._closing:
                self._begin_upkeep()

    def quiet(self) -> None:
        """End what runs in the background, and wait until it has ended; what else was handed in goes on."""
        with self._lock:
            running, self._upkept, self._upkeep = self._upkept, None, None
        if running is not None and running.cancel() and self._alive() and not self._at_home():
            self.block(_breathe)

    def adopt(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Make a server's running loop the home; False where another home already runs: that one stays."""
        with self._lock:
            if self._alive() and not self._closing and self._loop is not loop:
                return False
            self._loop, self._thread, self._closing = loop, None, False
            self._begin_upkeep()
            return True

    async def run(self, work: Work[T]) -> T:
        """Run on the home loop and wait there or from any other loop.

        Cancelling the wait does not cancel the work: who was told of a new token still saves it.

        Raises:
            RuntimeError: the work was cancelled, as `close` does.
        """
        loop = asyncio.get_running_loop()
        at_home = loop is self._loop
        outcome: Outcome[T] = self._start(loop, work) if at_home else self._submit(work)
        woken = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        def settled(_: object) -> None:
            if at_home:
                wake()
            else:
                with contextlib.suppress(RuntimeError):  # that loop ended before the work did
                    loop.call_soon_threadsafe(wake)

        outcome.add_done_callback(settled)
        try:
            await woken
        except asyncio.CancelledError:
            outcome.add_done_callback(_log_failure)
            raise
        return _result(outcome)

    def block(self, work: Work[T]) -> T:
        """Run on the home loop and block this thread until it is done.

        Raises:
            RuntimeError: called on the home loop, where it would wait for itself; or the work was cancelled.
        """
        if self._at_home():
            raise RuntimeError(
                "this waits for Valetkey's own loop and was called on it, where it would wait for itself. "
                "Await the async form instead: `await pocket.ainvoke(...)` for a tool, else `home.run(...)`."
            )
        outcome = self._submit(work)
        try:
            return _result(outcome)
        except BaseException:
            outcome.cancel()  # where the wait was interrupted: nobody waits any more
            raise

    def spawn(self, work: Work[object]) -> None:
        """Run in the background until done or closed; an exception is logged by its type."""
        outcome = self._start(asyncio.get_running_loop(), work) if self._at_home() else self._submit(work)
        outcome.add_done_callback(_log_failure)

    def here(self) -> bool:
        """Whether the running loop is the home, and takes work: then it need not be handed in."""
        return not self._closing and self._at_home()

    def close(self) -> None:
        """Cancel what runs and end the thread and its loop; an adopted loop goes on without us.

        Raises:
            RuntimeError: called on the thread that would have to end.
        """
        with self._lock:
            loop, thread = self._loop, self._thread
            if thread is threading.current_thread():
                raise RuntimeError("the home loop cannot end itself. Call close() from another thread.")
            if loop is None or not self._alive():
                return
            self._closing = True
            loop.call_soon_threadsafe(loop.stop if thread else self._cancel)
        if thread:
            thread.join()
            for outcome in tuple(self._outcomes):  # work that would not end: who waits for it is told
                if isinstance(outcome, concurrent.futures.Future) and not outcome.done():
                    outcome.set_exception(concurrent.futures.CancelledError())
            with self._lock:
                if self._loop is loop:
                    self._loop, self._thread, self._closing = None, None, False

    def _begin_upkeep(self) -> None:
        if self._loop is not None and self._upkeep is not None and self._upkept is None:
            self._upkept = asyncio.run_coroutine_threadsafe(self._upkeep(), self._loop)
            self._upkept.add_done_callback(_log_failure)

    def _alive(self) -> bool:
        loop = self._loop
        return loop is not None and not loop.is_closed() and (self._thread is not None or loop.is_running())

    def _at_home(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _cancel(self) -> None:
        for outcome in tuple(self._outcomes):
            outcome.cancel()

    def _start(self, loop: asyncio.AbstractEventLoop, work: Work[T]) -> asyncio.Task[T]:
        task = loop.create_task(work())
        self._outcomes.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._outcomes.discard)
        return task

    def _submit(self, work: Work[T]) -> concurrent.futures.Future[T]:
        # Under the lock, so that all that was handed in is ahead of close() in the loop's queue.
        with self._lock:
            loop = self._loop
            if loop is None or not self._alive():
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_live, args=(loop,), name=THREAD_NAME, daemon=True)
                thread.start()
                self._loop, self._thread, self._closing = loop, thread, False
            elif self._closing:
                raise RuntimeError("Valetkey is closing. Open it again before you hand in more work.")
            outcome = asyncio.run_coroutine_threadsafe(work(), loop)
            self._outcomes.add(outcome)
            self._begin_upkeep()
        outcome.add_done_callback(self._outcomes.discard)
        return outcome


def _live(loop: asyncio.AbstractEventLoop) -> None:
    """The thread's life: run until stopped, then end what is left."""
    asyncio.set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
            break
        except SystemExit:  # work called sys.exit(): its caller gets that, and the loop goes on
            continue
    try:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=CLOSING_SECONDS))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _breathe() -> None:
    """Let a task that was cancelled run to its end, as long as that takes a moment only."""
    tasks = [task for task in asyncio.all_tasks() if task.cancelling()]
    if tasks:
        await asyncio.wait(tasks, timeout=QUIET_SECONDS)


def _result(outcome: Outcome[T]) -> T:
    try:
        return outcome.result()
    except (asyncio.CancelledError, concurrent.futures.CancelledError):
        raise RuntimeError(
            "the work was cancelled before it was done, as closing Valetkey does. Open it and start over."
        ) from None


def _log_failure(outcome: Outcome[Any]) -> None:
    if not outcome.cancelled() and (error := outcome.exception()) is not None:
        _log.error("work in the background failed with %s", type(error).__name__)


_homes: weakref.WeakSet[HomeLoop] = weakref.WeakSet()
_parents_loops: list[asyncio.AbstractEventLoop] = []


def _after_fork() -> None:
    """Give every home of a forked child a new start, in the only thread that the child has."""
    for home in _homes:
        if home._loop is not None:  # noqa: SLF001
            # A child shares its parent's epoll: a loop or a socket's transport that is collected here, at the latest
            # when the child ends, would take the parent's own out. So the loop stays, and lets go of the epoll.
            _parents_loops.append(home._loop)  # noqa: SLF001
            if hasattr(home._loop, "_selector"):  # noqa: SLF001
                home._loop._selector = selectors.SelectSelector()  # noqa: SLF001
        home._forget()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
