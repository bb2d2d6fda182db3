"""The rooms of RPC, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valetkey.identity.reconnection import Reconnections
    from valetkey.services.calls import Calls
    from valetkey.services.desk import Desk
    from valetkey.services.directory import Directory
    from valetkey.services.events import Events
    from valetkey.services.live import Live
    from valetkey.services.manager import Manager
    from valetkey.services.mesh import Mesh
    from valetkey.services.objects import Objects
    from valetkey.services.relay import Relay
    from valetkey.services.sight import Sight
    from valetkey.services.table import ServiceTable
    from valetkey.settings.sections import Services as Limits


@dataclass(kw_only=True)
class Services:
    """What an RPC client meets, and what HTTP calls. Everything runs on the home loop.

    Attributes:
        table: the server's own services.
        complete: whether clients can connect; else the packages for it are missing, and what is below is not there.
        instance: the name of this process among those of one server.
        calls: the way from HTTP to clients' services.
        objects: the server's own services for RPC.
        live: the sockets that are open here.
        mesh: the way to other instances; None: there are none.
    """

    table: ServiceTable
    sight: Sight
    limits: Limits
    instance: str
    complete: bool = True
    directory: Directory
    relay: Relay
    calls: Calls
    manager: Manager
    desk: Desk
    objects: Objects
    mesh: Mesh | None = None
    reconnections: Reconnections
    live: Live
    events: Events
    _ending: list[Callable[[], Any]] = field(default_factory=list, repr=False)

    @property
    def manager_id(self) -> str:
        """The client id of the workspace manager, in any workspace."""
        return f"manager-{self.instance}"

    @property
    def reserved(self) -> frozenset[str]:
        """Client ids that no client may have, besides those of `RESERVED`."""
        return frozenset({self.table.client})

    def on_close(self, end: Callable[[], Any]) -> None:
        """Call this when it ends, the last one first."""
        self._ending.append(end)

    def leave(self) -> None:
        """Send clients away, to come back once there is a server again; no more are let in."""
        if self.complete:
            self.live.end()

    async def close(self) -> None:
        """End what runs by itself, after the sockets."""
        self.leave()
        while self._ending:
            ended = self._ending.pop()()
            if asyncio.iscoroutine(ended):
                await ended
