"""The owner's connections for a tool's needs: those that are there, kept fresh; else a person is asked."""

from __future__ import annotations

from valetkey.connections.answer import Answering, Finder, known
from valetkey.connections.connect import Connecting
from valetkey.connections.handler import Handler
from valetkey.connections.refresh import Refresher
from valetkey.connections.states import expired, near_expiry, satisfies
from valetkey.errors import AuthRequired, InvalidArguments, ProviderUnavailable, RefreshFailed
from valetkey.model.calls import Allowed, Connected
from valetkey.model.connections import DEFAULT_PROFILE, Connection, Health
from valetkey.model.interactions import INVITATION
from valetkey.model.needs import Need
from valetkey.ports.stores import ConnectionStore
from valetkey.ports.world import Clock

ROUNDS = 3
"""How often a call looks again when the account appears between looking and asking."""


class Connector:
    """Meets a call's needs."""

    def __init__(
        self,
        *,
        store: ConnectionStore,
        finder: Finder,
        connecting: Connecting,
        answering: Answering,
        refresher: Refresher,
        clock: Clock,
    ) -> None:
        self._store = store
        self._finder = finder
        self._connecting = connecting
        self._answering = answering
        self._refresher = refresher
        self._clock = clock

    async def connect(self, allowed: Allowed) -> Connected:
        """The connections for one of the alternatives; the first that is met.

        Raises:
            AuthRequired: a person has to connect an account first; holds the link.
            ProviderUnavailable: a token has ended, and cannot be renewed now.
        """
        for _ in range(ROUNDS):
            connected, missing = await self._try(allowed)
            if connected is not None:
                return connected
            required = await self._ask(allowed, missing)
            if required is not None:
                raise required
        raise ProviderUnavailable("The account changes all the time while it is looked for. Call again.")

    async def _try(self, allowed: Allowed) -> tuple[Connected | None, Need]:
        missing: Need | None = None
        alternatives = allowed.call.needs.alternatives
        for needs in alternatives:
            met: list[Connection] = []
            for need in needs:
                connection = await self._meet(allowed, need)
                if connection is None:
                    missing = missing or need
                    break
                met.append(connection)
            else:
                return Connected(allowed=allowed, connections=tuple(met)), Need(provider="")
        if missing is None:
            raise InvalidArguments("This tool has no alternative of needs at all. Give it one; an empty one is public.")
        return None, missing

    async def renew(self, connected: Connected) -> Connected | None:
        """The same after the provider answered 401: refreshed once. None where nothing can be refreshed.

        Raises:
            AuthRequired: the credential is dead; a person has to connect the account again.
        """
        renewed = []
        for connection in connected.connections:
            if not connection.refreshable:
                return None
            handler = self._finder.find(connection.handler, connection.provider)
            try:
                renewed.append(await self._refresher.fresh(connection, handler, rejected=True))
            except RefreshFailed:
                need = next(
                    (
                        need
                        for needs in connected.allowed.call.needs.alternatives
                        for need in needs
                        if need.provider == connection.provider
                    ),
                    Need(provider=connection.provider, scopes=connection.scopes),
                )
                required = await self._ask(connected.allowed, need)
                if required is not None:
                    raise required from None
                return await self.connect(connected.allowed)
        return Connected(allowed=connected.allowed, connections=tuple(renewed)) if renewed else None

    async def give_up(self, connected: Connected) -> None:
        """The provider refuses what is freshly lent: the next call asks a person to connect the account again."""
        if len(connected.connections) == 1:
            (connection,) = connected.connections
            await self._refresher.mark(connection, Health.NEEDS_REAUTH, "The provider refused the credential (401).")

    async def _meet(self, allowed: Allowed, need: Need) -> Connection | None:
        owner, profile = allowed.caller.owner, allowed.call.profile or DEFAULT_PROFILE
        asked = self._finder.find(need.handler, need.provider or None)
        if not asked.interactive:
            return await self._connecting.obtain(asked, owner, need, profile)
        held = await self._store.get(owner, asked.provider.name, profile)
        handler = None if held is None else self._meets(held, need, asked)
        if held is not None and handler is not None:
            return await self._fresh(held, handler)
        # What was just answered may be for another handler, or for fewer scopes.
        answered = await self._answering.answered_connection(owner, profile, asked)
        return None if answered is None or self._meets(answered, need, asked) is None else answered

    def _meets(self, held: Connection, need: Need, asked: Handler) -> Handler | None:
        """The handler of what is held, where that is what the need asks for."""
        handler = asked if held.handler == asked.name else known(self._finder, held.handler, held.provider)
        if handler is None:
            return None
        fits = (need.handler is None or handler is asked) and satisfies(held, need.scopes, scoped=handler.scoped)
        return handler if fits else None

    async def _fresh(self, held: Connection, handler: Handler) -> Connection | None:
        now = self._clock.now()
        if not near_expiry(held, now) or not (held.refreshable or expired(held, now)):
            return held
        try:
            return await self._refresher.fresh(held, handler) if held.refreshable else None
        except RefreshFailed:
            return None

    async def _ask(self, allowed: Allowed, need: Need) -> AuthRequired | None:
        """Ask a person; None where the account is there by now."""
        owner, profile = allowed.caller.owner, allowed.call.profile or DEFAULT_PROFILE
        interaction = await self._connecting.prepare(owner, need, profile)
        if interaction is None:
            return None
        url = self._connecting.url(interaction)
        return AuthRequired(f"{INVITATION}{url}", url=url, provider=str(interaction.about["provider"]))
