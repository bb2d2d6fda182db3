"""A ticket that a service was lent for one call: good for the proxy, and for nothing else."""

from __future__ import annotations

from valetkey.errors import Unauthenticated
from valetkey.identity.chain import Vouch
from valetkey.identity.revocation import NOT_GOOD
from valetkey.identity.tokens import Tokens
from valetkey.model.calls import TICKET, Presented
from valetkey.model.lendings import lending_of
from valetkey.model.stops import StopKind
from valetkey.model.tokens import TokenKind
from valetkey.secret import Secret
from valetkey.stops import Stops


class Tickets:
    """Vouches for the caller of a service, to whoever holds the ticket that was made for that call.

    Nothing is remembered: a ticket that ended with its call is not good a moment later, on any instance.
    """

    def __init__(self, tokens: Tokens, stops: Stops) -> None:
        self._tokens = tokens
        self._stops = stops

    async def verify(self, presented: Presented) -> Vouch | None:
        """None: it is presented as something else.

        Raises:
            Unauthenticated: unknown, revoked, over, or made for something else; or the token with which the service
                was called has ended.
            CouldNotTell: the key under which it was hashed is not here.
        """
        if presented.scheme != TICKET:
            return None
        text = presented.value.reveal() if isinstance(presented.value, Secret) else presented.value
        token = await self._tokens.open(text, {TokenKind.TICKET})
        lent = None if token is None else lending_of(token.user)
        if token is None or lent is None:
            raise Unauthenticated(NOT_GOOD)
        if lent.asker and self._stops.why(StopKind.TOKEN, lent.asker) is not None:
            raise Unauthenticated(NOT_GOOD)
        user = token.user
        user._principal = token.owner.issuer, token.owner.subject  # noqa: SLF001 - the note of whom was vouched for
        return Vouch(owner=token.owner, how=TICKET, until=token.expires_at, user=user, token=token.id)
