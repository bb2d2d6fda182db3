"""One piece of work for each connection in this process: whoever asks meanwhile follows it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from valetkey.connections.unfinished import finish_even_if_cancelled
from valetkey.errors import ProviderUnavailable
from valetkey.model.connections import Connection
from valetkey.ports.world import Home

FOLLOW = 30.0
"""Seconds that a caller waits for another's refresh in this process."""

Work = Callable[[], Coroutine[Any, Any, Connection]]


@dataclass(frozen=True, slots=True)
class Flight:
    """One piece of work under way.

    Attributes:
        ahead: whether it is for one whose token still serves, which may come back as it was.
    """

    ahead: bool
    outcome: concurrent.futures.Future[Connection]


class Flights:
    """What is under way, by the connection's id. For any loop and any thread."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}

    def board(self, connection_id: str, *, ahead: bool) -> tuple[Flight, bool]:
        """The flight of that connection, and whether the caller is the one to fly it."""
        with self._lock:
            flight = self._flights.get(connection_id)
            if flight is not None:
                return flight, False
            flight = Flight(ahead, concurrent.futures.Future())
            # Else a follower who is cancelled would cancel it for all.
            flight.outcome.set_running_or_notify_cancel()
            self._flights[connection_id] = flight
            return flight, True

    async def fly(self, connection_id: str, flight: Flight, work: Work, *, at_home: bool) -> None:
        """Do the work to its end, even if who waits here gives up; the flight's result is that of the work."""

        async def flying() -> None:
            try:
                result = await work()
            except BaseException as error:
                self._land(connection_id, flight, error)
                if not isinstance(error, Exception):
                    raise
            else:
                self._land(connection_id, flight, result)

        def crash(_: object) -> None:
            # A task that is cancelled before its first step never lands by itself.
            if not flight.outcome.done():
                self._land(connection_id, flight, asyncio.CancelledError())

        if not at_home:
            await finish_even_if_cancelled(flying, crash)
            return
        try:
            await self._home.run(flying)
        except Exception as error:  # the home was closed: the work itself raises nothing
            crash(error)
            raise

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._flights)

    async def drain(self, seconds: float) -> None:
        """Wait that long at most for what is under way to end."""
        with self._lock:
            flights = [asyncio.wrap_future(flight.outcome) for flight in self._flights.values()]
        if flights:
            await asyncio.wait(flights, timeout=seconds)

    def _land(self, connection_id: str, flight: Flight, result: Connection | BaseException) -> None:
        with self._lock:
            self._flights.pop(connection_id, None)
        if isinstance(result, Connection):
            flight.outcome.set_result(result)
        elif isinstance(result, asyncio.CancelledError):
            flight.outcome.set_exception(ProviderUnavailable("The refresh was interrupted. Call again."))
        else:
            flight.outcome.set_exception(result)


async def follow(flight: Flight) -> Connection:
    """Wait for it, not for ever: a user's own handler may fly on the very loop that a synchronous call blocks."""
    try:
        async with asyncio.timeout(FOLLOW):
            return await asyncio.wrap_future(flight.outcome)
    except TimeoutError:
        raise ProviderUnavailable("The account is being refreshed, and that does not end. Call again.") from None
