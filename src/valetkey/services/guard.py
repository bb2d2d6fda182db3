"""Which client may send what to whom: the relay asks before it passes a message on (contract 1.5)."""

from __future__ import annotations

import re
from collections.abc import Callable

from valetkey.errors import Denied, InvalidArguments, NotFound
from valetkey.model.services import BUILT_IN, RESERVED
from valetkey.model.users import UserPermission
from valetkey.services import reading
from valetkey.services.directory import Directory
from valetkey.services.frames import BadFrame, Message
from valetkey.services.peers import Link
from valetkey.services.sight import Sight

SERVICES = "services."
"""What the name of a service's function begins with; any other was handed out in a call."""

TEXT_KEYS = (
    "Between clients the keys of maps have to be texts: their libraries read no others. With numbers as keys a result"
    " is read over HTTP alone; as texts, str(key), everywhere."
)
"""What is said of a message that has others."""

MOST_PARTS = 64
"""Parts that the name of what was handed out in a call may have."""

_CALLBACK = re.compile(  # the last part, as clients' libraries name what they hand out: nothing inside of it
    r"[^#]+#[^#]+|[^:]+:close|[0-9A-Za-z]{22}|(?=[^0-9]*[0-9])[0-9A-Za-z]{10,}"
)
_NO_FUNCTION = "There is no such function: what a peer hands out is called, and nothing in it."
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
            BadFrame: there can be no such function.
        """
        workspace, service_id = to.partition("/")[0], service_of(method)
        if workspace == "*" or self._is_ours(to):
            return  # one of the server's own decides for itself
        if not service_id and not is_callback(method):
            raise BadFrame(_NO_FUNCTION)
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
            BadFrame: there can be no such function.
        """
        workspace = link.member.workspace
        for given, method in message.references:
            target = given if "/" in given else f"{workspace}/{given}"
            service_id = service_of(method)
            client = target.partition("/")[2]
            if target.startswith("*") or client.startswith(RESERVED) or self._is_ours(target):
                raise Denied("A function of the server's cannot be handed on: each caller asks for it by themselves.")
            if not reading.is_address(target) or not (reading.is_method(method) if service_id else is_callback(method)):
                raise BadFrame(_NO_FUNCTION)  # whoever called it would be cut off for it
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


def is_callback(method: str) -> bool:
    """Whether that can be the name of what a peer handed out in a call."""
    head, _, last = method.rpartition(".")
    plain = 0 < len(method) <= reading.LONGEST_NAME and method.count(".") < MOST_PARTS
    return plain and head != "" and "#" not in head and ":" not in head and _CALLBACK.fullmatch(last) is not None


def service_of(method: str) -> str:
    """The id of the service whose function that is; empty: it was handed out in a call."""
    return method.split(".", 2)[1] if method.startswith(SERVICES) else ""


def absent(peer: str) -> str:
    """That a peer is not there."""
    return f"Target peer {peer} is not connected"


def denied(workspace: str) -> Denied:
    """That a caller may not do that there."""
    return Denied(f"Permission denied for non-public service in workspace {workspace}")
