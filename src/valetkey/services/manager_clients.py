"""The workspace manager's functions for clients: who is there, whether they answer, and what they are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from valetkey.errors import Denied, ValetkeyError
from valetkey.model.audit import Action, Entry
from valetkey.model.users import UserPermission
from valetkey.services.asking import need, number, text
from valetkey.services.failures import RemoteFailure
from valetkey.services.sight import Sight, Who
from valetkey.services.turns import Turns

if TYPE_CHECKING:
    from valetkey.audit import Audit
    from valetkey.model.services import Member
    from valetkey.services.directory import Directory
    from valetkey.services.events import Events
    from valetkey.services.manager_services import Asks

LONGEST_LINE = 4000
"""Characters of a message for the log."""

MOST_AT_ONCE = 50
"""Clients that are pinged side by side."""

_SHOWN = ("id", "email", "roles", "is_anonymous", "parent")
_log = logging.getLogger("valetkey.services")


class Kicks(Protocol):
    """Ends clients' sockets, on whichever instance."""

    def __call__(self, peer: str, reason: str) -> None:
        """End that of one client, where it is there."""
        ...


class ClientFunctions:
    """What callers do with clients.

    Args:
        directory, calls, events: of connected clients; None: none can connect.
    """

    def __init__(
        self,
        *,
        sight: Sight,
        directory: Directory | None,
        calls: Asks | None,
        events: Events | None,
        kick: Kicks,
        audit: Audit,
    ) -> None:
        self._sight = sight
        self._directory = directory
        self._calls = calls
        self._events = events
        self._kick = kick
        self._audit = audit
        self._cleanups = Turns()

    def functions(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {
            "list_clients": self.list_clients,
            "ping_client": self.ping_client,
            "cleanup": self.cleanup,
            "subscribe": self.subscribe,
            "unsubscribe": self.unsubscribe,
            "echo": self.echo,
            "ping": self.ping,
            "log": self.log,
        }

    async def list_clients(self, workspace: str | None = None, *, who: Who) -> list[dict[str, Any]]:
        """Connected clients, ``{"id": "workspace/client", "user": {...}}``.

        Args:
            workspace: of which; by default the caller's.
            who: the caller.

        Raises:
            Denied: the caller may not read there.
        """
        place = who.workspace if workspace is None else text(workspace, "workspace")
        await need(self._sight, who, place, UserPermission.read)
        return [
            {"id": each.peer, "user": {name: each.user[name] for name in _SHOWN if name in each.user}}
            for each in self.members(place)
        ]

    async def ping_client(self, client_id: str, timeout: float = 5, *, who: Who) -> str:
        """``pong``, or in a sentence why not.

        Args:
            client_id: ``client``, or ``workspace/client``.
            timeout: seconds.
            who: the caller.

        Raises:
            Denied: the caller may not read in that workspace.
        """
        place, slash, client = text(client_id, "client_id").rpartition("/")
        place = place if slash else who.workspace
        await need(self._sight, who, place, UserPermission.read)
        return await self._pinged(f"{place}/{client}", number(timeout, "timeout", least=0.001, most=60))

    async def cleanup(self, workspace: str | None = None, timeout: float = 5, *, who: Who) -> dict[str, Any]:
        """Cut off clients that do not answer; ``{"removed_clients": [...]}`` where there were such.

        Args:
            workspace: of which; by default the caller's.
            timeout: seconds for each.
            who: the caller.

        Raises:
            Denied: the caller is no admin there.
            RateLimited: too many such questions of the caller wait.
        """
        place = who.workspace if workspace is None else text(workspace, "workspace")
        await need(self._sight, who, place, UserPermission.admin)
        wait = number(timeout, "timeout", least=0.001, most=60)
        async with self._cleanups.of(who):
            gone = await self._silent([each.peer for each in self.members(place)], wait)
        for peer in gone:
            entry = Entry(action=Action.CLIENT_CUT, workspace=place, what=peer, details={"reason": "it did not answer"})
            await self._audit.note(entry.by(who.caller))
            self._kick(peer, "This client did not answer.")
        return {"removed_clients": gone} if gone else {}

    async def subscribe(self, event_type: str | Sequence[str], *, who: Who) -> bool:
        """Be told of events of the caller's workspace: client_connected, client_disconnected, service_added, ….

        Raises:
            Denied: the caller is no connected client.
            InvalidArguments: there is no such event.
        """
        self._of_clients().subscribe(who.peer, event_type)
        return True

    async def unsubscribe(self, event_type: str | Sequence[str], *, who: Who) -> bool:
        """Be told of them no more.

        Raises:
            Denied: there are no connected clients.
            InvalidArguments: there is no such event.
        """
        self._of_clients().unsubscribe(who.peer, event_type)
        return True

    async def echo(self, data: Any = None, *, who: Who) -> Any:
        """The same back."""
        return data

    async def ping(self, *, who: Who) -> str:
        """``pong``."""
        return "pong"

    async def log(self, msg: str, *, who: Who) -> None:
        """A line in the server's log.

        Raises:
            Denied: the caller may not write in its workspace.
        """
        await need(self._sight, who, who.workspace, UserPermission.read_write)
        line = text(msg, "msg", longest=LONGEST_LINE)
        _log.info("%s says: %r", who.peer or who.workspace, line)

    def members(self, workspace: str) -> list[Member]:
        """Clients that are connected."""
        return [] if self._directory is None else self._directory.members(workspace)

    async def _silent(self, peers: Sequence[str], wait: float) -> list[str]:
        gone: list[str] = []
        for start in range(0, len(peers), MOST_AT_ONCE):
            some = peers[start : start + MOST_AT_ONCE]
            answers = await asyncio.gather(*(self._pinged(peer, wait) for peer in some))
            gone += [peer for peer, answer in zip(some, answers, strict=True) if answer != "pong"]
        return gone

    async def _pinged(self, peer: str, wait: float) -> str:
        if self._calls is None or self._directory is None or self._directory.member(peer) is None:
            return f"Failed to ping client {peer}: it is not connected."
        try:
            answer = await self._calls.call_raw(peer, "services.built-in.ping", ["ping"], deadline=wait)
        except (ValetkeyError, RemoteFailure, TimeoutError) as error:
            return f"Failed to ping client {peer}: {str(error)[:200] or 'it did not answer in time.'}"
        return "pong" if answer == "pong" else f"Failed to ping client {peer}: it gave another answer."

    def _of_clients(self) -> Events:
        if self._events is None:
            raise Denied("Only a connected client can subscribe to events.")
        return self._events
