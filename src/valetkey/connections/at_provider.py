"""We at one provider, as settings have it now: what every OAuth 2 handler begins with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from valetkey.connections.handler import Handler, placed
from valetkey.connections.variables import filled, mapping_of
from valetkey.connections.whose import Whose
from valetkey.errors import InvalidSetting, RefreshFailed, ValetkeyError
from valetkey.model.calls import Loan
from valetkey.model.connections import Credential, Grant
from valetkey.oauth.assertions import Signing
from valetkey.oauth.client import OAuthClient
from valetkey.oauth.clients import Clients, ClientSettings
from valetkey.oauth.discovery import trust_of
from valetkey.oauth.issuers import Issuers
from valetkey.oauth.possession import TYPE as BOUND
from valetkey.oauth.possession import Possession
from valetkey.oauth.refusals import FAILED
from valetkey.oauth.registering import Registering
from valetkey.ports.world import Clock, Entropy, Fetcher, Trust
from valetkey.protocol.token import TokenAnswer
from valetkey.providers.base import Endpoint, HandlerEntry, OAuth2, Placement, Provider, Userinfo
from valetkey.providers.endpoints import NAMES
from valetkey.secret import Secret

TO_COME = Secret("to come")
"""The secret of a client that is still to be registered: one that has a secret is asked for, where there may be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What our handlers are made of.

    Attributes:
        whose: asks providers whose an account is; None: nobody is asked.
        registering: registers us at providers where settings name no client id; None: nobody does.
    """

    clients: Clients
    issuers: Issuers
    fetcher: Fetcher
    entropy: Entropy
    clock: Clock
    whose: Whose | None = None
    registering: Registering | None = None


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

    async def client(self, *, redirect_uri: str = "", client_id: str = "", look: bool = False) -> OAuthClient:
        """We at this provider, as settings have it now; what the entry leaves to the issuer's metadata is filled in.

        Where settings name no client id and the provider registers clients, we are the one that it registered.

        Args:
            redirect_uri: that of a flow, for which a client is registered where there is none.
            client_id: the client that a credential was issued to, or that an open flow began with.
            look: whether to ask the provider if it still knows a registered client.

        Raises:
            MissingSetting: settings name no client id, or no value for a placeholder.
            InvalidSetting: an endpoint cannot be used.
            ProviderUnavailable, ExchangeFailed: the issuer could not be asked for its metadata.
            BlockedAddress: it may not be called.
            RefreshFailed: the registered client of that id is gone.
        """
        world = self.world
        registers = self.registers() and bool(redirect_uri or client_id)
        settings = world.clients.of(self.provider.name) if registers else self.who()
        provider, oauth2 = self.settled()
        operator = bool(settings.issuer) or oauth2.token.operator
        assumed = replace(settings, client_secret=TO_COME, private_key=None) if registers else settings
        oauth2 = await world.issuers.complete(provider, oauth2, operator=operator, settings=assumed)
        if registers:
            settings, oauth2 = await self._registered(provider, oauth2, settings, redirect_uri, client_id, look=look)
        return OAuthClient(
            provider=provider,
            oauth2=oauth2,
            settings=settings,
            fetcher=world.fetcher,
            clock=world.clock,
            notes=world.clients.notes(self.provider),
            signing=Signing(
                provider=provider, settings=settings, clients=world.clients, clock=world.clock, entropy=world.entropy
            ),
        )

    def registers(self) -> bool:
        """Whether we are, or are to be, a client that the provider registered."""
        settings, oauth2 = self.world.clients.of(self.provider.name), self.entry.oauth2
        if settings.client_id or self.world.registering is None or oauth2 is None:
            return False
        return bool(settings.registration_url or settings.issuer or oauth2.registration or oauth2.discovered)

    async def _registered(
        self,
        provider: Provider,
        oauth2: OAuth2,
        settings: ClientSettings,
        redirect_uri: str,
        client_id: str,
        *,
        look: bool,
    ) -> tuple[ClientSettings, OAuth2]:
        registering = self.world.registering
        known = None
        if registering is not None and client_id:
            known = await registering.of_id(provider, oauth2, settings, client_id=client_id)
        if known is None:
            if registering is None or oauth2.registration is None:
                return self.who(), oauth2
            if client_id:
                raise RefreshFailed(f"{FAILED} The client by which {provider.title} knew this program is gone.")
            known = await registering.client(provider, oauth2, settings, redirect_uri=redirect_uri, look=look)
        return known.settings, replace(oauth2, client_auth=known.method)

    @asynccontextmanager
    async def refused(self, client: OAuthClient, then: Callable[[str], ValetkeyError]) -> AsyncIterator[None]:
        """Where the provider refuses a registered client because it has forgotten it, so do we.

        Then a new flow registers another one; what was connected with the old one ends with the error that ``then``
        makes.
        """
        try:
            yield
        except InvalidSetting:
            registering = self.world.registering
            if registering is None or not self.registers():
                raise
            if not await registering.forgotten(client.provider, client.oauth2, client_id=client.settings.client_id):
                raise
            raise then(
                f"{self.provider.title} has forgotten this program, which registers there anew with the next link."
            ) from None

    def who(self) -> ClientSettings:
        """Who we are there.

        Raises:
            MissingSetting: settings do not say.
        """
        return self.world.clients.require(self.provider)

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

    async def asks(self) -> Userinfo | None:
        """The entry's request, as settings have it now; else the one that the issuer's metadata names.

        Raises:
            ProviderUnavailable, BlockedAddress: the issuer could not be asked for its metadata.
            MissingSetting, InvalidSetting: see :meth:`settled`.
        """
        settings = self.world.clients.of(self.provider.name)
        entry = self.world.clients.settle(self.provider).handler(self.name)
        if entry is None or entry.userinfo is not None or entry.oauth2 is None:
            return None if entry is None else entry.userinfo
        oauth2 = entry.oauth2
        if not oauth2.discovered or settings.userinfo_url is not None:
            return None
        trust = Trust.OPERATOR if settings.issuer or oauth2.token.operator else Trust.CATALOGUE
        url = (await self.world.issuers.metadata(oauth2.issuer, trust)).userinfo_url
        named = trust_of(url, issuer=oauth2.issuer, trust=trust) is Trust.OPERATOR
        return Userinfo(url=Endpoint(url, operator=named), account=NAMES, subject="sub") if url else None

    def variables(self, credential: Credential) -> Mapping[str, Secret]:
        """The entry's variables."""
        return filled(mapping_of(self.entry, self.provider), credential)

    def variable_names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(mapping_of(self.entry, self.provider))

    def loan(self, credential: Credential) -> Loan:
        """The token where the provider takes it; one that is bound to a key with a proof for each request."""
        token, key = credential.access_token, credential.dpop_key
        if not token:
            return Loan(handler=self.name)
        if key is None or credential.token_type != BOUND:
            return placed(self.name, token, self.entry.placement)
        bound = placed(self.name, token, Placement(prefix="DPoP "))  # RFC 9449 §7.1
        return replace(bound, prover=replace(self._possession(key), token=token))

    def holding(self, client: OAuthClient, key: Secret | None) -> OAuthClient:
        """The same client, whose tokens are bound to that key; None: to none."""
        return client if key is None else replace(client, possession=self._possession(key))

    def bound(self, client: OAuthClient) -> OAuthClient:
        """The same client, whose next token is bound to a new key, where settings or the entry say so."""
        return self.holding(client, Secret(self.world.entropy.token(32)) if client.oauth2.dpop else None)

    def _possession(self, key: Secret) -> Possession:
        world = self.world
        return Possession(seed=key, notes=world.clients.notes(self.provider), clock=world.clock, entropy=world.entropy)


class OAuth2Personal(OAuth2Base):
    """What the grants have in common that a person takes part in: refreshing, and revoking upstream."""

    def __init__(self, *, provider: Provider, entry: HandlerEntry, world: World) -> None:
        super().__init__(provider=provider, entry=entry, world=world)
        self.revocation_ends_all = entry.oauth2 is not None and entry.oauth2.revocation_ends_all

    def check_refresh(self, credential: Credential) -> None:
        """A refresh token is the client's that it was issued to (RFC 6749 §6): another one's is not sent.

        Raises:
            MissingSetting, InvalidSetting: this program's own settings do not do; another one's may.
        """
        if self.registers():
            self.settled()
            return  # whose it is is found by the client id that is kept with it
        self.world.clients.require(self.provider)
        self.settled()
        ours = self.world.clients.of(self.provider.name).client_id
        if credential.client_id and ours and credential.client_id != ours:
            raise RefreshFailed(
                f"{FAILED} This {self.provider.title} account was connected with another client id than the one that "
                f"auth.{self.provider.name}.client_id names. Use that one, or connect the account again."
            )

    async def refresh(self, credential: Credential, scopes: frozenset[str]) -> Grant:
        """Renew. Where the answer brings no new refresh token, the old one stays (RFC 6749 §6)."""
        if credential.refresh_token is None:
            raise RefreshFailed(f"{FAILED} {self.provider.title} gave no refresh token.")
        client = self.holding(await self.client(client_id=credential.client_id), credential.dpop_key)
        async with self.refused(client, lambda why: RefreshFailed(f"{FAILED} {why}")):
            given = await client.refresh(
                refresh_token=credential.refresh_token,
                held=scopes,
                subject=credential.subject,
                secrets=[credential.access_token],
            )
        return self.granted(
            given,
            replace(
                credential,
                access_token=given.access_token,
                refresh_token=given.refresh_token or credential.refresh_token,
                token_type=given.token_type,
                subject=credential.subject or given.subject,
            ),
        )

    async def revoke(self, credential: Credential) -> bool:
        """Revoke the refresh token, then the access token: not every server ends both with one (RFC 7009 §2.1)."""
        client = await self.client(client_id=credential.client_id)
        if credential.refresh_token is not None:
            await client.revoke(token=credential.refresh_token, hint="refresh_token")
        return await client.revoke(token=credential.access_token, hint="access_token")

    def granted(self, given: TokenAnswer, credential: Credential) -> Grant:
        """What was given, as a grant of that credential."""
        expires_at = None if given.lifetime is None else self.world.clock.now() + given.lifetime
        return Grant(credential=credential, scopes=given.scopes, expires_at=expires_at)


def scopes_to_ask(scopes: frozenset[str], oauth2: OAuth2) -> frozenset[str]:
    """What is sent besides whenever scopes are sent, as there is no refresh token without it."""
    return scopes | oauth2.refresh_scopes if scopes else scopes
