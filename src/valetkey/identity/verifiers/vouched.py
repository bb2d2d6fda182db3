"""A caller named by the host program itself: thread_id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from valetkey.errors import Unauthenticated
from valetkey.identity.chain import Vouch
from valetkey.model.caller import CHAT_USERS, OURS, Owner
from valetkey.model.calls import Presented
from valetkey.secret import Secret

if TYPE_CHECKING:
    from valetkey.model.users import UserInfo  # Pydantic's models load with the first server, not with a Pocket

HOST = "host"
"""The scheme, the issuer and the way of a caller that the host program names."""

WORKSPACE = "local"

LONGEST = 256

CHAT = "chat"
"""The workspace of chat sessions to which nobody signed in: the session itself is the owner."""

VOUCHED = (f"{HOST}|", f"{CHAT}|", f"{CHAT_USERS}|")
"""What the ids begin with by which services are told of those whom a host program names."""


class Named(str):
    """A ``thread_id`` that is a user who signed in: the subject as text, with whose it is.

    No text alone can be one, so that a thread named like a user is never taken for that user.
    """

    __slots__ = ("owner", "user")

    owner: Owner
    user: UserInfo | None


def named(thread_id: str | UserInfo) -> str:
    """What a host program's ``thread_id`` is presented as: itself; or the user, where it is a ``UserInfo``.

    Raises:
        Unauthenticated: it is neither, or a ``UserInfo`` that no verifier vouched for.
    """
    if isinstance(thread_id, str):
        owner_of(thread_id)
        return thread_id
    found = Named(owner_of(thread_id).subject)
    found.owner, found.user = owner_of(thread_id), thread_id
    return found


def in_chat(subject: str, *, workspace: str) -> Named:
    """What a chat presents for a session, or for a user of its app's own sign-in.

    Neither is a thread of the host program's, whatever it is called: they are owners in workspaces of their own.

    Raises:
        Unauthenticated: the subject is no text of 1 to 256 characters.
    """
    subject = owner_of(subject).subject
    found = Named(subject)
    found.owner, found.user = Owner(workspace=workspace, issuer=HOST, subject=subject), None
    return found


def owner_of(thread_id: str | UserInfo) -> Owner:
    """The owner that a host program's ``thread_id`` stands for.

    A text is a thread of the program's own. A ``UserInfo``, such as ``current_user`` gives, is that principal, the
    same owner that they are when they come with their token.

    Raises:
        Unauthenticated: it is no text of 1 to 256 characters, nor a ``UserInfo`` that a verifier vouched for.
    """
    if isinstance(thread_id, Named):
        return thread_id.owner
    if isinstance(thread_id, str):
        if not 0 < len(thread_id) <= LONGEST:
            raise Unauthenticated(f"thread_id has to be a text of 1 to {LONGEST} characters.")
        return Owner(workspace=WORKSPACE, issuer=HOST, subject=thread_id)
    match getattr(thread_id, "_principal", None):
        case (str(issuer), str(subject)) if issuer and subject:
            # Only our own tokens say in which workspace they act (decision 20).
            scope = thread_id.scope if issuer == OURS else None
            workspace = (scope and scope.current_workspace) or thread_id.get_workspace()
            return Owner(workspace=workspace, issuer=issuer, subject=subject)
    raise Unauthenticated(
        f"thread_id has to be a text of 1 to {LONGEST} characters, or a UserInfo of somebody who signed in here, "
        "as current_user gives it."
    )


class Vouched:
    """Takes the host program's word: it is the one user of this process."""

    async def verify(self, presented: Presented) -> Vouch | None:
        """Vouch for the thread or user that the host program names; anything from elsewhere is not mine."""
        value = presented.value
        if presented.scheme != HOST or isinstance(value, Secret):
            return None
        return Vouch(owner=owner_of(value), how=HOST, user=value.user if isinstance(value, Named) else None)
