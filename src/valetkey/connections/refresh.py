"""Keep one fresh: one refresh in flight, decided in the row."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace

from valetkey.connections.handler import Handler
from valetkey.connections.states import expired
from valetkey.connections.unfinished import finish_even_if_cancelled
from valetkey.errors import (
    BlockedAddress,
    InvalidSetting,
    MissingSetting,
    ProviderUnavailable,
    RefreshFailed,
    StoreUnavailable,
    ValetkeyError,
)
from valetkey.model.connections import Connection, Grant, Health
from valetkey.oauth.client import FAILED
from valetkey.ports.messages import Wakeups
from valetkey.ports.stores import ConnectionStore
from valetkey.ports.world import Clock, Entropy, Home
from valetkey.vault.seal import Sealer

LEASE = 20.0
"""Seconds that a refresh may hold its connection: more than an exchange's deadline and the margin to save."""

POLL = 0.05
"""Seconds between two looks at a row that another process refreshes."""

RETRY = 0.25
"""Seconds between two tries to save a rotation."""

OWN = 15.0
"""Seconds that a handler may take to refresh: less than its lease."""

MINIMUM = 30.0
"""Seconds between two refreshes of a token that comes back as short-lived as it went."""

FOLLOW = 30.0
"""Seconds that a caller waits for another's refresh in this process."""

_log = logging.getLogger("valetkey")


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
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._entropy = entropy
        self._home = home
        self._wakeups = wakeups
        self._me = entropy.token(12)
        self._lock = threading.Lock()
        self._flights: dict[str, concurrent.futures.Future[Connection]] = {}

    async def fresh(self, connection: Connection, handler: Handler, *, rejected: bool = False) -> Connection:
        """The connection with a token that is good now.

        While the old token is still valid, one caller refreshes it and the others use it as it is; a failure that may
        pass is no failure then. A ``rejected`` token (the provider answered 401) is renewed whatever its end.

        Raises:
            RefreshFailed: final; the person has to sign in again.
            InvalidSetting: the token has ended, and the provider refused us, the client.
            ProviderUnavailable: the token has ended, and the provider cannot renew it now.
        """
        usable = not rejected and not expired(connection, self._clock.now())
        with self._lock:
            flight = self._flights.get(connection.id)
            leading = flight is None
            if flight is None:
                flight = concurrent.futures.Future()
                # Else a follower who is cancelled would cancel it for all.
                flight.set_running_or_notify_cancel()
                self._flights[connection.id] = flight
        if not leading:
            return connection if usable else await _follow(flight)
        if usable and self._clock.now() < connection.next_try_at:
            self._land(connection.id, flight, connection)
            return connection
        await self._lead(connection, handler, flight)
        try:
            return flight.result()
        except (ProviderUnavailable, InvalidSetting, MissingSetting, BlockedAddress):
            if usable:
                return connection
            raise

    async def _lead(
        self, connection: Connection, handler: Handler, flight: concurrent.futures.Future[Connection]
    ) -> None:
        async def fly() -> None:
            try:
                result = await self._refresh(connection, handler)
            except BaseException as error:
                self._land(connection.id, flight, error)
                if not isinstance(error, Exception):
                    raise
            else:
                self._land(connection.id, flight, result)

        def crash(_: object) -> None:
            # A task that is cancelled before its first step never lands by itself.
            if not flight.done():
                self._land(connection.id, flight, asyncio.CancelledError())

        if not handler.at_home:
            await finish_even_if_cancelled(fly, crash)
            return
        try:
            await self._home.run(fly)
        except Exception as error:  # the home was closed: the flight itself raises nothing
            crash(error)
            raise

    def _land(
        self, connection_id: str, flight: concurrent.futures.Future[Connection], result: Connection | BaseException
    ) -> None:
        with self._lock:
            self._flights.pop(connection_id, None)
        if isinstance(result, Connection):
            flight.set_result(result)
        elif isinstance(result, asyncio.CancelledError):
            flight.set_exception(ProviderUnavailable("The refresh was interrupted. Call again."))
        else:
            flight.set_exception(result)

    async def _refresh(self, seen: Connection, handler: Handler) -> Connection:
        attempt = self._entropy.token(12)
        deadline = self._clock.monotonic() + 2 * LEASE
        while True:
            current = await self._store.by_id(seen.id)
            if current is None:
                raise RefreshFailed(FAILED + " The account was disconnected.")
            if current.generation != seen.generation:
                return current
            if current.health is Health.NEEDS_REAUTH:
                raise RefreshFailed(f"{FAILED} {current.reason}".strip())
            now = self._clock.now()
            if await self._store.lease(
                current.id, generation=current.generation, owner=self._me, attempt=attempt, now=now, until=now + LEASE
            ):
                return await self._renew(replace(current, attempt_id=attempt), handler)
            if self._clock.monotonic() > deadline:
                raise ProviderUnavailable("Another process is refreshing this account and does not end. Call again.")
            await self._clock.sleep(POLL)

    async def _renew(self, current: Connection, handler: Handler) -> Connection:
        try:
            credential = self._sealer.open_credential(current)
            grant = await self._within(handler.refresh(credential, current.scopes), handler)
        except RefreshFailed as error:
            newer = await self._store.by_id(current.id)
            if newer is not None and newer.generation != current.generation:
                return newer
            await self.mark(current, Health.NEEDS_REAUTH, str(error).removeprefix(FAILED).strip())
            raise
        except (InvalidSetting, MissingSetting, BlockedAddress) as error:
            await self.mark(current, Health.CONFIG_ERROR, str(error))
            raise
        except ProviderUnavailable as error:
            await self.mark(current, Health.TRANSIENT, str(error), wait=error.retry_after or 0.0)
            raise
        except BaseException:
            await self._store.release(current.id, owner=self._me, attempt=current.attempt_id)
            raise
        return await self._keep(current, handler, grant)

    async def _keep(self, current: Connection, handler: Handler, grant: Grant) -> Connection:
        now = self._clock.now()
        generation = current.generation + 1
        renewed = replace(
            unleased(current),
            sealed=self._sealer.seal_credential(
                grant.credential,
                connection_id=current.id,
                owner=current.owner,
                provider=current.provider,
                generation=generation,
            ),
            generation=generation,
            scopes=current.scopes if grant.scopes is None else grant.scopes,
            issued_at=now,
            expires_at=grant.expires_at,
            refreshable=handler.can_refresh(grant.credential),
            health=Health.OK,
            reason="",
            fail_count=0,
            next_try_at=now + MINIMUM,
            updated_at=now,
        )
        if await self._save(renewed, current.generation):
            self._wakeups.wake(current.id)
            return renewed
        newer = await self._store.by_id(current.id)
        if newer is None:
            with suppress(ValetkeyError):
                await handler.revoke(grant.credential)  # nobody else knows of it
            raise RefreshFailed(FAILED + " The account was disconnected meanwhile.")
        _log.warning("connection %s moved on while it was refreshed; the newer credential is used", current.id)
        return newer

    async def _within(self, refreshing: Awaitable[Grant], handler: Handler) -> Grant:
        """A refresh that outlives its lease could be sent twice."""
        limit = asyncio.timeout(OWN)
        try:
            async with limit:
                return await refreshing
        except TimeoutError:
            if not limit.expired():
                raise
            raise ProviderUnavailable(f"{handler.name} did not refresh within {OWN:g} s. Call again.") from None

    async def _save(self, renewed: Connection, generation: int) -> bool:
        """Save a rotation. The old token may be dead by now: while the database cannot take it, it is tried again."""
        deadline = self._clock.monotonic() + LEASE
        while True:
            try:
                return await self._store.save(renewed, generation=generation)
            except StoreUnavailable:
                if self._clock.monotonic() > deadline:
                    raise
            await self._clock.sleep(RETRY)

    async def mark(self, current: Connection, health: Health, reason: str, *, wait: float = 0.0) -> None:
        """Note a failure; the credential and its generation stay, so that nothing is lost.

        ``wait``: seconds that the provider asked for before the next try.
        """
        now = self._clock.now()
        count = current.fail_count + 1
        await self._store.save(
            replace(
                unleased(current),
                health=health,
                reason=reason,
                fail_count=count,
                next_try_at=now + max(wait, min(300.0, 2.0 ** min(count, 9))),
                updated_at=now,
            ),
            generation=current.generation,
        )
        self._wakeups.wake(current.id)


def unleased(connection: Connection) -> Connection:
    """The same, with no refresh in flight."""
    return replace(connection, lease_owner="", lease_until=0.0, attempt_id="", attempt_started=0.0)


async def _follow(flight: concurrent.futures.Future[Connection]) -> Connection:
    """Wait for it, not for ever: a user's own handler may fly on the very loop that a synchronous call blocks."""
    try:
        async with asyncio.timeout(FOLLOW):
            return await asyncio.wrap_future(flight)
    except TimeoutError:
        raise ProviderUnavailable("The account is being refreshed, and that does not end. Call again.") from None
