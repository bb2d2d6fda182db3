"""Reconnection tokens: a client comes back to its own place, for as long as the token that it first came with."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from valetkey.errors import InvalidArguments, Unauthenticated
from valetkey.identity.powers import ROOT
from valetkey.identity.revocation import NOT_GOOD
from valetkey.identity.tokens import RECONNECTION_LIFETIME
from valetkey.model.caller import ANONYMOUS, OURS
from valetkey.model.calls import RECONNECTION, Presented
from valetkey.model.tokens import TokenKind
from valetkey.protocol import apikey, jwt
from valetkey.secret import Secret

if TYPE_CHECKING:
    from valetkey.identity.chain import Chain
    from valetkey.identity.tokens import Tokens
    from valetkey.model.caller import Caller
    from valetkey.ports.world import Clock

SAME_FOR = 60.0
"""Seconds for which a client that asks again is given the same one."""

ANONYMOUS_LIFETIME = 600.0
"""Seconds that one of somebody unknown lives, at most: there is nothing of theirs to come back to for longer."""

REMEMBERED = 10_000
"""Clients whose last one is remembered for that long."""

_Issued = tuple[Secret, float, float]
"""The token, its end, and when it was made (monotonic)."""


class Reconnections:
    """Gives and takes them; for use on the home loop.

    Args:
        chain: who tells whose one is.
        lifetime: seconds that one lives, at most.
        root: what stands for the root token (`mark_of`).
    """

    def __init__(self, *, tokens: Tokens, chain: Chain, clock: Clock, lifetime: float, root: str = "") -> None:
        self.lifetime = min(lifetime, RECONNECTION_LIFETIME)
        self._tokens = tokens
        self._chain = chain
        self._clock = clock
        self._root = root
        self._issued: OrderedDict[tuple[str, ...], _Issued] = OrderedDict()

    async def issue(self, caller: Caller, workspace: str, client: str) -> tuple[Secret, float] | None:
        """One for a client in a workspace, and its end in seconds since the epoch; None: the caller can have none.

        It never lives longer than the caller's own token, and ends with it. Asked again soon, it is the same.

        Raises:
            Unauthenticated: the caller's own token has ended.
            StoreUnavailable: it cannot be kept.
        """
        user = caller.user
        if user is None:
            return None
        parent, name = await self._behind(caller)
        if not (parent or name or caller.owner.issuer == ANONYMOUS):
            return None
        key = (*caller.principal, user.id, parent, workspace, client)
        now = self._clock.monotonic()
        known = self._issued.get(key)
        if known is not None and now - known[2] < SAME_FOR:
            return known[0], known[1]
        seconds = self.life_of(caller)
        if caller.until is not None:
            seconds = min(seconds, caller.until - self._clock.now())
        if seconds <= 0:
            raise Unauthenticated(jwt.EXPIRED)
        bearer = user.model_copy(deep=True, update={"current_workspace": workspace})
        secret, row = await self._tokens.issue(
            TokenKind.RECONNECTION, bearer, caller.owner, expires_in=seconds, name=name, parent=parent, agent=client
        )
        ends = row.expires_at or 0.0
        self._issued[key] = secret, ends, now
        self._issued.move_to_end(key)
        while len(self._issued) > REMEMBERED or now - next(iter(self._issued.values()))[2] >= SAME_FOR:
            self._issued.popitem(last=False)
        return secret, ends

    def life_of(self, caller: Caller) -> float:
        """Seconds that one of this caller's lives, at most."""
        unknown = caller.owner.issuer == ANONYMOUS or (caller.user is not None and caller.user.is_anonymous)
        return min(self.lifetime, ANONYMOUS_LIFETIME) if unknown else self.lifetime

    async def left(self, caller: Caller, given: Secret) -> None:
        """A client ended its connection itself: that of somebody unknown, who does not come back, is good no more.

        Raises:
            StoreUnavailable: it cannot be told now.
        """
        key = apikey.read(given.reveal())
        if key is not None and caller.owner.issuer == ANONYMOUS:
            await self._tokens.put_away(key.id)

    async def redeem(
        self, given: Secret, workspace: str | None, client: str, *, address: str = ""
    ) -> tuple[Caller, str]:
        """Who comes back with it, and to which workspace.

        Args:
            given: the token.
            workspace: where the client says it was; None: it does not say.
            client: who it says it is.
            address: from where it comes.

        Raises:
            Unauthenticated: it is not good, or the token behind it is not.
            InvalidArguments: it is another workspace's, or another client's.
            CouldNotTell: it cannot be told now.
            RateLimited: too many bad ones came from that address.
        """
        caller = await self._chain.identify(Presented(scheme=RECONNECTION, value=given, address=address))
        key = apikey.read(given.reveal())
        row = None if key is None else await self._tokens.find(key.id)
        if row is None or not row.user.current_workspace:
            raise Unauthenticated(NOT_GOOD)
        if row.agent != client:
            raise InvalidArguments("Client id mismatch, disconnecting")
        if workspace not in (None, row.user.current_workspace):
            raise InvalidArguments(f"Invalid scope, workspace mismatch: {workspace} != {row.user.current_workspace}")
        return caller, row.user.current_workspace

    async def _behind(self, caller: Caller) -> tuple[str, str]:
        """With what it ends: the id of the caller's token, or the name of the root token, which has no row."""
        if caller.principal == (OURS, ROOT) and caller.how == ROOT:
            return "", self._root
        return await self._tokens.parent(caller), ""
