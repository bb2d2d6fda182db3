"""FutureStore: seed 002's futures as a view of interactions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any, TypeVar

from valetkey.connections.driven import PREPARING
from valetkey.errors import AuthRefused, InvalidAnswer, InvalidAuthState
from valetkey.interactions.browser import BROWSER
from valetkey.interactions.service import identify
from valetkey.interactions.states import ENDED, RESOLVED, WAITING, Event
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.wiring import build
from valetkey.wiring.system import System

T = TypeVar("T")

WAIT = 300.0

NOT_A_FLOW = "This link is not one of an account that is being connected. Ask the program for a new link."


class DurableFuture:
    """What the person of one flow brings back: awaited like a future, kept in the flow's row.

    It may be awaited on any loop, more than once, and after a restart.
    """

    def __init__(self, system: System, uid: str) -> None:
        self._system = system
        self._id = identify(uid)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    def done(self) -> bool:
        """Whether the answer is here."""
        row = _block(self._system, lambda: self._system.interactions.get(self._id))
        return row is None or row.phase not in WAITING

    def result(self) -> Any:
        """The answer.

        Raises:
            asyncio.InvalidStateError: it is not here yet.
        """
        row = _block(self._system, lambda: self._system.interactions.get(self._id))
        if row is None or row.phase in WAITING:
            raise asyncio.InvalidStateError("The person has not answered yet.")
        return self._value(row)

    async def _wait(self) -> Any:
        interactions = self._system.interactions
        return self._value(await interactions.waiting.until(self._id, RESOLVED | ENDED, timeout=WAIT))

    def _value(self, row: Interaction) -> Any:
        if row.phase is Phase.REFUSED:
            raise AuthRefused(row.reason or "The person said no.")
        if row.answer is None:
            raise InvalidAuthState(row.reason or f"This flow is {row.phase}. Begin again.")
        return self._system.interactions.answer(row)["value"]


@dataclass(slots=True)
class FutureData:
    """A flow's future, and the data that was kept with it."""

    future: DurableFuture
    data: Any = field(default=None, repr=False)


class Futures:
    """The futures of auth handlers of your own. ``uid`` is the ``future_uid`` that ``prepare`` was given.

    All methods are synchronous and may be called on any thread but the home loop's, where no code of yours runs.
    """

    def create_future(self, uid: str, data: Any = None) -> FutureData:
        """Keep ``data`` (anything JSON can hold) with the flow that ``prepare`` is beginning.

        Raises:
            InvalidAuthState: called outside ``prepare``, or with another uid than it was given.
            InvalidAnswer: the data cannot be kept as JSON.
        """
        preparing = PREPARING.get()
        if preparing is None or not compare_digest(preparing.state, uid):
            raise InvalidAuthState(
                "create_future has its place in a handler's prepare, with the future_uid given there."
            )
        preparing.data = _plain(data)
        preparing.created = True
        return FutureData(future=DurableFuture(build.default(), uid), data=data)

    def get_future(self, uid: str) -> FutureData | None:
        """The flow's future and its data; None when there is no such flow."""
        preparing = PREPARING.get()
        system = build.default()
        if preparing is not None and compare_digest(preparing.state, uid) and preparing.created:
            return FutureData(future=DurableFuture(system, uid), data=preparing.data)
        row = _block(system, lambda: system.interactions.get(identify(uid)))
        if row is None or row.kind is not InteractionKind.CONNECT:
            return None
        private = system.interactions.payload(row).get("private") or {}
        return FutureData(future=DurableFuture(system, uid), data=private.get("future"))

    def resolve_future(self, uid: str, value: Any) -> None:
        """Keep what the person brought back; a flow that was answered already stays as it is.

        Raises:
            ValueError: there is no such flow, or it has ended (as ``InvalidAnswer``).
            Denied: where several people are served, the request is not from the browser that claimed the flow.
        """
        system = build.default()

        async def answer() -> None:
            row = await system.interactions.by_state(uid)
            if row.kind is not InteractionKind.CONNECT:
                raise InvalidAnswer(NOT_A_FLOW)
            if row.phase in ENDED and row.phase is not Phase.DONE:
                raise InvalidAnswer(row.reason or f"This flow is {row.phase}. Begin again.")
            if row.phase in WAITING:
                await system.interactions.move(row, Event.ANSWER, answer={"value": _plain(value)})

        _block(system, answer)

    def delete_future(self, uid: str) -> None:
        """Withdraw the flow, if nobody has answered yet.

        Raises:
            Denied: as ``resolve_future``.
        """
        system = build.default()

        async def withdraw() -> None:
            row = await system.interactions.get(identify(uid))
            if row is not None and row.kind is InteractionKind.CONNECT and row.phase in WAITING:
                if BROWSER.get() is not None:
                    system.interactions.check_browser(row)
                await system.interactions.move(row, Event.EXPIRE, reason="This flow was withdrawn. Begin again.")

        _block(system, withdraw)


FutureStore = Futures()


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise InvalidAnswer(
            f"A future keeps what JSON can hold, so that it outlives a restart; this is {kind}."
        ) from None


def _block(system: System, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return system.home.block(work)
