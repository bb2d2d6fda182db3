"""Fetch an answer that no browser brings: one look at a time, by whoever holds the lease in the flow's row."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from valetkey.connections.handler import Handler, Looked
from valetkey.errors import ValetkeyError
from valetkey.interactions.service import Interactions
from valetkey.interactions.states import WAITING, Event
from valetkey.model.interactions import Interaction, Phase
from valetkey.ports.world import Clock, Entropy

NEXT, ENDS, LEASE = "next_look_at", "ends_at", "look_lease"
"""Of the flow's private part: when to look next and at last, in seconds since the epoch; and who looks now."""

LOOK = 15.0
"""Seconds after which a look that nobody told the end of counts as over; longer than any exchange may take."""

ROUNDS = 4


class Polling:
    """Looks at the provider, never more often than the flow's interval, whatever number of processes look.

    Each look is written into the row before it is made, by compare-and-set: a process that does not get to write it
    leaves the look to another. After a restart the next look comes when the row says so. A crash between an answer
    and its row loses the tokens; then the provider does not take the code again, and the flow ends.
    """

    def __init__(self, *, interactions: Interactions, clock: Clock, entropy: Entropy) -> None:
        self._interactions = interactions
        self._clock = clock
        self._entropy = entropy
        self._followed: set[str] = set()

    def waits(self, row: Interaction, handler: Handler) -> bool:
        """Whether its answer is still to be fetched."""
        return handler.polls and row.phase in WAITING and not row.confirming

    async def look(self, row: Interaction, handler: Handler) -> float | None:
        """Look, where it is time: seconds until the next look; None: there will be none."""
        if not self.waits(row, handler):
            return None
        payload = self._interactions.payload(row)
        private, now = payload["private"], self._clock.now()
        due, ends = _time(private, NEXT, now), _time(private, ENDS, math.inf)
        if now >= ends:
            over = f"Nobody entered the code at {_title(row)} in time. Ask for a new one."
            await self._interactions.move(row, Event.EXPIRE, reason=over)
            return None
        if now < due:
            return min(due, ends) - now
        lease = self._entropy.token(12)
        private = {**private, NEXT: repr(now + LOOK), LEASE: lease}
        taken = await self._interactions.amend(row, payload={**payload, "private": private}, about=row.about)
        if taken is None:
            return 0.0
        looked = await handler.look(private)
        return await self._told(row.id, handler, lease, looked)

    async def follow(self, row_id: str, handler: Handler, act: Callable[[Interaction], Awaitable[None]]) -> None:
        """Look until there is an answer, and act on it; once in this process for each row. For the home loop."""
        if row_id in self._followed:
            return
        self._followed.add(row_id)
        try:
            while True:
                row = await self._interactions.get(row_id)
                if row is not None and row.phase is Phase.ANSWERED:
                    with suppress(ValetkeyError):  # its row says what went wrong
                        await act(row)
                    return
                pause = None if row is None else await self.look(row, handler)
                if pause is not None:
                    await self._clock.sleep(pause)
                elif row is None or self.waits(row, handler) is False:
                    return
        finally:
            self._followed.discard(row_id)

    async def _told(self, row_id: str, handler: Handler, lease: str, looked: Looked) -> float | None:
        """Write down what the look brought; a browser may have claimed the row meanwhile."""
        for _ in range(ROUNDS):
            latest = await self._interactions.get(row_id)
            if latest is None or not self.waits(latest, handler):
                break
            payload = self._interactions.payload(latest)
            if payload["private"].get(LEASE) != lease:
                break  # begun anew, for more scopes
            if await self._written(latest, payload, looked) is not None:
                return None if looked.answer is not None or looked.expired else looked.pause
        if looked.answer is not None:
            await handler.drop(looked.answer)
        return 0.0

    async def _written(self, row: Interaction, payload: dict[str, Any], looked: Looked) -> Interaction | None:
        if looked.answer is not None:
            return await self._interactions.move(row, Event.ARRIVE, answer=looked.answer)
        if looked.expired:
            return await self._interactions.move(row, Event.EXPIRE, reason=looked.expired)
        private = {**payload["private"], **looked.private, NEXT: repr(self._clock.now() + looked.pause)}
        return await self._interactions.amend(row, payload={**payload, "private": private}, about=row.about)


def _time(private: Mapping[str, str], name: str, otherwise: float) -> float:
    try:
        return float(private[name])
    except (KeyError, ValueError):
        return otherwise


def _title(row: Interaction) -> str:
    return str(row.about.get("title", "the provider"))
