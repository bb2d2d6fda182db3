"""Nobody known: what nobody has to be known for."""

from __future__ import annotations

from valetkey.identity.chain import Vouch
from valetkey.model.caller import ANONYMOUS, Owner
from valetkey.model.calls import NEWCOMER, NOTHING, Presented
from valetkey.model.users import ANONYMOUS_ROLE, ScopeInfo, UserInfo, UserPermission
from valetkey.model.workspaces import ANONYMOUS_WORKSPACE
from valetkey.ports.world import Entropy

ID = "anonymouz-http"
"""What seed 004's clients know such a caller by."""


KEEP = 60.0
"""Seconds for which it is remembered who that is: the same for everybody."""

BEGINNING = "anonymouz-"
"""What the ids of those begin with who present nothing."""


class Anonymous:
    """Vouches for those who present nothing: they may read in one workspace, which is nobody's.

    On a socket each has a workspace of their own, for as long as they are there.

    Args:
        entropy: for their ids; None: there are no sockets.
    """

    def __init__(self, entropy: Entropy | None = None) -> None:
        self._entropy = entropy

    async def verify(self, presented: Presented) -> Vouch | None:
        """None: something was presented."""
        if presented.scheme == NEWCOMER and self._entropy is not None:
            return _newcomer(f"{BEGINNING}{self._entropy.token(12)}")
        if presented.scheme != NOTHING:
            return None
        user = UserInfo(
            id=ID,
            roles=[ANONYMOUS_ROLE],
            is_anonymous=True,
            scope=ScopeInfo(
                current_workspace=ANONYMOUS_WORKSPACE, workspaces={ANONYMOUS_WORKSPACE: UserPermission.read}
            ),
            current_workspace=ANONYMOUS_WORKSPACE,
        )
        user._principal = ANONYMOUS, ID  # noqa: SLF001 - the note for verifiers of whom they vouched for
        owner = Owner(workspace=ANONYMOUS_WORKSPACE, issuer=ANONYMOUS, subject=ID)
        return Vouch(owner=owner, how=ANONYMOUS, user=user, keep=KEEP)


def _newcomer(name: str) -> Vouch:
    user = UserInfo(id=name, roles=[ANONYMOUS_ROLE], is_anonymous=True)
    own = user.current_workspace = user.get_workspace()
    user.scope = ScopeInfo(current_workspace=own, workspaces={own: UserPermission.admin})
    user._principal = ANONYMOUS, name  # noqa: SLF001 - as above
    return Vouch(owner=Owner(workspace=own, issuer=ANONYMOUS, subject=name), how=ANONYMOUS, user=user)
