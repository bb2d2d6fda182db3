"""Work of a user's own handler, which runs on the caller's loop and is finished even if the caller gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_UNFINISHED: set[asyncio.Future[Any]] = set()


async def finish_even_if_cancelled(
    work: Callable[[], Coroutine[Any, Any, T]], done: Callable[[object], None] | None = None
) -> T:
    """Run it in a task of its own; cancelling the wait leaves it to end by itself, as long as the loop lives."""
    task = asyncio.ensure_future(work())
    if done is not None:
        task.add_done_callback(done)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            _UNFINISHED.add(task)
            task.add_done_callback(_forget)
        raise


def _forget(task: asyncio.Future[Any]) -> None:
    _UNFINISHED.discard(task)
    if not task.cancelled():
        # Nobody waits for it any more; what it failed with is in its row.
        task.exception()
