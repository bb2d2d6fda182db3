"""A caller named by the host program itself: thread_id."""

from __future__ import annotations

from valetkey.errors import Unauthenticated
from valetkey.identity.chain import Vouch
from valetkey.model.caller import Owner
from valetkey.model.calls import Presented
from valetkey.secret import Secret

HOST = "host"
"""The scheme, the issuer and the way of a caller that the host program names."""

WORKSPACE = "local"

LONGEST = 256


def owner_of(thread_id: str) -> Owner:
    """The owner that a host program's ``thread_id`` stands for.

    Raises:
        Unauthenticated: it is no text of 1 to 256 characters.
    """
    if not isinstance(thread_id, str) or not 0 < len(thread_id) <= LONGEST:
        raise Unauthenticated(f"thread_id has to be a text of 1 to {LONGEST} characters.")
    return Owner(workspace=WORKSPACE, issuer=HOST, subject=thread_id)


class Vouched:
    """Takes the host program's word: it is the one user of this process."""

    async def verify(self, presented: Presented) -> Vouch | None:
        """Vouch for the thread that the host program names; anything from elsewhere is not mine."""
        if presented.scheme != HOST or isinstance(presented.value, Secret):
            return None
        return Vouch(owner=owner_of(presented.value), how=HOST)
