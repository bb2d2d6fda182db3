"""What a generator of a client gives, value by value; leaving early closes it over there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any


class RemoteStream(AsyncIterator[Any]):
    """An asynchronous iterator over a generator of a client. For use on the home loop.

    Args:
        following: asks for the next value.
        close: tells the client that no more are wanted; never waits.
        ended: called once, when it is over, however it ended.
    """

    def __init__(
        self, following: Callable[[], Awaitable[Any]], *, close: Callable[[], None], ended: Callable[[], None]
    ) -> None:
        self._following = following
        self._close = close
        self._ended = ended
        self._open = True

    async def __anext__(self) -> Any:
        """The next value.

        Raises:
            StopAsyncIteration: there is none.
            RemoteFailure, PeerGone, TimeoutError: as `Calls.call`; it is over then.
        """
        if not self._open:
            raise StopAsyncIteration
        try:
            value = await self._following()
        except BaseException:
            self._over(early=True)
            raise
        if isinstance(value, dict) and value.get("_rtype") == "stop_iteration":
            self._over(early=False)
            raise StopAsyncIteration
        return value

    async def aclose(self) -> None:
        """No more values are wanted."""
        self._over(early=True)

    def _over(self, *, early: bool) -> None:
        if not self._open:
            return
        self._open = False
        try:
            if early:
                self._close()
        finally:
            self._ended()
