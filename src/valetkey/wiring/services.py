"""Services: who is connected, what they registered, and how calls find their way; the rooms of RPC over one server."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from valetkey.errors import InvalidSetting
from valetkey.services.sight import Sight
from valetkey.services.table import CLIENT, ServiceTable
from valetkey.wiring.providers import provided_by
from valetkey.wiring.service_rooms import Services as Services  # noqa: PLC0414  # under this name the ways in know them
from valetkey.wiring.tool_calls import ToolCalls

if TYPE_CHECKING:
    from valetkey.services.directory import Directory
    from valetkey.services.live import Live
    from valetkey.services.manager import Manager
    from valetkey.services.mesh import Mesh
    from valetkey.services.relay import Lend, Link, Relay
    from valetkey.settings.sections import Services as Limits
    from valetkey.wiring.identity import Identity
    from valetkey.wiring.system import System

SWEEP_EVERY = 30.0
"""Seconds between two looks for calls whose callers have given up."""

_NEEDED = ("msgpack", "hypha_rpc", "websockets")
_OF_CLIENTS = ("directory", "relay", "calls", "desk", "objects", "reconnections", "live", "events")
_UNFIT = re.compile(r"[^A-Za-z0-9_.~|-]")
_log = logging.getLogger("valetkey.services")


async def open_services(
    identity: Identity,
    settings: Limits,
    *,
    server_id: str = "",
    base_url: str | Callable[[], str],
    lend: Lend | None = None,
) -> Services:
    """The rooms of RPC, on the home loop and before the startup functions.

    Args:
        identity: the rooms of the server.
        settings: how much of each.
        server_id: this process's name; empty: a random one.
        base_url: the public address with the prefix of our paths.
        lend: asked before a service that needs accounts of its caller is called.

    Raises:
        InvalidSetting: another instance on the same bus has that name.
    """
    system = identity.system
    instance = instance_name(server_id, system.entropy.token(9))
    permission_of = identity.workspaces.permission
    table = ServiceTable(permission_of=permission_of, client=f"{CLIENT}-{instance}" if system.bus.shared else CLIENT)
    sight = Sight(permission_of)
    about = _about(identity, table, sight, base_url if callable(base_url) else lambda: base_url)
    about["most_services"] = settings.max_services_per_client
    identity.workspaces.limit(settings.max_workspaces_per_user)
    known: dict[str, Any] = {"table": table, "sight": sight, "limits": settings, "instance": instance}
    if not clients_can_connect():
        _log.warning("Clients cannot connect and register services here: pip install 'valetkey[services]'.")
        nothing: dict[str, Any] = dict.fromkeys(_OF_CLIENTS)
        alone = Services(**known, **nothing, manager=_manager(about), complete=False)
        _put_in_place(alone, identity)
        return alone
    services = Services(**known, **_rooms(identity, settings, about, instance=instance, lend=lend))
    if services.mesh is not None:
        if server_id:
            await _be_alone(system, instance)
        services.relay.away = services.mesh
        await services.mesh.start()
        services.on_close(services.mesh.close)
    for name, work in (("sweep", _sweep(services, identity)), ("live", services.live.watch())):
        services.on_close(asyncio.create_task(work, name=f"valetkey-{name}").cancel)
    for each in (services.desk, services.objects):
        services.on_close(each.close)
    _put_in_place(services, identity)
    return services


async def _be_alone(system: System, instance: str) -> None:
    """Two of one name would take each other's clients for their own."""
    from valetkey.services.namesakes import Listener

    channel = system.bus.channel
    if channel is None:
        return
    listener = Listener(channel=channel, keyring=system.sealer.keyring, clock=system.clock, name=instance)
    if await listener.hears_one():
        raise InvalidSetting(
            f"Another server with the server_id {instance} runs on the same Redis. Give each a server_id of its own, or"
            " none: then it is drawn at each start."
        )


def clients_can_connect() -> bool:
    """Whether the packages for RPC are installed."""
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED)


def _put_in_place(services: Services, identity: Identity) -> None:
    """From now on services can be tools in this process."""
    switch = identity.system.services
    switch.calls = calls = ToolCalls(services, identity.system.home)

    def end() -> None:
        if switch.calls is calls:
            switch.calls = None

    services.on_close(end)


def manager_of(identity: Identity, table: ServiceTable, *, base_url: Callable[[], str]) -> Manager:
    """The workspace manager where no client can connect."""
    return _manager(_about(identity, table, Sight(identity.workspaces.permission), base_url))


def _manager(about: dict[str, Any]) -> Manager:
    from valetkey.services.manager import Manager

    return Manager(**about)


def _about(identity: Identity, table: ServiceTable, sight: Sight, base_url: Callable[[], str]) -> dict[str, Any]:
    """What a manager is made of, with clients or without."""
    system = identity.system
    return {
        "tokens": identity.tokens,
        "chain": identity.chain,
        "plugin": identity.plugin,
        "limits": identity.limits,
        "audit": identity.audit,
        "workspaces": identity.workspaces,
        "sealer": system.sealer,
        "table": table,
        "sight": sight,
        "entropy": system.entropy,
        "base_url": base_url,
        "provided": provided_by(system),
    }


def _rooms(
    identity: Identity, settings: Limits, about: dict[str, Any], *, instance: str, lend: Lend | None
) -> dict[str, Any]:
    """What clients need, made in the order in which one needs the other."""
    from valetkey.identity.reconnection import Reconnections
    from valetkey.identity.verifiers.ours import mark_of
    from valetkey.services.calls import Calls
    from valetkey.services.desk import Desk
    from valetkey.services.directory import Directory
    from valetkey.services.events import Events
    from valetkey.services.live import Live
    from valetkey.services.manager import Manager
    from valetkey.services.objects import Objects
    from valetkey.services.relay import Relay

    system = identity.system
    clock, entropy = system.clock, system.entropy
    directory = Directory(instance=instance)
    relay = Relay(
        directory=directory,
        sight=about["sight"],
        clock=clock,
        manager_id=f"manager-{instance}",
        cap=settings.max_message,
        whole=settings.max_message_whole,
        most_pending=settings.max_pending_calls,
        lend=lend,
    )
    live = Live(chain=identity.chain, stops=identity.stops, sight=about["sight"], clock=clock)
    calls = Calls(relay=relay, clock=clock, entropy=entropy, address=f"*/http-{instance}")
    events = Events(relay=relay, directory=directory, server=instance)
    mesh = _mesh(identity, directory, relay, live)
    manager = Manager(
        **about,
        directory=directory,
        relay=relay,
        calls=calls,
        events=events,
        kick=lambda peer, reason: live.kick(peer, reason=reason),
        judge=live.changed,
        mesh=mesh,
    )
    return {
        "directory": directory,
        "relay": relay,
        "live": live,
        "calls": calls,
        "events": events,
        "mesh": mesh,
        "manager": manager,
        "desk": Desk(manager=manager, relay=relay, clock=clock),
        "objects": Objects(table=about["table"], relay=relay, clock=clock, entropy=entropy, base_url=about["base_url"]),
        "reconnections": Reconnections(
            tokens=identity.tokens,
            chain=identity.chain,
            clock=clock,
            lifetime=settings.reconnection_lifetime,
            root=mark_of(identity.settings.root_token),
        ),
    }


def _mesh(identity: Identity, directory: Directory, relay: Relay, live: Live) -> Mesh | None:
    """The way to other instances, where there is a bus."""
    system = identity.system
    if system.bus.channel is None:
        return None
    from valetkey.services.live import REPLACED
    from valetkey.services.mesh import Mesh

    def cut(link: Link) -> None:
        live.kick(link.member.peer, code=REPLACED, reason="This client came back on another connection.")

    return Mesh(
        channel=system.bus.channel,
        directory=directory,
        relay=relay,
        keyring=system.sealer.keyring,
        clock=system.clock,
        entropy=system.entropy,
        cut=cut,
    )


def instance_name(server_id: str, drawn: str) -> str:
    """A process's name as it may stand in a client id."""
    return _UNFIT.sub("-", server_id)[:64] or drawn


async def _sweep(services: Services, identity: Identity) -> None:
    while True:
        await identity.system.clock.sleep(SWEEP_EVERY)
        services.relay.sweep()
