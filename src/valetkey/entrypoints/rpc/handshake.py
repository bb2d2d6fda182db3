"""The first frame of an RPC client: who it is, where it goes, and whether it may (contract 2.1, 1.5)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from valetkey.errors import Denied, InvalidArguments, Unauthenticated
from valetkey.identity.powers import ROOT, check_general
from valetkey.identity.workspaces import OWN
from valetkey.limits import NEWCOMERS_FROM_ADDRESS
from valetkey.model.caller import ANONYMOUS
from valetkey.model.calls import BEARER, NEWCOMER, Presented
from valetkey.model.hosts import visitor_of
from valetkey.model.services import NAME, RESERVED, peer_of
from valetkey.model.users import UserPermission, includes
from valetkey.model.workspaces import PUBLIC
from valetkey.secret import Secret
from valetkey.services.sight import Who

if TYPE_CHECKING:
    from valetkey.model.caller import Caller
    from valetkey.model.users import UserInfo
    from valetkey.wiring.identity import Identity
    from valetkey.wiring.services import Services

LONGEST = 65_536
"""Characters of the first frame."""

UNREADABLE = "Failed to decode authentication information"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a client says first.

    Attributes:
        workspace: where it wants to be; None: where its token says.
        reconnection: the token that it was given when it was here before.
    """

    client: str
    workspace: str | None = None
    token: Secret | None = None
    reconnection: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A client that may come in.

    Attributes:
        user: who it is, as services are told.
        counts: the user for whose sockets it counts.
        returns: whether it comes back to its own place.
    """

    who: Who
    client: str
    user: dict[str, Any] = field(repr=False)
    counts: str
    returns: bool = False


def read_first(text: str) -> Asked:
    """The first frame.

    Raises:
        InvalidArguments: it is none.
    """
    if len(text) > LONGEST:
        raise InvalidArguments(UNREADABLE)
    try:
        given = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise InvalidArguments(UNREADABLE) from None
    if not isinstance(given, dict):
        raise InvalidArguments(f"{UNREADABLE}: it is a JSON object.")
    client = given.get("client_id")
    if not isinstance(client, str) or NAME.fullmatch(client) is None:
        raise InvalidArguments(
            "client_id is of the characters A-Z, a-z, 0-9, low line, dot, tilde, | and hyphen, at most 128 of them."
        )
    workspace = _text(given, "workspace")
    token, reconnection = _text(given, "token"), _text(given, "reconnection_token")
    token = token.removeprefix("Bearer ") if token else None
    return Asked(
        client=client,
        workspace=workspace,
        token=Secret(token) if token else None,
        reconnection=Secret(reconnection) if reconnection else None,
    )


def _text(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidArguments(f"{name} is a text, or null.")
    return value or None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


class Handshake:
    """Decides who may come in. For use on the home loop."""

    def __init__(self, identity: Identity, services: Services) -> None:
        self._identity = identity
        self._services = services

    async def admit(self, asked: Asked, *, address: str, agent: str) -> Admitted:
        """Who it is, and where.

        Raises:
            Unauthenticated, Denied, NotFound, InvalidArguments: it may not come in.
            CouldNotTell, StoreUnavailable, RateLimited: not now.
        """
        if asked.client.startswith(RESERVED) or asked.client in self._services.reserved:
            raise InvalidArguments(f"The client id {asked.client} is the server's own. Choose another one.")
        caller, workspace, returns = await self._caller(asked, address=address)
        held = await self._enters(caller, workspace)
        counts = _counted(caller, address)
        self.check(caller, workspace, asked.client, counts, returns=returns)
        who = Who(
            caller=caller,
            workspace=workspace,
            address=address,
            agent=agent,
            peer=peer_of(workspace, asked.client),
        )
        return Admitted(who=who, client=asked.client, user=_told(who, held), counts=counts, returns=returns)

    def check(self, caller: Caller, workspace: str, client: str, counts: str, *, returns: bool) -> None:
        """Whether there is a place: at once before it is taken, too, as others come meanwhile.

        Raises:
            Denied: one of that name is there, or there are too many.
        """
        peer, limits = peer_of(workspace, client), self._services.limits
        there = self._services.directory.member(peer)
        if there is not None and not (returns and there.principal == caller.principal):
            raise Denied(f"Client already exists and is active: {peer}")
        if there is None and self._services.directory.count(workspace) >= limits.max_clients_per_workspace:
            raise Denied(
                f"The workspace {workspace} has {limits.max_clients_per_workspace} clients, and no more may come."
            )
        if there is None and self._services.live.count(counts) >= limits.max_connections_per_user:
            raise Denied(
                f"You have {limits.max_connections_per_user} connections here. Close one that you do not need."
            )

    async def _caller(self, asked: Asked, *, address: str) -> tuple[Caller, str, bool]:
        """Who presents it, where they go, and whether they come back there."""
        chain = self._identity.chain
        if asked.reconnection is not None:
            try:
                caller, workspace = await self._services.reconnections.redeem(
                    asked.reconnection, asked.workspace, asked.client, address=address
                )
            except Unauthenticated:
                if asked.token is None:
                    raise
            else:
                return caller, workspace, True
        if asked.token is None:
            await self._identity.limits.take(NEWCOMERS_FROM_ADDRESS, address)
            caller = await chain.identify(Presented(scheme=NEWCOMER, value="", address=address))
        else:
            caller = await chain.identify(Presented(scheme=BEARER, value=asked.token, address=address))
        return caller, _goes_to(caller, asked), False

    async def _enters(self, caller: Caller, workspace: str) -> UserPermission:
        """What the caller may do there; the workspace is made where it is not there yet."""
        check_general(caller)
        user = caller.user
        held = await self._identity.workspaces.permission(caller, workspace)
        if held is not None and user is not None and user.is_anonymous and workspace == _passing(user):
            return held  # for as long as somebody is there: nothing is kept of it
        if workspace == PUBLIC and not includes(held, UserPermission.read_write):
            own = "your own workspace" if user is None or user.is_anonymous else user.get_workspace()
            raise Denied(
                f"The workspace {PUBLIC} is the server's own: connect to {own}, or name none. Services that are public"
                " are seen from every workspace."
            )
        await self._identity.workspaces.ensure(caller, workspace)
        held = held or await self._identity.workspaces.permission(caller, workspace)
        if held is None or not includes(held, UserPermission.read):
            raise Denied(f"Permission denied for workspace: {workspace}")
        return held


def _goes_to(caller: Caller, asked: Asked) -> str:
    """The workspace that is asked for, or that of the token, or the user's own.

    Raises:
        InvalidArguments: the token is for another client, or another workspace.
    """
    user = caller.user
    if user is None:
        raise Denied("Only users can connect. Present a token.")
    scope = user.scope
    only = None if scope is None else scope.client_id
    if only and only != asked.client:
        raise InvalidArguments(f"Client id mismatch: this token is restricted to client with client_id='{only}'")
    bound = None if scope is None or caller.how in (ROOT, ANONYMOUS) else scope.current_workspace
    if bound and asked.workspace not in (None, bound):
        raise InvalidArguments(
            f"Current workspace encoded in the token ({bound}) does not match the specified workspace"
            f" ({asked.workspace})"
        )
    return asked.workspace or bound or user.get_workspace()


def _passing(user: UserInfo) -> str:
    """The workspace of somebody unknown, and of the programs that they gave a token."""
    return f"{OWN}{user.get_effective_user_id()}"


def _counted(caller: Caller, address: str) -> str:
    """For whom a socket counts; who presents nothing is somebody else each time, and counts for their address."""
    user = caller.user
    if user is not None and user.is_anonymous:
        return f"address\0{visitor_of(address)}"
    return "\0".join(caller.principal)


def _told(who: Who, held: UserPermission) -> dict[str, Any]:
    """The user as services are told: in this workspace, with what they may do there."""
    user = who.user
    user["current_workspace"] = who.workspace
    scope = user.get("scope")
    if isinstance(scope, dict):
        scope["workspaces"] = {**(scope.get("workspaces") or {}), who.workspace: held.value}
    return user
