"""The workspace manager (``ws``): what clients, HTTP callers and startup functions ask of a workspace."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from valetkey.model.services import Registered
from valetkey.services.choosing import Chooser
from valetkey.services.environs import Environs
from valetkey.services.finding import Finder, Found
from valetkey.services.manager_clients import ClientFunctions
from valetkey.services.manager_services import MOST_SERVICES, Asks, ServiceFunctions
from valetkey.services.manager_tokens import TokenFunctions
from valetkey.services.manager_workspaces import WorkspaceFunctions
from valetkey.services.references import reference, schema_of
from valetkey.services.sight import Sight, Who
from valetkey.services.table import Service, ServiceTable

if TYPE_CHECKING:
    from valetkey.audit import Audit
    from valetkey.identity.chain import Chain
    from valetkey.identity.plugin import AuthPlugin
    from valetkey.identity.tokens import Tokens
    from valetkey.identity.workspaces import Workspaces
    from valetkey.limits import Limits
    from valetkey.ports.world import Entropy
    from valetkey.services.directory import Directory
    from valetkey.services.events import Events
    from valetkey.services.relay import Relay
    from valetkey.vault.seal import Sealer

MANAGER = "ws"
"""Its name over HTTP."""

DEFAULT = "default"
"""Its name over RPC."""

_MEASURED_WITHIN = 2.0  # seconds that a service has to answer when it is chosen among several
_NAME, _DESCRIPTION = "Workspace manager", "Services for managing workspace."
_SUMMED_UP = ("id", "name", "type", "description", "config")
_KICK, _DELETED, _CHANGED = "kick", "workspace_deleted", "workspace_changed"  # what instances tell each other

_log = logging.getLogger("valetkey.services")


def _nobody(peer: str, reason: str) -> None:
    """Nobody is there to be sent away."""


def _any_provider(name: str) -> None:
    """What there is, is not known here."""


async def _no_sockets(workspace: str) -> None:
    """Nobody is there to be judged."""


class Others(Protocol):
    """The other instances of this server (``services/mesh.py``)."""

    def tell(self, kind: str, /, **facts: Any) -> None:
        """Tell all of them something."""
        ...

    def on(self, kind: str, handler: Callable[..., Any]) -> None:
        """What another one tells is handed to that."""
        ...

    async def settle(self) -> None:
        """Return once what they have announced is known here."""
        ...


class Manager(ServiceFunctions, ClientFunctions, WorkspaceFunctions, TokenFunctions):
    """Every function decides for itself who may call it, by the `Who` that the server says; for use on the home loop.

    Args:
        table: the server's own services.
        directory, relay, calls, events: of connected clients; None: none can connect.
        limits: how often a user may revoke tokens.
        base_url: where browsers find us, with the prefix of our paths.
        most_services: that one client may register.
        kick: ends the socket of a client of this instance: its address, and why.
        judge: ends those of a workspace's clients on this instance that have no part in it any more.
        mesh: the other instances; None: there are none.
        provided: refuses a provider of which there is none here.
    """

    def __init__(
        self,
        *,
        tokens: Tokens,
        chain: Chain,
        plugin: AuthPlugin,
        limits: Limits,
        audit: Audit,
        workspaces: Workspaces,
        sealer: Sealer,
        table: ServiceTable,
        sight: Sight,
        entropy: Entropy,
        base_url: Callable[[], str],
        directory: Directory | None = None,
        relay: Relay | None = None,
        calls: Asks | None = None,
        events: Events | None = None,
        most_services: int = MOST_SERVICES,
        kick: Callable[[str, str], object] = _nobody,
        judge: Callable[[str], Awaitable[None]] = _no_sockets,
        mesh: Others | None = None,
        provided: Callable[[str], object] = _any_provider,
    ) -> None:
        chooser = Chooser(
            entropy=entropy,
            load=lambda peer: 0 if relay is None else relay.waiting(peer),
            is_here=lambda peer: relay is not None and relay.link(peer) is not None,
            measure=self._measured,
        )
        ServiceFunctions.__init__(
            self,
            finder=Finder(table=table, directory=directory, sight=sight, chooser=chooser, mesh=mesh),
            sight=sight,
            base_url=base_url,
            directory=directory,
            relay=relay,
            calls=calls,
            most_services=most_services,
            provided=provided,
        )
        ClientFunctions.__init__(
            self, sight=sight, directory=directory, calls=calls, events=events, kick=self._kicked, audit=audit
        )
        WorkspaceFunctions.__init__(
            self,
            workspaces=workspaces,
            sight=sight,
            environs=Environs(sealer),
            limits=limits,
            deleted=self._left_behind,
            changed=self._has_other_owners,
        )
        TokenFunctions.__init__(
            self, tokens=tokens, chain=chain, permission_of=workspaces.permission, plugin=plugin, limits=limits
        )
        self._end = kick
        self._judge = judge
        self._mesh = mesh
        if mesh is not None:
            mesh.on(_KICK, self._end)
            mesh.on(_DELETED, self._end_clients)
            mesh.on(_CHANGED, judge)
        self._offered: dict[str, Callable[..., Any]] = {
            **ServiceFunctions.functions(self),
            **ClientFunctions.functions(self),
            **WorkspaceFunctions.functions(self),
            **TokenFunctions.functions(self),
            "get_summary": self.get_summary,
        }

    def functions(self) -> dict[str, Callable[..., Any]]:
        """What it offers, by name; each takes the caller as ``who``."""
        return dict(self._offered)

    def schema(self) -> dict[str, Any]:
        """The same as a ``service_schema``."""
        schema = schema_of(self._offered)
        for each in schema.values():
            each["function"]["description"] = _for_callers(each["function"]["description"])
        return schema

    def service(self, workspace: str) -> Service:
        """The same for HTTP, in every workspace."""
        return Service(
            id=MANAGER,
            workspace=workspace,
            type="functions",
            functions=self._offered,
            name=_NAME,
            description=_DESCRIPTION,
            visibility="public",
            ours=frozenset(self._offered),
        )

    def described(self, address: str | None) -> dict[str, Any]:
        """The manager itself: with a reference for each function at that address; without one, to be read of."""
        schema = self.schema()
        facts = {
            "id": f"{address or MANAGER}:{DEFAULT}",
            "name": _NAME,
            "type": "workspace-manager",
            "description": _DESCRIPTION,
            "config": {"visibility": "public", "require_context": True, "workspace": "*"},
            "service_schema": schema,
        }
        if address is None:
            return facts
        for name, each in schema.items():
            docs, method = each["function"]["description"], f"services.{DEFAULT}.{name}"
            facts[name] = reference(address, method, name=name, docs=docs, schema=each["function"])
        return facts

    async def resolve(self, query: str, who: Who, *, mode: str | None = None) -> Found:
        """The one service that is meant, of those that this caller may use: see `Finder.resolve`.

        Raises:
            NotFound: there is none.
            Denied: there is, and not for this caller.
            InvalidArguments: the query or the mode can be none, or several fit.
        """
        return await self._finder.resolve(query, who, mode=mode)

    async def matching(self, query: object, who: Who) -> list[Found]:
        """Services that the caller may know of: see `Finder.matching`.

        Raises:
            Denied: unlisted ones of another workspace were asked for.
            InvalidArguments: the query can be none.
        """
        return await self._finder.matching(query, who)

    async def get_summary(self, *, who: Who) -> dict[str, Any]:
        """The caller's workspace: its name, its clients, and those of its services that the caller may know of.

        Raises:
            Denied: the caller may not read there.
        """
        row = await self._workspaces.get(who.caller, who.workspace)
        clients = [each.peer for each in self.members(who.workspace)]
        services = await self.list_services(who=who)
        return {
            "name": row.name,
            "description": row.description,
            "client_count": len(clients),
            "clients": clients,
            "service_count": len(services),
            "services": [{name: each[name] for name in _SUMMED_UP if name in each} for each in services],
        }

    def _kicked(self, peer: str, reason: str) -> None:
        self._end(peer, reason)
        if self._mesh is not None:
            self._mesh.tell(_KICK, peer=peer, reason=reason)

    async def _left_behind(self, workspace: str) -> None:
        await self.end_tokens_of(workspace)
        self._end_clients(workspace)
        if self._mesh is not None:
            self._mesh.tell(_DELETED, workspace=workspace)

    async def _has_other_owners(self, workspace: str) -> None:
        if self._mesh is not None:
            self._mesh.tell(_CHANGED, workspace=workspace)
        await self._judge(workspace)

    def _end_clients(self, workspace: str) -> None:
        self.forget_workspace(workspace)
        for member in self.members(workspace):
            self._end(member.peer, f"The workspace {workspace} was deleted.")

    async def _measured(self, service: Registered, function: str, who: Who) -> Any:
        if self._calls is None:
            return None
        try:
            return await self._calls.call(service, function.split("."), (), {}, who, deadline=_MEASURED_WITHIN)
        except Exception as error:  # noqa: BLE001 - of whatever kind: then another one is chosen
            _log.info("%s did not answer when it was to be chosen: %s", service.full_id, type(error).__name__)
            return None


def _for_callers(docs: str) -> str:
    """A docstring without what only this process needs to know."""
    lines = docs.partition("\n\nRaises:")[0].splitlines()
    return "\n".join(line for line in lines if not line.startswith("    who: "))
