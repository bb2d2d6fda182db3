"""What issuers of providers say of themselves: one flight each, bounded, the last good kept through an outage."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field

from valetkey.errors import ExchangeFailed, ProviderUnavailable
from valetkey.oauth.clients import NOTHING, ClientSettings
from valetkey.oauth.completing import completed
from valetkey.oauth.discovery import believed, discover_whole
from valetkey.ports.world import Clock, Fetcher, Trust
from valetkey.protocol.foreign import shown
from valetkey.protocol.metadata import Metadata
from valetkey.providers.base import OAuth2, Provider

DEADLINE = 5.0
"""Seconds that asking for metadata may take."""

LIFE = 3600.0
"""Seconds for which metadata is believed at most."""

SHORTEST_LIFE = 60.0
"""Seconds for which it is believed at least, whatever its headers say."""

RETRY = 10.0
"""Seconds after a failure before the issuer is asked again."""

STALE = 86_400.0
"""Seconds for which the last good metadata serves while the issuer cannot be asked."""

MOST = 500
"""Issuers that are remembered."""

_log = logging.getLogger("valetkey")


@dataclass(slots=True)
class _Held:
    """What is held of one issuer. All times are monotonic."""

    flight: asyncio.Lock = field(default_factory=asyncio.Lock)
    metadata: Metadata | None = None
    fetched_at: float = 0.0
    life: float = 0.0
    failed_at: float = float("-inf")
    fault: str = ""


class Issuers:
    """Asks issuers at first need, never before. For the home loop."""

    def __init__(self, fetcher: Fetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._told: set[str] = set()
        self._known: OrderedDict[tuple[str, Trust], _Held] = OrderedDict()

    async def complete(
        self, provider: Provider, oauth2: OAuth2, *, operator: bool, settings: ClientSettings = NOTHING
    ) -> OAuth2:
        """The same with the endpoints, and the dialect, that were left to the issuer's metadata.

        Args:
            provider: whose entry it is, settled.
            oauth2: its OAuth 2 part, settled.
            operator: whether the operator named the issuer, not the catalogue.
            settings: what we have to prove who we are.

        Raises:
            ProviderUnavailable: the issuer gave no usable answer.
            ExchangeFailed: no whole answer in time; nothing else was sent.
            BlockedAddress: it may not be called.
            InvalidSetting: it has no token endpoint, or one that must not have our secret; names the setting to write.
        """
        if not oauth2.discovered:
            return oauth2
        trust = Trust.OPERATOR if operator else Trust.CATALOGUE
        try:
            found = await self.metadata(oauth2.issuer, trust)
        except ExchangeFailed as error:
            if not settings.issuer:
                raise
            advice = f"The setting auth.{provider.name}.issuer names that issuer."
            raise ExchangeFailed(f"{error.message} {advice}", sent=error.sent, late=error.late) from None
        return completed(provider, oauth2, found, trust=trust, settings=settings, tell=self._tell)

    def _tell(self, what: str) -> None:
        """Log each thing once, not with every call."""
        if what not in self._told and len(self._told) < MOST:
            self._told.add(what)
            _log.warning(what)

    async def metadata(self, issuer: str, trust: Trust) -> Metadata:
        """What an issuer says of itself, from memory where that is young.

        Raises:
            ProviderUnavailable, ExchangeFailed, BlockedAddress: as for :meth:`complete`.
        """
        held = self._held(issuer, trust)
        async with held.flight:
            now = self._clock.monotonic()
            if held.metadata is not None and now - held.fetched_at < held.life:
                return held.metadata
            if now - held.failed_at >= RETRY:
                await self._ask(held, issuer, trust, now)
            if held.metadata is not None and (not held.fault or now - held.fetched_at < STALE):
                return held.metadata
            raise ExchangeFailed(held.fault, sent=False)

    async def _ask(self, held: _Held, issuer: str, trust: Trust, now: float) -> None:
        ends = now + DEADLINE
        try:
            held.metadata, answer = await discover_whole(
                self._fetcher, issuer=issuer, trust=trust, left=lambda: max(ends - self._clock.monotonic(), 0.0)
            )
        except ProviderUnavailable as error:
            held.failed_at = now
            if held.fault != error.message:
                _log.warning("metadata of %s cannot be had: %s", shown(issuer), error.message)
            held.fault = error.message
        else:
            held.fetched_at, held.life, held.fault = now, believed(answer, least=SHORTEST_LIFE, most=LIFE), ""

    def _held(self, issuer: str, trust: Trust) -> _Held:
        key = (issuer, trust)
        held = self._known.setdefault(key, _Held())
        self._known.move_to_end(key)
        if len(self._known) > MOST:
            # One that is being asked stays where it is for those who wait; it is asked again by whoever comes later.
            self._known.popitem(last=False)
        return held
