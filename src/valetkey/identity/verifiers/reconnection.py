"""A client that comes back: good for as long as what it first came with."""

from __future__ import annotations

import hmac

from valetkey.errors import Unauthenticated
from valetkey.identity.chain import Vouch
from valetkey.identity.powers import ROOT
from valetkey.identity.revocation import NOT_GOOD
from valetkey.identity.tokens import Tokens
from valetkey.model.caller import ANONYMOUS, OURS
from valetkey.model.calls import RECONNECTION, Presented
from valetkey.model.tokens import Token, TokenKind
from valetkey.ports.world import Clock
from valetkey.secret import Secret


class Reconnection:
    """Vouches for clients that come back, by the token behind their reconnection token.

    Args:
        tokens: what we issued.
        clock: by it tokens end.
        root: what stands for the root token (`mark_of`); empty: there is none.
    """

    def __init__(self, tokens: Tokens, *, clock: Clock, root: str = "") -> None:
        self._tokens = tokens
        self._clock = clock
        self._root = root

    async def verify(self, presented: Presented) -> Vouch | None:
        """None: it is none.

        Raises:
            Unauthenticated: it is not good, or the token behind it is not.
            CouldNotTell: our keys cannot be read now.
        """
        if presented.scheme != RECONNECTION:
            return None
        text = presented.value.reveal() if isinstance(presented.value, Secret) else presented.value
        row = await self._tokens.open(text, {TokenKind.RECONNECTION})
        if row is None:
            raise Unauthenticated(NOT_GOOD)
        return await self._vouch(row)

    async def _vouch(self, row: Token) -> Vouch:
        """As the token behind it would be vouched for now."""
        user = row.user
        user._principal = row.owner.issuer, row.owner.subject  # noqa: SLF001 - the note of whom was vouched for
        if row.owner.issuer == ANONYMOUS:
            user.expires_at = None
            return Vouch(owner=row.owner, how=ANONYMOUS, user=user)
        if (row.owner.issuer, row.owner.subject) == (OURS, ROOT):
            if not self._root or not hmac.compare_digest(row.name.encode(), self._root.encode()):
                raise Unauthenticated(NOT_GOOD)
            user.expires_at = None
            return Vouch(owner=row.owner, how=ROOT, user=user)
        parent = await self._tokens.find(row.parent) if row.parent else None
        now = self._clock.now()
        if parent is None or parent.revoked_at is not None or (parent.expires_at or now + 1) <= now:
            raise Unauthenticated(NOT_GOOD)
        user.expires_at = parent.expires_at
        return Vouch(owner=row.owner, how=parent.kind.value, until=parent.expires_at, user=user, token=parent.id)
