"""Wait for one from any process: woken by a hint, decided by the row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from valetkey.errors import AuthExpired, CouldNotTell, InvalidAuthState
from valetkey.model.interactions import Interaction, Phase
from valetkey.ports.messages import Subscription, Wakeups
from valetkey.ports.world import Clock

POLL = 0.5
"""Seconds between two looks at the row when no hint comes: another process may have answered."""


class Waiting:
    """One way to wait for an interaction."""

    def __init__(self, *, get: Callable[[str], Awaitable[Interaction | None]], clock: Clock, wakeups: Wakeups) -> None:
        self._get = get
        self._clock = clock
        self._wakeups = wakeups
        self._ended = False

    def end(self) -> None:
        """Whoever waits is told to come back: this program ends, and another instance may go on."""
        self._ended = True

    async def until(
        self, interaction_id: str, phases: Collection[Phase], *, timeout: float, confirming: bool = False
    ) -> Interaction:
        """Wait until it is in one of the phases.

        Args:
            interaction_id: which one.
            phases: where to stop.
            timeout: seconds to wait at most.
            confirming: whether to stop, too, where the person is asked if the account is the one that they meant.

        Raises:
            AuthExpired: it was not, in time.
            InvalidAuthState: it is gone.
            CouldNotTell: this program ends.
        """
        deadline = self._clock.monotonic() + timeout
        async with self._wakeups.listen(interaction_id) as hints:
            while True:
                row = await self._get(interaction_id)
                if row is None:
                    raise InvalidAuthState("This question was withdrawn. Start again to get a new link.")
                if row.phase in phases or (confirming and row.confirming):
                    return row
                if self._ended:
                    raise CouldNotTell("This server ends. Ask again in a moment: what waits is kept.")
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    raise AuthExpired(
                        f"Nobody answered within {timeout:.0f} s. The link may still be answered until it ends; "
                        "call again to go on waiting."
                    )
                await self._pause(hints, min(left, POLL))

    async def _pause(self, hints: Subscription, seconds: float) -> None:
        tasks = [asyncio.ensure_future(hints.wait()), asyncio.ensure_future(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
