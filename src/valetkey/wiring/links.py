"""Where the person's browser is sent, and comes back to: addresses from settings, served by the way in."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from typing import Any, Protocol

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
    """The addresses of callbacks and pages, and the server behind them, started at first need.

    Attributes:
        personal: whether several people are served: then a link leads to our own page. There is no way back.
        routers: those of auth handlers of the host program's own; served under ``/auth``.
        ended: whether another system has taken the place of this one.
    """

    def __init__(self, config: Config, home: Home) -> None:
        self._config = config
        self._home = home
        self._lock = threading.Lock()
        self._holders: weakref.WeakSet[object] = weakref.WeakSet()
        self._began: OrderedDict[str, Answering] = OrderedDict()
        self._base_url = ""
        self.personal = False
        self.ended = False
        self.routers: list[Any] = []
        self.server: CallbackServer | None = None

    def lead_to_pages(self, base_url: str) -> None:
        """From now on several people are served, at this public address, without a slash at the end.

        A callback server of a script is of no use any more.
        """
        before, self.server = self.server, None
        self._base_url = base_url.rstrip("/")
        self.personal = True
        if before is not None:
            self._home.spawn(before.stop)

    def link(self, interaction_id: str, url: str) -> str:
        """What whoever asked is given: the provider's own address, or that of our page which leads there.

        The link to our page names the interaction by its id, which is a hash of the state. Whoever has the link,
        the model that passes it on among them, cannot make the state of it, and so no callback; our page gives the
        provider's address to nobody but its owner's signed-in browser, and then takes the answer from that browser
        only. A link that is forwarded opens a page that says "not yours"; the provider's address, when its owner
        forwards that, leads to an account of somebody else's that is never connected.
        """
        return f"{self.pages}/connect/{interaction_id}" if self.personal else url

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
        return self._base_url or self._config.callbacks.prefixed_base_url

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
