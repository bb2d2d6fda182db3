"""The rooms made of the parts: those that keep accounts fresh, and those that look for handlers."""

from __future__ import annotations

from dataclasses import dataclass, fields

from valetkey.connections.answer import Answering
from valetkey.connections.confirm import Confirming
from valetkey.connections.connect import Connecting
from valetkey.connections.disconnect import Disconnector
from valetkey.connections.find import Connector
from valetkey.connections.flights import Flights
from valetkey.connections.handling import Handling
from valetkey.connections.keep import Keeper
from valetkey.connections.obtained import Obtained
from valetkey.connections.polling import Polling
from valetkey.connections.refresh import Refresher
from valetkey.connections.revoke import Revoker
from valetkey.connections.rotations import Rotations
from valetkey.identity.chain import Chain
from valetkey.identity.verifiers.vouched import Vouched
from valetkey.lending import Lender
from valetkey.pipeline import Road
from valetkey.policy.decide import Policy
from valetkey.settings.policy import read_rules
from valetkey.wiring.system import Parts, System


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The rooms that keep accounts fresh: one of each for each store, whoever derives a system of it."""

    keeper: Keeper
    revoker: Revoker
    rotations: Rotations
    refresher: Refresher


def keeping(parts: Parts, handling: Handling) -> Kept:
    """The rooms that keep accounts fresh, over the stores of these parts."""
    wakeups = parts.bus.wakeups
    revoker = Revoker(
        store=parts.stores.revocations,
        connections=parts.stores.connections,
        sealer=parts.sealer,
        finder=handling,
        clock=parts.clock,
        entropy=parts.entropy,
        home=parts.home,
        recorder=parts.recorder,
    )
    connections = parts.stores.connections
    rotations = Rotations(
        store=connections, journal=parts.journal, sealer=parts.sealer, revoker=revoker, wakeups=wakeups
    )
    keeper = Keeper(store=connections, sealer=parts.sealer, clock=parts.clock, entropy=parts.entropy, wakeups=wakeups)
    refresher = Refresher(
        store=connections,
        sealer=parts.sealer,
        clock=parts.clock,
        entropy=parts.entropy,
        home=parts.home,
        wakeups=wakeups,
        rotations=rotations,
        breakers=parts.breakers,
        recorder=parts.recorder,
    )
    return Kept(keeper=keeper, revoker=revoker, rotations=rotations, refresher=refresher)


def connect(parts: Parts, handling: Handling, kept: Kept | System, *, in_memory: bool = False) -> System:
    """The rooms that look for handlers, over this table of them."""
    connections = parts.stores.connections
    confirming = Confirming(
        interactions=parts.interactions,
        store=connections,
        revocations=parts.stores.revocations,
        sealer=parts.sealer,
        keeper=kept.keeper,
        revoker=kept.revoker,
        personal=lambda: parts.links.personal,
    )
    answering = Answering(
        store=connections,
        interactions=parts.interactions,
        finder=handling,
        keeper=kept.keeper,
        links=parts.links,
        clock=parts.clock,
        home=parts.home,
        in_memory=in_memory,
        confirming=confirming,
        polling=Polling(interactions=parts.interactions, clock=parts.clock, entropy=parts.entropy),
        audit=parts.audit,
        whose=parts.world.whose,
    )
    connecting = Connecting(
        store=connections,
        interactions=parts.interactions,
        finder=handling,
        answering=answering,
        refresher=kept.refresher,
        links=parts.links,
        clock=parts.clock,
        obtained=Obtained(keeper=kept.keeper, sealer=parts.sealer, flights=Flights(parts.home), clock=parts.clock),
        audit=parts.audit,
    )
    connector = Connector(
        store=connections,
        finder=handling,
        connecting=connecting,
        answering=answering,
        refresher=kept.refresher,
        rotations=kept.rotations,
        sessions=parts.sessions,
        clock=parts.clock,
    )
    disconnector = Disconnector(
        store=connections,
        interactions=parts.interactions,
        answering=answering,
        finder=handling,
        sealer=parts.sealer,
        rotations=kept.rotations,
        revoker=kept.revoker,
        wakeups=parts.bus.wakeups,
        audit=parts.audit,
    )
    road = Road(
        chain=Chain([Vouched()]),
        policy=Policy(
            read_rules(parts.config.sources),
            provider_of=lambda need: handling.find(need.handler, need.provider or None).provider.name,
            audit=parts.audit,
            oversight=parts.oversight,
        ),
        connector=connector,
        lender=Lender(
            sealer=parts.sealer, finder=handling, store=connections, sessions=parts.sessions, audit=parts.audit
        ),
    )
    return System(
        **{part.name: getattr(parts, part.name) for part in fields(Parts)},
        keeper=kept.keeper,
        revoker=kept.revoker,
        rotations=kept.rotations,
        refresher=kept.refresher,
        handling=handling,
        answering=answering,
        connecting=connecting,
        connector=connector,
        disconnector=disconnector,
        road=road,
    )
