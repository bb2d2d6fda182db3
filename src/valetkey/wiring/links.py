"""Where the person's browser comes back to: addresses from settings, served by whichever way in attached a server."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from typing import Protocol

from valetkey.connections.answer import Answering
from valetkey.connections.handler import Handler
from valetkey.ports.world import Home
from valetkey.settings.pocket import Config

FLOWS = 10_000
"""Flows that are remembered with who began them."""


class CallbackServer(Protocol):
    """Serves the callbacks."""

    async def start(self) -> None:
        """Listen, if it does not yet.

        Raises:
            PortTaken: it cannot.
        """
        ...

    async def stop(self) -> None:
        """Stop listening."""
        ...


class CallbackLinks:
    """The addresses of callbacks and pages, and the server behind them, started at first need."""

    def __init__(self, config: Config, home: Home) -> None:
        self._config = config
        self._home = home
        self._lock = threading.Lock()
        self._holders: weakref.WeakSet[object] = weakref.WeakSet()
        self._began: OrderedDict[str, Answering] = OrderedDict()
        self.server: CallbackServer | None = None

    def begun(self, interaction_id: str, answering: Answering) -> None:
        """Whoever began a flow takes its callback; after a restart the base system does."""
        with self._lock:
            self._began[interaction_id] = answering
            if len(self._began) > FLOWS:
                self._began.popitem(last=False)

    def answering(self, interaction_id: str) -> Answering | None:
        """Who began that flow in this process."""
        with self._lock:
            return self._began.get(interaction_id)

    @property
    def pages(self) -> str:
        """Base URL of our own pages."""
        return self._config.callbacks.prefixed_base_url

    def redirect_uri(self, handler: Handler) -> str:
        """The callback of that handler's provider; no two providers share one (mix-up, RFC 9700 §4.4)."""
        return f"{self.pages}/auth/{handler.provider.name}/oauth2/callback"

    async def open(self) -> None:
        """Start the server, where there is one to start."""
        if self.server is not None:
            await self._home.run(self.server.start)

    def hold(self, holder: object) -> None:
        """Somebody uses the server."""
        with self._lock:
            self._holders.add(holder)

    def let_go(self, holder: object) -> None:
        """Somebody does not use it any more; the last one stops it."""
        with self._lock:
            self._holders.discard(holder)
            last = not self._holders
        if last and self.server is not None:
            self._home.block(self.server.stop)
