"""System: everything made, by name; open and closed as one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valetkey.ports.agents import ServiceSwitch
from valetkey.providers.inline import OAuthHandler

if TYPE_CHECKING:
    from valetkey.audit import Switch
    from valetkey.connections.answer import Answering
    from valetkey.connections.at_provider import World
    from valetkey.connections.breaker import Breakers
    from valetkey.connections.connect import Connecting
    from valetkey.connections.disconnect import Disconnector
    from valetkey.connections.find import Connector
    from valetkey.connections.handling import Handling
    from valetkey.connections.keep import Keeper
    from valetkey.connections.refresh import Refresher
    from valetkey.connections.revoke import Revoker
    from valetkey.connections.rotations import Rotations
    from valetkey.connections.session import SessionPlaces
    from valetkey.interactions.service import Interactions
    from valetkey.oauth.clients import Clients
    from valetkey.pipeline import Road
    from valetkey.policy.decide import Oversight
    from valetkey.ports.messages import Recorder
    from valetkey.ports.serving import Listening
    from valetkey.ports.world import Clock, Entropy, Fetcher, Home, Journal
    from valetkey.providers.registry import Registry
    from valetkey.settings.pocket import Config
    from valetkey.vault.seal import Sealer
    from valetkey.wiring.bus import Bus
    from valetkey.wiring.links import CallbackLinks
    from valetkey.wiring.stores import Stores


DRAIN = 20.0
"""Seconds that an end waits for refreshes that are under way: as long as one may hold its lease."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a Valetkey is made of, but for the rooms that look for auth handlers."""

    config: Config
    folder: Path
    clock: Clock
    entropy: Entropy
    home: Home
    bus: Bus
    recorder: Recorder
    fetcher: Fetcher
    environ: Mapping[str, str] = field(repr=False)
    registry: Registry
    clients: Clients
    world: World
    inline: dict[str, OAuthHandler] = field(repr=False)
    links: CallbackLinks
    stores: Stores
    journal: Journal
    interactions: Interactions
    sealer: Sealer
    sessions: SessionPlaces
    breakers: Breakers
    audit: Switch
    oversight: Oversight
    services: ServiceSwitch = field(default_factory=ServiceSwitch)
    closers: Sequence[Callable[[], Any]] = ()
    process: int = 0

    @property
    def ours(self) -> bool:
        """Whether this process made it, and goes on with it: a fork has to make its own, as has who was left behind."""
        return self.process == os.getpid() and not self.links.ended

    def descends_from(self, other: Parts) -> bool:
        """Whether it is that system, or was derived from it."""
        return self.home is other.home

    def listeners(self, app: Any) -> list[Listening]:
        """What a script's callback server listens on: HTTP, and HTTPS at the port of its redirect URIs."""
        from valetkey.adapters.certificates import LoopbackCertificate  # loads with the first link
        from valetkey.adapters.serving import Listener

        ports = self.config.callbacks
        found: list[Listening] = [
            Listener(app, host="localhost", port=ports.internal_server_port, setting="internal_server_port")
        ]
        if not ports.enable_local_callback_proxy or ports.public_server_port == ports.internal_server_port:
            return found
        tls = None
        if ports.public_server_protocol == "https":
            tls = LoopbackCertificate(home=self.folder, clock=self.clock, host=ports.public_hostname).context()
        found.append(
            Listener(app, host="localhost", port=ports.public_server_port, tls=tls, setting="public_server_port")
        )
        return found

    def add_inline(self, handler: OAuthHandler) -> None:
        """Take a provider that a tool brings along."""
        if self.inline.get(handler.name) != handler:
            self.registry.register(handler.provider())
            self.inline[handler.name] = handler


@dataclass(frozen=True, kw_only=True)
class System(Parts):
    """One Valetkey: its parts, chosen by ``build``, and the rooms over one table of auth handlers."""

    keeper: Keeper
    revoker: Revoker
    rotations: Rotations
    refresher: Refresher
    handling: Handling
    answering: Answering
    connecting: Connecting
    connector: Connector
    disconnector: Disconnector
    road: Road

    def settle(self) -> None:
        """End what runs by itself, and let refreshes that are under way end: no answer of a provider is lost."""
        self.home.quiet()
        if self.refresher.flights.busy:
            self.home.block(lambda: self.refresher.flights.drain(DRAIN))

    def close(self) -> None:
        """Close what is open: the callback server, pools, the database, the home loop."""
        if self.links.server is not None:
            self.home.block(self.links.server.stop)
        self.settle()
        for closer in self.closers:
            closer()
