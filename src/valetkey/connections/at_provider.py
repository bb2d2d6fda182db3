"""We at one provider, as settings have it now: what every OAuth 2 handler begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from valetkey.connections.handler import Handler, placed
from valetkey.connections.variables import filled, mapping_of
from valetkey.errors import InvalidSetting, ValetkeyError
from valetkey.model.calls import Loan
from valetkey.model.connections import Credential
from valetkey.oauth.client import OAuthClient
from valetkey.oauth.clients import Clients
from valetkey.oauth.issuers import Issuers
from valetkey.ports.world import Clock, Entropy, Fetcher
from valetkey.providers.base import HandlerEntry, OAuth2, Provider
from valetkey.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What OAuth 2 handlers are made of."""

    clients: Clients
    issuers: Issuers
    fetcher: Fetcher
    entropy: Entropy
    clock: Clock


class OAuth2Base(Handler):
    """What the grants have in common: the entry's variables, origins and placement, and the client."""

    def __init__(self, *, provider: Provider, entry: HandlerEntry, world: World) -> None:
        self.name = entry.name
        self.provider = provider
        self.scoped = entry.scoped
        self.default = entry.default
        self.entry = entry
        self.world = world

    @property
    def recommended_scopes(self) -> frozenset[str]:
        """The entry's, unless ``auth.<provider>.use_recommended_scope`` is false."""
        wanted = self.world.clients.of(self.provider.name).use_recommended_scope
        return self.entry.recommended_scopes if wanted else frozenset()

    @cached_property
    def origins(self) -> frozenset[str]:
        """The provider's, and those of the servers that settings name. A change of settings makes a new handler."""
        try:
            return self.world.clients.settle(self.provider).origins
        except ValetkeyError:
            return self.provider.origins

    async def client(self) -> OAuthClient:
        """We at this provider, as settings have it now; what the entry leaves to the issuer's metadata is filled in.

        Raises:
            MissingSetting: settings name no client id, or no value for a placeholder.
            InvalidSetting: an endpoint cannot be used.
            ProviderUnavailable, ExchangeFailed: the issuer could not be asked for its metadata.
            BlockedAddress: it may not be called.
        """
        world = self.world
        settings = world.clients.require(self.provider)
        provider, oauth2 = self.settled()
        operator = bool(settings.issuer) or oauth2.token.operator
        return OAuthClient(
            provider=provider,
            oauth2=await world.issuers.complete(provider, oauth2, operator=operator),
            settings=settings,
            fetcher=world.fetcher,
            clock=world.clock,
            notes=world.clients.notes(self.provider),
        )

    def settled(self) -> tuple[Provider, OAuth2]:
        """The provider and the OAuth 2 part of its entry, as settings have them now.

        Raises:
            MissingSetting: settings have no value for a placeholder.
            InvalidSetting: an endpoint cannot be used.
        """
        provider = self.world.clients.settle(self.provider)
        entry = provider.handler(self.name)
        if entry is None or entry.oauth2 is None:
            raise InvalidSetting(f"The entry of {self.name} has no oauth2 part. Give it authorize and token URLs.")
        return provider, entry.oauth2

    def variables(self, credential: Credential) -> Mapping[str, Secret]:
        """The entry's variables."""
        return filled(mapping_of(self.entry, self.provider), credential)

    def variable_names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(mapping_of(self.entry, self.provider))

    def loan(self, credential: Credential) -> Loan:
        """The token where the provider takes it."""
        token = credential.access_token
        return placed(self.name, token, self.entry.placement) if token else Loan(handler=self.name)
