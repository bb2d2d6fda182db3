"""Keep one fresh: one refresh in flight, decided in the row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace

from valetkey.connections.breaker import Breakers
from valetkey.connections.flights import Flight, Flights, follow
from valetkey.connections.handler import Handler
from valetkey.connections.pace import MINIMUM, believed, fraction, left_to_wait, lifetime, pause
from valetkey.connections.rotations import SAVE, Rotations
from valetkey.connections.states import expired
from valetkey.errors import (
    BlockedAddress,
    ExchangeFailed,
    InvalidSetting,
    MissingSetting,
    ProviderUnavailable,
    RefreshFailed,
    StoreUnavailable,
    ValetkeyError,
)
from valetkey.model.connections import Cause, Connection, Credential, Grant, Health, Standing
from valetkey.model.events import Outcome, Refreshed
from valetkey.oauth.refusals import FAILED
from valetkey.ports.messages import Recorder, Wakeups
from valetkey.ports.stores import ConnectionStore
from valetkey.ports.world import Clock, Entropy, Home
from valetkey.vault.seal import Sealer

LEASE = 20.0
"""Seconds that a refresh may hold its connection: more than an exchange's deadline and the margin to save."""

OWN = 13.0
"""Seconds that a handler may take to refresh: more than the deadline of an exchange."""

START = LEASE - OWN - SAVE
"""Seconds after asking for the lease within which the request must go out; a process that stood still is too late."""

TRY = 0.25
"""Seconds between two tries to take a lease that another process holds."""

POLL = 0.02, 0.05
"""Seconds between two looks at a row that another process refreshes, jitter in between."""

PATIENCE = 2 * LEASE
"""Seconds that a flight waits for another process."""

ROUNDS = 3
"""How often a caller looks again when another's refresh brought nothing for it."""

AGAIN = 1.0
"""Seconds after which a caller may come back, where nobody knows better."""

_SOFT = (ProviderUnavailable, InvalidSetting, MissingSetting, BlockedAddress, StoreUnavailable)
"""What is no failure as long as the old token serves."""


class Refresher:
    """Renews connections, each one once however many ask.

    Within this process callers share one flight; between processes the lease in the row lets one send, and the
    generation decides whose result is kept.
    """

    def __init__(
        self,
        *,
        store: ConnectionStore,
        sealer: Sealer,
        clock: Clock,
        entropy: Entropy,
        home: Home,
        wakeups: Wakeups,
        rotations: Rotations,
        breakers: Breakers,
        recorder: Recorder,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._entropy = entropy
        self._wakeups = wakeups
        self._rotations = rotations
        self._breakers = breakers
        self._recorder = recorder
        self._me = entropy.token(12)
        self.flights = Flights(home)

    async def fresh(self, connection: Connection, handler: Handler, *, rejected: bool = False) -> Connection:
        """The connection with a token that is good now.

        While the old token is still valid, one caller refreshes it and the others use it as it is; a failure that may
        pass is no failure then. A ``rejected`` token (the provider answered 401) is renewed whatever its end.

        Raises:
            RefreshFailed: final; the person has to sign in again.
            InvalidSetting: the token has ended, and the provider refused us, the client.
            ProviderUnavailable: the token has ended, and the provider cannot renew it now; says when to try again.
            StoreUnavailable: the token has ended, and the database cannot be used.
        """
        now = self._clock.now()
        usable = not rejected and not expired(connection, now)
        if usable and left_to_wait(connection, now):
            return connection
        try:
            for _ in range(ROUNDS):
                flight, leading = self.flights.board(connection.id, ahead=usable)
                if leading:
                    return await self._lead(connection, handler, flight, usable=usable)
                if usable:
                    return connection
                found = await self._follow(connection, flight)
                if found is not None:
                    return found
            raise _restless()
        except ProviderUnavailable as error:
            if error.retry_after is None:
                error.retry_after = AGAIN
            raise

    async def _lead(self, connection: Connection, handler: Handler, flight: Flight, *, usable: bool) -> Connection:
        await self.flights.fly(
            connection.id,
            flight,
            lambda: self._refresh(connection, handler, usable=usable),
            at_home=handler.at_home,
        )
        try:
            return flight.outcome.result()
        except _SOFT:
            if usable:
                return connection
            raise

    async def _follow(self, connection: Connection, flight: Flight) -> Connection | None:
        """What another caller's flight brought; None where that is no help to this one."""
        try:
            found = await follow(flight)
        except _SOFT:
            if flight.ahead:
                return None
            raise
        # Its leader may have come with an older one than this caller, or with one that still served.
        return None if found.generation <= connection.generation else found

    async def _refresh(self, seen: Connection, handler: Handler, *, usable: bool) -> Connection:
        deadline = self._clock.monotonic() + PATIENCE
        try_at = 0.0
        while True:
            current, done = await self._look(seen, handler, usable=usable)
            if done:
                return current
            now = self._clock.monotonic()
            # As long as the row says that somebody holds it, a try is a write for nothing, most times.
            if not current.lease_owner or now >= try_at:
                try_at = now + TRY
                renewed = await self._take(current, handler, usable=usable)
                if renewed is not None:
                    return renewed
            if usable:
                return current  # another process sees to it
            await self._wait(deadline)

    async def _take(self, current: Connection, handler: Handler, *, usable: bool) -> Connection | None:
        """Take the lease and renew; None where somebody else holds it."""
        credential = self._credential(current, handler)
        attempt = self._entropy.token(12)
        async with self._breakers.of(current.provider).turn(urgent=not usable):
            began = self._clock.monotonic()
            # The attempt is in the row before the request goes out: a crash leaves a trace.
            if not await self._store.lease(
                current.id,
                generation=current.generation,
                owner=self._me,
                attempt=attempt,
                now=self._clock.now(),
                ttl=LEASE,
                seen=current.attempt_id,
            ):
                return None
            if self._rotations.newer_than(current):
                # Its last holder put it into the journal while this one waited for its turn.
                unclear = bool(current.attempt_id)
                await self._store.release(current.id, owner=self._me, attempt=attempt, unclear=unclear)
                return None
            return await self._renew(current, attempt, credential, handler, began=began, usable=usable)

    async def _look(self, seen: Connection, handler: Handler, *, usable: bool) -> tuple[Connection, bool]:
        """The row as it is now, and whether it is what is wanted already."""
        current = await self._store.by_id(seen.id)
        if current is None:
            raise RefreshFailed(FAILED + " The account was disconnected.")
        waiting = await self._rotations.settle(current)
        if waiting is not None:
            current = waiting
        if current.health is Health.NEEDS_REAUTH:
            raise RefreshFailed(f"{FAILED} {current.reason}".strip())
        # Somebody renewed it meanwhile; where this process stood still since then, that has ended, too.
        over = current.refreshable and expired(current, self._clock.now())
        if current.generation != seen.generation and not over:
            return current, True
        left = left_to_wait(current, self._clock.now())
        if left and (usable or current.health is not Health.OK):
            if current.health is Health.CONFIG_ERROR:
                raise InvalidSetting(f"{current.reason} It is tried again in {left:.0f} s.")
            raise ProviderUnavailable(
                current.reason or f"{handler.provider.title} is not asked again so soon. Try again later.",
                retry_after=left,
            )
        return current, False

    async def _wait(self, deadline: float) -> None:
        """A moment, in which the row may change."""
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise ProviderUnavailable("Another process is refreshing this account and does not end. Call again.")
        shortest, longest = POLL
        await self._clock.sleep(min(left, shortest + fraction(self._entropy) * (longest - shortest)))

    def _credential(self, current: Connection, handler: Handler) -> Credential:
        credential = self._sealer.open_credential(current)
        # Not noted in the row: for whoever connected it, it is as good as before.
        handler.check_refresh(credential)
        return credential

    async def _renew(
        self,
        before: Connection,
        attempt: str,
        credential: Credential,
        handler: Handler,
        *,
        began: float,
        usable: bool,
    ) -> Connection:
        """Ask the provider, and note in the row what came of it."""
        unclear = bool(before.attempt_id)  # what became of the last one is not known
        outcome = Outcome.TRANSIENT
        try:
            if self._clock.monotonic() - began > START:
                # This process stood still; by now another one may hold the lease.
                await self._store.release(before.id, owner=self._me, attempt=attempt, unclear=unclear)
                raise ProviderUnavailable("This machine stood still while an account was refreshed. Call again.")
            try:
                grant = await self._within(handler.refresh(credential, before.scopes), handler)
            except ValetkeyError as error:
                moved = await self._failed(before, attempt, error, unclear=unclear)
                if moved is None:
                    outcome = _outcome(error, unclear=unclear)
                    raise
                return moved
            except BaseException:
                with suppress(StoreUnavailable):
                    await self._store.release(before.id, owner=self._me, attempt=attempt, unclear=True)
                raise
            self._breakers.of(before.provider).succeeded()
            outcome = Outcome.DISCARDED
            grant = replace(grant, expires_at=believed(grant, credential, self._clock.now()))
            kept = await self._rotations.keep(self._renewed(before, handler, grant), generation=before.generation)
            if kept is None:
                raise RefreshFailed(FAILED + " The account was disconnected meanwhile.")
            outcome = Outcome.JOURNALED if self._rotations.newer_than(before) else Outcome.OK
            return kept
        finally:
            seconds = self._clock.monotonic() - began
            self._recorder.record(Refreshed(provider=before.provider, outcome=outcome, seconds=seconds, ahead=usable))

    def _renewed(self, before: Connection, handler: Handler, grant: Grant) -> Connection:
        now = self._clock.now()
        generation = before.generation + 1
        return replace(
            unleased(before),
            sealed=self._sealer.seal_credential(
                grant.credential,
                connection_id=before.id,
                owner=before.owner,
                provider=before.provider,
                generation=generation,
            ),
            generation=generation,
            scopes=before.scopes if grant.scopes is None else grant.scopes,
            refreshable=handler.can_refresh(grant.credential),
            next_try_at=now + MINIMUM,
            **lifetime(grant, now, self._entropy),
        )

    async def _within(self, refreshing: Awaitable[Grant], handler: Handler) -> Grant:
        """A refresh that outlives its lease could be sent twice."""
        limit = asyncio.timeout(OWN)
        try:
            async with limit:
                return await refreshing
        except TimeoutError:
            if not limit.expired():
                raise
            raise ExchangeFailed(f"{handler.name} did not refresh within {OWN:g} s. Call again.", sent=True) from None

    async def _failed(
        self, before: Connection, attempt: str, error: ValetkeyError, *, unclear: bool
    ) -> Connection | None:
        """Note a failure; the connection, where it moved on meanwhile."""
        breaker = self._breakers.of(before.provider)
        if isinstance(error, RefreshFailed):
            breaker.succeeded()
            with suppress(StoreUnavailable):
                newer = await self._store.by_id(before.id)
                if newer is not None and newer.generation != before.generation:
                    return newer
            cause = Cause.LOST_ROTATION if unclear else Cause.REFUSED
            await self._note(before, Health.NEEDS_REAUTH, cause, error, attempt=attempt)
        elif isinstance(error, MissingSetting | BlockedAddress):
            # This program's own settings: no matter for the others that use the account.
            await self._store.release(before.id, owner=self._me, attempt=attempt, unclear=unclear)
        elif isinstance(error, InvalidSetting):
            breaker.succeeded()
            await self._note(before, Health.CONFIG_ERROR, Cause.SETUP, error, attempt=attempt, unclear=unclear)
        elif isinstance(error, ProviderUnavailable) and error.retry_after is not None:
            # It answers, and asks for time.
            breaker.succeeded()
            await self._note(before, Health.TRANSIENT, Cause.RATE_LIMITED, error, attempt=attempt, unclear=unclear)
        else:
            breaker.failed()
            # Whatever may have arrived may have been acted on; its answer would have held the next refresh token.
            lost = unclear or not isinstance(error, ExchangeFailed) or error.sent
            await self._note(before, Health.TRANSIENT, Cause.UNAVAILABLE, error, attempt=attempt, unclear=lost)
        return None

    async def _note(
        self,
        before: Connection,
        health: Health,
        cause: Cause,
        error: ValetkeyError,
        *,
        attempt: str,
        unclear: bool = False,
    ) -> None:
        now = self._clock.now()
        failures = before.fail_count + 1
        asked = error.retry_after if isinstance(error, ProviderUnavailable) else None
        wait = max(asked or 0.0, pause(failures, self._entropy))
        standing = Standing(
            health=health,
            cause=cause,
            reason=str(error).removeprefix(FAILED).strip(),
            fail_count=failures,
            next_try_at=now + wait,
            at=now,
        )
        if isinstance(error, ProviderUnavailable):
            error.retry_after = wait
        # A database that is away costs the note, never the error: the lease ends by itself, and leaves its trace.
        with suppress(StoreUnavailable):
            await self._store.note(
                before.id, generation=before.generation, standing=standing, attempt=attempt, unclear=unclear
            )
        self._wakeups.wake(before.id)

    async def reject(self, connection: Connection, reason: str) -> None:
        """The provider's API refuses what was just renewed: a person has to connect the account again."""
        now = self._clock.now()
        standing = Standing(
            health=Health.NEEDS_REAUTH,
            cause=Cause.REJECTED,
            reason=reason,
            fail_count=connection.fail_count + 1,
            next_try_at=now,
            at=now,
        )
        await self._store.note(connection.id, generation=connection.generation, standing=standing)
        self._wakeups.wake(connection.id)


def _restless() -> ProviderUnavailable:
    return ProviderUnavailable("The account is refreshed all the time. Call again.")


def unleased(connection: Connection) -> Connection:
    """The same, with no refresh in flight."""
    return replace(connection, lease_owner="", lease_until=0.0, attempt_id="", attempt_started=0.0)


def _outcome(error: ValetkeyError, *, unclear: bool) -> Outcome:
    if isinstance(error, RefreshFailed):
        return Outcome.LOST_ROTATION if unclear else Outcome.REFUSED
    return Outcome.TRANSIENT if isinstance(error, ProviderUnavailable) else Outcome.CONFIG_ERROR
