"""A host program's own parser."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from valetkey.errors import Unauthenticated
from valetkey.identity.chain import UNKNOWN, Verifier, Vouch
from valetkey.identity.plugin import AuthPlugin, Parsed
from valetkey.identity.powers import ROOT
from valetkey.model.accounts import PREFIX
from valetkey.model.caller import CUSTOM, OURS, Owner
from valetkey.model.calls import BEARER, Presented
from valetkey.model.users import ADMIN_ROLE, ScopeInfo, UserInfo, UserPermission
from valetkey.ports.world import Clock
from valetkey.secret import Secret

EXPIRED = "The token has expired. Please fetch a new one"

_NOT_A_USER = "This program's own parser named a user who cannot be one of its own. Ask who runs this server."


class Custom:
    """Asks the parsers of ``register_auth_service`` about tokens that nobody before knew.

    Args:
        plugin: what was registered.
        clock: by it a user's ``expires_at`` has come.
        alone: stands before all others, and answers only while a parser is exclusive: then it knows every token.
        reserved: what ids of a parser's users must not begin with, such as ``local|`` and ``<issuer alias>|``.
    """

    def __init__(
        self,
        plugin: AuthPlugin,
        *,
        clock: Clock,
        alone: bool = False,
        reserved: Collection[str] = (),
    ) -> None:
        self._plugin = plugin
        self._clock = clock
        self._alone = alone
        self._reserved = tuple(reserved)

    async def verify(self, presented: Presented) -> Vouch | None:
        """Vouch for whom the parsers name.

        Raises:
            Unauthenticated: a parser refused the token, or its user ended or cannot be one of a parser's.
            CouldNotTell: a parser asked us, and it cannot be told now.
        """
        if presented.scheme != BEARER or (self._alone and not self._plugin.exclusive):
            return None
        text = presented.value.reveal() if isinstance(presented.value, Secret) else presented.value
        parsed = await self._plugin.parse(text)
        if parsed is None:
            if self._alone:
                raise Unauthenticated(UNKNOWN)
            return None
        return self._vouch(parsed, text)

    def _vouch(self, parsed: Parsed, text: str) -> Vouch:
        user, known = parsed.user, parsed.caller
        given = user._principal  # noqa: SLF001
        principal = given or (CUSTOM, user.id)
        ours = user.id == ROOT or user.id.startswith(PREFIX)
        if (
            (ours and principal != (OURS, user.id))
            or (given is None and user.id.startswith(self._reserved))
            or not user.id.isprintable()
            or user.id != user.id.strip()
        ):
            raise Unauthenticated(_NOT_A_USER)
        ends = [end for end in (user.expires_at, None if known is None else known.until) if end is not None]
        until = min(ends, default=None)
        if until is not None and not self._clock.now() < until:
            raise Unauthenticated(EXPIRED)
        if given is None:
            user._principal = principal  # noqa: SLF001
            _widen(user)
        issuer, subject = principal
        how = CUSTOM if known is None else known.how
        workspace = user.get_workspace() if known is None else known.owner.workspace
        return Vouch(
            owner=Owner(workspace=workspace, issuer=issuer, subject=subject),
            how=how,
            until=until,
            user=user,
            token=(known.token if known is not None else "")
            or hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        )


def around(
    plugin: AuthPlugin,
    verifiers: Sequence[Verifier],
    *,
    clock: Clock,
    reserved: Collection[str] = (),
) -> list[Verifier]:
    """The order of decision 22: ours and configured issuers, then the parsers; these alone while one is exclusive."""
    return [
        Custom(plugin, clock=clock, alone=True, reserved=reserved),
        *verifiers,
        Custom(plugin, clock=clock, reserved=reserved),
    ]


def _widen(user: UserInfo) -> None:
    """What everybody may: all in their own workspace, and an admin everywhere (contract 1.2)."""
    if user.is_anonymous:
        return
    user.scope = user.scope or ScopeInfo()
    user.scope.workspaces[user.get_workspace()] = UserPermission.admin
    if ADMIN_ROLE in user.roles:
        user.scope.workspaces["*"] = UserPermission.admin
