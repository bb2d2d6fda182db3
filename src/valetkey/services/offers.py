"""Functions of this process that a client may call back while one call of it lasts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from valetkey.errors import ValetkeyError
from valetkey.ports.world import Clock
from valetkey.services import frames
from valetkey.services.failures import told
from valetkey.services.frames import Message
from valetkey.services.relay import NOBODY, Relay

Function = Callable[..., Awaitable[Any]]

MOST_AT_ONCE = 16
"""Calls of one offer that may run at once."""

_log = logging.getLogger("valetkey.services")


@dataclass(slots=True, kw_only=True)
class Offer:
    """What one peer may call.

    Attributes:
        peer: nobody else may.
        functions: by name; they may raise an ``OSError`` or an error of ours, whose text is told.
    """

    peer: str
    functions: Mapping[str, Function]
    relay: Relay
    clock: Clock
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def take(self, message: Message, name: str) -> bool:
        """Answer a call; False: it is none of these, or not of that peer."""
        function = self.functions.get(name)
        if function is None or message.sender != self.peer or len(self._tasks) >= MOST_AT_ONCE:
            return False
        task = asyncio.ensure_future(self._answer(message, function))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def end(self) -> None:
        """Nothing is offered any more."""
        for task in self._tasks:
            task.cancel()

    async def _answer(self, message: Message, function: Function) -> None:
        beating = None
        if message.promised and message.interval is not None:
            beating = asyncio.ensure_future(self._beat(message, message.interval))
        try:
            args, kwargs = message.arguments()
            reply = frames.resolution(await function(*args, **kwargs), call=message)
        except ValetkeyError as error:
            reply = frames.rejection(told(error), call=message)
        except OSError as error:
            reply = frames.rejection(f"{type(error).__name__}: {error}", call=message)
        except asyncio.CancelledError:
            reply = frames.rejection("CancelledError: The call that this belongs to is over.", call=message)
        except Exception as error:  # noqa: BLE001 - the peer's arguments may be anything
            _log.warning("%s called back with what cannot be used: %s", message.sender, type(error).__qualname__)
            reply = frames.rejection("TypeError: The arguments cannot be used.", call=message)
        finally:
            if beating is not None:
                beating.cancel()
        if message.promised:
            self.relay.send(reply, NOBODY)

    async def _beat(self, message: Message, interval: float) -> None:
        """Let the caller know that this goes on: its timer ends otherwise."""
        while True:
            await self.clock.sleep(interval)
            beat = Message(method=f"{message.session}.heartbeat", to=message.sender, sender=message.to)
            self.relay.send(beat, NOBODY)
