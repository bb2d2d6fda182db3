"""Chat: what the parts of one chat share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Container, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from valetkey.entrypoints.fastapi import Mounted
from valetkey.pipeline import Road
from valetkey.ports.agents import ChatModel
from valetkey.settings.bedrock import ChatConfig
from valetkey.tools.tool import Tool
from valetkey.wiring.chat import chat_road
from valetkey.wiring.system import System

OFFERED: ContextVar[Collection[str]] = ContextVar("valetkey-chat-offered", default=())
"""The names of what is offered to the person of this call, besides what everybody is offered."""


class Offer(Protocol):
    """The tools of a chat; ``offer.py`` is one."""

    def tools(self) -> Mapping[str, Tool]:
        """By name, as they are now: a route that was added later is among them."""
        ...

    @property
    def marked(self) -> Container[str]:
        """The names of those of which each call has to be approved."""
        ...


@dataclass(kw_only=True)
class Chat:
    """One chat on one app.

    Attributes:
        mounted: Valetkey in that app; its system may be another one after a fork or a restart of the app.
        model: what answers, with its retries and its fallback.
        app: the app itself, whose own endpoint may verify what a session was given.
    """

    config: ChatConfig
    mounted: Mounted
    offer: Offer
    model: ChatModel
    app: Callable[..., Awaitable[None]] | None = field(default=None, repr=False)
    _road: tuple[System, Road] | None = field(default=None, repr=False)

    @property
    def system(self) -> System:
        """The parts that it works with."""
        return self.mounted.system

    @property
    def road(self) -> Road:
        """The road of its calls."""
        system = self.system
        if self._road is None or self._road[0] is not system:
            self._road = system, chat_road(system, offered=_Names(self.offer), marked=self.offer.marked)
        return self._road[1]


class _Names:
    """The names of what is offered, at the moment of the question."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer

    def __contains__(self, name: object) -> bool:
        return name in self._offer.tools() or name in OFFERED.get()
