"""Nobody known: what nobody has to be known for."""

from __future__ import annotations

from valetkey.identity.chain import Vouch
from valetkey.model.caller import ANONYMOUS, Owner
from valetkey.model.calls import NOTHING, Presented
from valetkey.model.users import ANONYMOUS_ROLE, ScopeInfo, UserInfo, UserPermission
from valetkey.model.workspaces import ANONYMOUS_WORKSPACE

ID = "anonymouz-http"
"""What seed 004's clients know such a caller by."""


class Anonymous:
    """Vouches for those who present nothing: they may read in one workspace, which is nobody's."""

    async def verify(self, presented: Presented) -> Vouch | None:
        """None: something was presented."""
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
        return Vouch(owner=Owner(workspace=ANONYMOUS_WORKSPACE, issuer=ANONYMOUS, subject=ID), how=ANONYMOUS, user=user)
