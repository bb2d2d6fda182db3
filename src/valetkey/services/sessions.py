"""What an RPC object handed out in its calls: callbacks, generators, the ends of promises; each for one peer alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from valetkey.services.frames import Message

if TYPE_CHECKING:
    from hypha_rpc.rpc import RPC

    from valetkey.ports.world import Clock, Entropy

_CLOSING = ":close"


@dataclass(frozen=True, slots=True)
class Held:
    """A function of a session.

    Attributes:
        settles: whether the session is that of a call which waits.
    """

    function: Callable[..., Any]
    settles: bool


class Sessions:
    """The sessions of one RPC object (its ``_object_store``: the library has no other way to them)."""

    def __init__(self, rpc: RPC, *, clock: Clock, entropy: Entropy) -> None:
        self.rpc = rpc
        self._clock = clock
        self._entropy = entropy
        self._closing: set[asyncio.Future[Any]] = set()

    def find(self, message: Message) -> Held | None:
        """What a message names, if it was handed out to its sender. Maps alone are followed, never attributes."""
        head, *path = message.method.split(".")
        top = self._store.get(head)
        if not path or type(top) is not dict or top.get("target_id") != message.sender:
            return None
        place: Any = top
        for name in path[:-1]:
            place = place.get(name) if type(place) is dict and not name.startswith("_") else None
        name = path[-1]
        function = place.get(name) if type(place) is dict and not name.startswith("_") else None
        if not callable(function):
            return None
        top["_last_activity_at"] = self._clock.now()
        return Held(function, "_promise_manager" in place)

    def rejecting(self, message: Message) -> Callable[..., Any]:
        """What ends the call that waits for this message, with a failure."""
        place: Any = self._store
        for name in message.method.split(".")[:-1]:
            place = place[name]
        reject: Callable[..., Any] = place["reject"]
        return reject

    def hand_out(self, peer: str) -> Callable[[Any], Any]:
        """Writes a value for a peer; functions and generators in it are kept in a session for that peer."""

        def write(value: Any) -> Any:
            session = self._entropy.token(16)
            place: dict[str, Any] = self.rpc._get_session_store(session, create=True)  # noqa: SLF001
            place["target_id"] = peer
            self.rpc._target_id_index.setdefault(peer, set()).add(session)  # noqa: SLF001
            try:
                return self.rpc.encode(value, session_id=session)
            finally:
                self._tidy(session)

        return write

    def tidy(self, message: Message) -> None:
        """Forget the session of a message that was handled, if nothing is left in it."""
        self._tidy(message.method.partition(".")[0])

    def _tidy(self, session: str) -> None:
        place = self._store.get(session)
        if isinstance(place, dict) and not any(callable(each) for each in place.values()):
            self.rpc._remove_from_target_id_index(session)  # noqa: SLF001
            del self._store[session]

    def forget(self, peer: str) -> None:
        """What was handed out to a peer that is gone, and calls of ours that wait for it."""
        for session in list(self.rpc._target_id_index.get(peer, ())):  # noqa: SLF001
            place = self._store.get(session)
            if isinstance(place, dict):
                for name, function in list(place.items()):
                    if name.endswith(_CLOSING) and callable(function):
                        task = asyncio.ensure_future(function())
                        self._closing.add(task)
                        task.add_done_callback(self._closing.discard)
        self.rpc._cleanup_sessions_for_client(peer)  # noqa: SLF001

    @property
    def _store(self) -> dict[str, Any]:
        store: dict[str, Any] = self.rpc._object_store  # noqa: SLF001
        return store
