"""The session's and the owner's connections for a tool's needs: those there, kept fresh; else a person is asked."""

from __future__ import annotations

from collections.abc import Sequence

from valetkey.connections.answer import Answering
from valetkey.connections.connect import Connecting
from valetkey.connections.finder import Finder, known
from valetkey.connections.handler import Handler
from valetkey.connections.handlers.session import NOTHING_GIVEN
from valetkey.connections.pace import left_to_wait, soft
from valetkey.connections.refresh import Refresher
from valetkey.connections.rotations import Rotations
from valetkey.connections.session import SESSION, SessionPlaces
from valetkey.connections.states import expired, near_expiry, satisfies
from valetkey.errors import (
    AmbiguousConnection,
    AuthRequired,
    InvalidArguments,
    ProviderUnavailable,
    RefreshFailed,
    Unauthenticated,
)
from valetkey.model.caller import Owner
from valetkey.model.calls import Allowed, Connected
from valetkey.model.connections import DEFAULT_PROFILE, Connection
from valetkey.model.needs import Need
from valetkey.ports.stores import ConnectionStore
from valetkey.ports.world import Clock

_NONE = Need(provider="")

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
        rotations: Rotations,
        sessions: SessionPlaces,
        clock: Clock,
    ) -> None:
        self._store = store
        self._finder = finder
        self._connecting = connecting
        self._answering = answering
        self._refresher = refresher
        self._rotations = rotations
        self._sessions = sessions
        self._clock = clock

    async def connect(self, allowed: Allowed) -> Connected:
        """The connections for one of the alternatives; the first that is met.

        Raises:
            AuthRequired: a person has to connect an account first; holds the link.
            AmbiguousConnection: several accounts fit, and the call names none.
            ProviderUnavailable: a token has ended, and cannot be renewed now.
            Unauthenticated: the tool takes a chat session's credential only, and there is none.
        """
        for _ in range(ROUNDS):
            connected, missing = await self._try(allowed)
            if connected is not None:
                return connected
            if self._of_session(missing):
                raise Unauthenticated(NOTHING_GIVEN)
            required = await self._ask(allowed, missing)
            if required is not None:
                raise required
        raise ProviderUnavailable("The account changes all the time while it is looked for. Call again.")

    async def usual(self, owner: Owner, need: Need) -> Connection | None:
        """The account that a call uses which names none, as it is now; None where a person is asked for one.

        Raises:
            AmbiguousConnection: several fit.
        """
        asked = self._finder.find(need.handler, need.provider or None)
        if not asked.interactive:
            return None
        held = await self._store.get(owner, asked.provider.name, DEFAULT_PROFILE)
        if held is not None:
            return None if self._usable(held, need, asked) is None else held
        other = await self._other(owner, need, asked)
        return None if other is None else other[0]

    async def _try(self, allowed: Allowed) -> tuple[Connected | None, Need]:
        missing: Need | None = None
        several: AmbiguousConnection | None = None
        for needs in allowed.call.needs.alternatives:
            met: list[Connection] = []
            for need in needs:
                try:
                    connection = await self._meet(allowed, need)
                except AmbiguousConnection as error:
                    # Another alternative may be met without a choice.
                    several = several or error
                    break
                if connection is None:
                    # A person can be asked for any but the session's.
                    missing = need if missing is None or self._of_session(missing) else missing
                    break
                met.append(connection)
            else:
                return Connected(allowed=allowed, connections=tuple(met)), _NONE
        if several is not None:
            raise several
        if missing is None:
            raise InvalidArguments("This tool has no alternative of needs at all. Give it one; an empty one is public.")
        return None, missing

    async def renew(self, connected: Connected, *, certain: bool) -> Connected | None:
        """The same after a 401: refreshed once. None where nothing can be refreshed, or just was.

        Whose 401 it was is ``certain`` where the provider's own API answered it. A tool that always raises one of
        somebody else must not have the token refreshed at every call.

        Raises:
            AuthRequired: the credential is dead; a person has to connect the account again.
        """
        renewed, changed = [], False
        for connection in connected.connections:
            if connection.provider == SESSION:
                again = await self._sessions.renew(connected.allowed.call.conversation, connection)
                renewed.append(again or connection)
                changed = changed or again is not None
                continue
            if not connection.kept:
                again = await self._obtained_again(connected.allowed, connection)
                renewed.append(again or connection)
                changed = changed or again is not None
                continue
            final = certain and len(connected.connections) == 1  # a second 401 will end the connection
            if not connection.refreshable or (left_to_wait(connection, self._clock.now()) and not final):
                return None
            handler = self._finder.find(connection.handler, connection.provider)
            try:
                renewed.append(await self._refresher.fresh(connection, handler, rejected=True))
                changed = True
            except RefreshFailed:
                required = await self._ask(connected.allowed, _need_of(connected.allowed, connection))
                if required is not None:
                    raise required from None
                return await self.connect(connected.allowed)
        return Connected(allowed=connected.allowed, connections=tuple(renewed)) if changed else None

    async def _obtained_again(self, allowed: Allowed, connection: Connection) -> Connection | None:
        """Another one for what no person was asked for; None where nothing else can be had."""
        handler = self._finder.find(connection.handler, connection.provider)
        need = next(
            (
                each
                for needs in allowed.call.needs.alternatives
                for each in needs
                if self._finder.find(each.handler, each.provider or None) is handler
            ),
            None,
        )
        if need is None:
            return None
        return await self._connecting.obtain_again(handler, connection, need, caller=allowed.caller)

    async def give_up(self, connected: Connected) -> None:
        """The provider refuses what is freshly lent: the next call asks a person to connect the account again."""
        if len(connected.connections) == 1:
            (connection,) = connected.connections
            if connection.provider == SESSION or not connection.kept:
                return  # in no store; who called is told by the answer itself
            if near_expiry(connection, self._clock.now()):
                return  # it may have ended on its way: that says nothing about the account
            await self._refresher.reject(connection, "The provider refused the credential (401).")

    async def _meet(self, allowed: Allowed, need: Need) -> Connection | None:
        """A profile that the call names is the only one; else ``default`` where it is; else the one that fits."""
        owner, named = allowed.caller.owner, allowed.call.profile
        asked = self._finder.find(need.handler, need.provider or None)
        if asked.provider.name == SESSION:
            return await self._sessions.meet(allowed.call.conversation, owner, need)
        profile = named or DEFAULT_PROFILE
        if not asked.interactive:
            return await self._connecting.obtain(asked, owner, need, profile, caller=allowed.caller)
        held = await self._store.get(owner, asked.provider.name, profile)
        held = held and self._rotations.over(held)
        handler = None if held is None else self._meets(held, need, asked)
        if held is not None and handler is not None:
            fresh = await self._fresh(held, handler)
            if fresh is not None:
                return fresh
        # What was just answered may be for another handler, or for fewer scopes.
        answered = await self._answering.answered_connection(owner, profile, asked)
        if answered is not None and self._meets(answered, need, asked) is not None:
            return answered
        # One that is saved as default is meant, even where a person has to see to it first: another one is not.
        other = None if named or held is not None else await self._other(owner, need, asked)
        return None if other is None else await self._fresh(*other)

    def _of_session(self, need: Need) -> bool:
        return self._finder.find(need.handler, need.provider or None).provider.name == SESSION

    async def _other(self, owner: Owner, need: Need, asked: Handler) -> tuple[Connection, Handler] | None:
        """The one account besides ``default`` that fits, and its handler.

        Raises:
            AmbiguousConnection: there are several.
        """
        rows = await self._store.of_owner(owner, asked.provider.name)
        others = [row for row in rows if row.profile != DEFAULT_PROFILE]
        found = [(row, handler) for row in others if (handler := self._usable(row, need, asked)) is not None]
        if len(found) > 1:
            first = found[0][0]
            raise ambiguous(
                asked.provider.title,
                [row for row, _ in found],
                f"Name one, such as profile={first.profile!r}; or make it the one for calls that name none: "
                f"valetkey connections rename {first.provider}:{first.profile} {DEFAULT_PROFILE}",
            )
        return found[0] if found else None

    def _usable(self, held: Connection, need: Need, asked: Handler) -> Handler | None:
        """The handler of what is held, where that fits and has not ended for good."""
        ended = expired(held, self._clock.now()) and not held.refreshable
        return None if ended else self._meets(held, need, asked)

    def _meets(self, held: Connection, need: Need, asked: Handler) -> Handler | None:
        """The handler of what is held, where that is what the need asks for."""
        handler = asked if held.handler == asked.name else known(self._finder, held.handler, held.provider)
        if handler is None:
            return None
        fits = (need.handler is None or handler is asked) and satisfies(held, need.scopes, scoped=handler.scoped)
        return handler if fits else None

    async def _fresh(self, held: Connection, handler: Handler) -> Connection | None:
        now = self._clock.now()
        due = near_expiry(held, now) or soft(held, now)
        if not due or not (held.refreshable or expired(held, now)):
            return held
        try:
            return await self._refresher.fresh(held, handler) if held.refreshable else None
        except RefreshFailed:
            return None

    async def _ask(self, allowed: Allowed, need: Need) -> AuthRequired | None:
        """Ask a person; None where the account is there by now."""
        owner, profile = allowed.caller.owner, allowed.call.profile or DEFAULT_PROFILE
        interaction = await self._connecting.prepare(owner, need, profile, tool=allowed.call.tool)
        if interaction is None:
            return None
        asked = self._connecting.invitation(interaction)
        return AuthRequired(
            asked.text,
            url=asked.url,
            provider=str(interaction.about["provider"]),
            interaction=interaction.id,
            code=(asked.user_code, asked.verification_uri),
        )


def _need_of(allowed: Allowed, connection: Connection) -> Need:
    return next(
        (need for needs in allowed.call.needs.alternatives for need in needs if need.provider == connection.provider),
        Need(provider=connection.provider, scopes=connection.scopes),
    )


def ambiguous(title: str, fitting: Sequence[Connection], advice: str) -> AmbiguousConnection:
    """The error that lists those that fit, and says how to name one."""
    named = ", ".join(row.profile if row.account is None else f"{row.profile} ({row.account})" for row in fitting)
    return AmbiguousConnection(
        f"Several accounts at {title} fit, and none was named: {named}. {advice}",
        provider=fitting[0].provider,
        profiles=tuple(row.profile for row in fitting),
    )
