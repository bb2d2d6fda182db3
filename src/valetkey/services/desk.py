"""The workspace manager's place on the wire: takes calls of connected clients, and answers them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any

from valetkey.errors import NotFound, RateLimited, ValetkeyError
from valetkey.model.services import BUILT_IN
from valetkey.ports.world import Clock
from valetkey.services import frames
from valetkey.services.built_in import built_in
from valetkey.services.failures import RemoteFailure, told
from valetkey.services.frames import BadFrame, Message
from valetkey.services.manager import DEFAULT, Manager
from valetkey.services.relay import NOBODY, Relay, Stamp
from valetkey.services.sight import Who

MOST_AT_ONCE = 256
"""Calls of one client that the manager works on at once."""

_CALL = f"services.{DEFAULT}."
_BUILT_IN = "services.built-in."
_NOT_THEIRS = frozenset({"context", "who"})

_log = logging.getLogger("valetkey.services")


class Desk:
    """A relay `Peer`, at the address of this instance's manager. For use on the home loop."""

    def __init__(self, *, manager: Manager, relay: Relay, clock: Clock) -> None:
        self._manager = manager
        self._relay = relay
        self._clock = clock
        self._functions = dict(manager.functions())
        self._signatures = {name: inspect.signature(each) for name, each in self._functions.items()}
        self._described = frames.packed([manager.described(relay.manager)])
        self._working: dict[str, int] = {}  # by caller
        self._tasks: set[asyncio.Task[None]] = set()
        relay.put(relay.manager, self)

    def deliver(self, message: Message, stamp: Stamp) -> None:
        """Take a call; never blocks, never raises."""
        who = stamp.who
        if message.method.rpartition(".")[2] in ("resolve", "reject") and not message.promised:
            return  # nothing is asked of clients from here
        if who is None:
            self._refuse(message, "PermissionError: The workspace manager is for clients of this server.")
        elif message.method.startswith(_CALL):
            self._begin(message, who)
        elif message.method == f"{_BUILT_IN}get_service":
            self._give(message)
        elif message.method == f"{_BUILT_IN}ping":
            self._reply(message, "pong")
        else:
            self._refuse(message, f"KeyError: There is no function {message.method} here.")

    async def close(self) -> None:
        """End what is being worked on."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _give(self, message: Message) -> None:
        try:
            args, named = message.arguments()
        except BadFrame as error:
            self._refuse(message, told(error))
            return
        wanted = next(iter(args), named.get("service_id"))
        if wanted == BUILT_IN:
            self._reply(message, built_in(self._relay.manager))
        elif wanted != DEFAULT:
            self._refuse(message, f"KeyError: Service not found: {str(wanted)[:200]}")
        elif message.promised:
            reply = frames.resolution(None, call=message)
            reply.args = self._described
            self._relay.send(reply, NOBODY)

    def _begin(self, message: Message, who: Who) -> None:
        name = message.method.removeprefix(_CALL)
        function = self._functions.get(name)
        if function is None:
            self._refuse(message, told(NotFound(f"The workspace manager has no function {name}.")))
            return
        working = self._working.get(message.sender, 0)
        if working >= MOST_AT_ONCE:
            self._refuse(
                message, told(RateLimited(f"{MOST_AT_ONCE} calls of this client are under way.", retry_after=1))
            )
            return
        self._working[message.sender] = working + 1
        task = asyncio.ensure_future(self._answer(message, function, self._signatures[name], who))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, message: Message, function: Callable[..., Any], signature: inspect.Signature, who: Who
    ) -> None:
        beating = None
        if message.promised and message.interval is not None:
            beating = asyncio.ensure_future(self._beat(message, message.interval))
        try:
            args, named = message.arguments()
            named = {key: value for key, value in named.items() if key not in _NOT_THEIRS}
            try:
                bound = signature.bind(*args, **named, who=who)
            except TypeError as error:
                self._refuse(message, f"TypeError: {error}")
                return
            self._reply(message, await function(*bound.args, **bound.kwargs))
        except ValetkeyError as error:
            self._refuse(message, told(error))
        except RemoteFailure as error:
            self._refuse(message, str(error))
        except TimeoutError:
            self._refuse(message, "TimeoutError: Whoever was asked did not answer in time.")
        except Exception as error:  # noqa: BLE001 - a bug of ours, or a store: its text is not for clients
            _log.error("%s of the workspace manager failed: %s", message.method, type(error).__name__)
            self._refuse(message, "RemoteException: The server could not do that now. Its log says more.")
        finally:
            if beating is not None:
                beating.cancel()
            self._ended(message.sender)

    async def _beat(self, message: Message, interval: float) -> None:
        """Tell the caller, again and again, that the call lasts."""
        while True:
            await self._clock.sleep(interval)
            beat = frames.resolution(None, call=message)
            beat.method = f"{message.session}.heartbeat"
            beat.args = b""
            self._relay.send(beat, NOBODY)

    def _ended(self, caller: str) -> None:
        left = self._working.get(caller, 1) - 1
        if left:
            self._working[caller] = left
        else:
            self._working.pop(caller, None)

    def _reply(self, message: Message, value: Any) -> None:
        if not message.promised:
            return
        try:
            reply = frames.resolution(value, call=message)
        except (TypeError, ValueError, OverflowError) as error:
            _log.error("%s of the workspace manager gave what cannot be sent: %s", message.method, error)
            self._refuse(message, "RemoteException: What it gave cannot be sent.")
            return
        self._relay.send(reply, NOBODY)

    def _refuse(self, message: Message, text: str) -> None:
        if message.promised:
            self._relay.send(frames.rejection(text, call=message), NOBODY)
