"""Endpoints that an issuer's metadata names, where a provider's entry leaves them to it (RFC 8414)."""

from __future__ import annotations

from dataclasses import replace

from valetkey.errors import InvalidSetting
from valetkey.oauth.discovery import discover, trust_of
from valetkey.ports.world import Clock, Fetcher, Trust
from valetkey.protocol.metadata import Metadata
from valetkey.providers.base import Endpoint, OAuth2, Provider

DEADLINE = 5.0
"""Seconds that asking for metadata may take."""

LIFE = 3600.0
"""Seconds for which metadata is believed."""


class Issuers:
    """What issuers say of themselves, asked for at first need and kept for an hour. For the home loop."""

    def __init__(self, fetcher: Fetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._known: dict[tuple[str, Trust], tuple[float, Metadata]] = {}

    async def complete(self, provider: Provider, oauth2: OAuth2, *, operator: bool) -> OAuth2:
        """The same with the endpoints that were left to the issuer's metadata.

        Args:
            provider: whose entry it is.
            oauth2: its OAuth 2 part, settled.
            operator: whether the operator named the issuer, not the catalogue.

        Raises:
            ProviderUnavailable: the issuer gave no usable answer.
            ExchangeFailed: no whole answer in time.
            BlockedAddress: it may not be called.
            InvalidSetting: it has no token endpoint.
        """
        if not oauth2.discovered:
            return oauth2
        trust = Trust.OPERATOR if operator else Trust.CATALOGUE
        found = await self._metadata(oauth2.issuer, trust)

        def end(url: str) -> Endpoint | None:
            named = trust_of(url, issuer=oauth2.issuer, trust=trust) is Trust.OPERATOR
            return Endpoint(url, operator=named) if url else None

        token = oauth2.token if oauth2.token.url else end(found.token_url)
        if token is None:
            raise InvalidSetting(
                f"The metadata of {provider.title} names no token endpoint. Set auth.{provider.name}.token_url."
            )
        authorize = oauth2.authorize if oauth2.authorize.url else end(found.authorize_url)
        return replace(oauth2, token=token, authorize=authorize or oauth2.authorize)

    async def _metadata(self, issuer: str, trust: Trust) -> Metadata:
        now = self._clock.monotonic()
        held = self._known.get((issuer, trust))
        if held is not None and now - held[0] < LIFE:
            return held[1]
        ends = now + DEADLINE
        found = await discover(
            self._fetcher, issuer=issuer, trust=trust, left=lambda: max(ends - self._clock.monotonic(), 0.0)
        )
        self._known[issuer, trust] = (now, found)
        return found
