"""Which client may send what to whom: the relay asks before it passes a message on (contract 1.5)."""

from __future__ import annotations

import re
from collections.abc import Callable

from valetkey.errors import Denied, InvalidArguments, NotFound
from valetkey.model.services import BUILT_IN
from valetkey.model.users import UserPermission
from valetkey.services.directory import Directory
from valetkey.services.frames import Message
from valetkey.services.peers import Link
from valetkey.services.sight import Sight

SERVICES = "services."
"""What the name of a service's function begins with; any other was handed out in a call."""

_CALLBACK = re.compile(  # as clients' libraries name what they hand out: nothing inside of it
    r"[^#:]+\.(?:[^.#]+#[^.]+|[^.:]+:close|[0-9A-Za-z]{22}|(?=[^0-9]*[0-9])[0-9A-Za-z]{10,})"
)
_SHARED_OUT = "_rintf_"


class Guard:
    """Answers from the directory and from `Sight`. For use on the home loop.

    Args:
        is_ours: whether that is the address of a peer of the server's own, on whichever instance.
    """

    def __init__(self, *, directory: Directory, sight: Sight, is_ours: Callable[[str], bool]) -> None:
        self._directory = directory
        self._sight = sight
        self._is_ours = is_ours

    async def check(self, link: Link, to: str, method: str) -> None:
        """Whether this client may call that of that peer.

        Raises:
            Denied, NotFound: it may not.
        """
        workspace, service_id = to.partition("/")[0], service_of(method)
        if workspace == "*" or self._is_ours(to):
            return  # one of the server's own decides for itself
        if not service_id and not _CALLBACK.fullmatch(method):
            raise NotFound("There is no such function: what a peer hands out is called, and nothing in it.")
        if workspace == link.member.workspace:
            return
        if not service_id or service_id == BUILT_IN or service_id.startswith(_SHARED_OUT):
            if to in link.talked:  # of those who have to do with each other
                return
            raise denied(workspace) if service_id == BUILT_IN else NotFound(absent(to))
        service = self._directory.service(to, service_id)
        if service is None:
            raise NotFound(f"Service not found: {to}:{service_id}")
        if not await self._sight.may_use(
            link.who,
            workspace=service.workspace,
            visibility=service.visibility,
            authorized_workspaces=service.authorized_workspaces,
        ):
            raise denied(workspace)
        link.knows(to)

    async def check_references(self, link: Link, message: Message) -> None:
        """Whoever gets a function calls it with their own permission: its sender must be able to call it, too.

        Raises:
            Denied, NotFound: it may not.
        """
        workspace = link.member.workspace
        for given, method in message.references:
            target = given if "/" in given else f"{workspace}/{given}"
            service_id = service_of(method)
            if target.startswith("*") or (service_id and self._is_ours(target)):
                raise Denied("A function of the server's cannot be handed on: each caller asks for it by themselves.")
            if service_id and target != message.sender and not service_id.startswith(_SHARED_OUT):
                await self.check(link, target, method)

    async def check_broadcast(self, link: Link, message: Message) -> None:
        """Whether this client may send that to all in a workspace.

        Raises:
            InvalidArguments: nobody may send such a one.
            Denied: it may only read there.
        """
        workspace = link.member.workspace
        if message.to != f"{workspace}/*" or message.promised:
            raise InvalidArguments("A message to all goes to the sender's own workspace, and waits for no reply.")
        if not await self._sight.may(link.who, workspace, UserPermission.read_write):
            raise denied(workspace)


def service_of(method: str) -> str:
    """The id of the service whose function that is; empty: it was handed out in a call."""
    return method.split(".", 2)[1] if method.startswith(SERVICES) else ""


def absent(peer: str) -> str:
    """That a peer is not there."""
    return f"Target peer {peer} is not connected"


def denied(workspace: str) -> Denied:
    """That a caller may not do that there."""
    return Denied(f"Permission denied for non-public service in workspace {workspace}")
