"""Authorization code with PKCE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from valetkey.connections.handler import Begun, Flow, Handler
from valetkey.connections.variables import filled, mapping_of
from valetkey.errors import AuthRefused, InvalidSetting, RefreshFailed, ValetkeyError
from valetkey.model.connections import Credential, Grant
from valetkey.oauth.client import FAILED, OAuthClient
from valetkey.oauth.clients import Clients
from valetkey.ports.world import Clock, Entropy, Fetcher
from valetkey.protocol.authorize import authorization_url, judge_callback
from valetkey.protocol.token import TokenAnswer
from valetkey.providers.base import HandlerEntry, OAuth2, Provider
from valetkey.secret import Secret


class OAuth2Handler(Handler):
    """An account connected by the authorization code grant (RFC 6749 §4.1) with PKCE (RFC 7636)."""

    def __init__(
        self,
        *,
        provider: Provider,
        entry: HandlerEntry,
        clients: Clients,
        fetcher: Fetcher,
        entropy: Entropy,
        clock: Clock,
    ) -> None:
        self.name = entry.name
        self.provider = provider
        self.scoped = entry.scoped
        self.default = entry.default
        self.revocation_ends_all = entry.oauth2 is not None and entry.oauth2.revocation_ends_all
        self._entry = entry
        self._clients = clients
        self._fetcher = fetcher
        self._entropy = entropy
        self._clock = clock

    @property
    def recommended_scopes(self) -> frozenset[str]:
        """The entry's, unless ``auth.<provider>.use_recommended_scope`` is false."""
        wanted = self._clients.of(self.provider.name).use_recommended_scope
        return self._entry.recommended_scopes if wanted else frozenset()

    @cached_property
    def origins(self) -> frozenset[str]:
        """The provider's, and those of the servers that settings name. A change of settings makes a new handler."""
        try:
            return self._clients.settle(self.provider).origins
        except ValetkeyError:
            return self.provider.origins

    async def begin(self, flow: Flow) -> Begun:
        """Make the link to the provider's own page.

        Raises:
            MissingSetting: this provider has no client id, or no value for a placeholder, in settings.
            InvalidSetting: its endpoints cannot be used.
        """
        return self._link(flow, self._client(), self._entropy.token(32))

    def reopen(self, flow: Flow, private: Mapping[str, str]) -> Begun | None:
        """The same state and verifier, so that a link opened before still finishes; more scopes."""
        client = self._client()
        if _fixed(client) != _as_begun(private):
            return None
        return self._link(flow, client, private["verifier"])

    def judge(self, private: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> Mapping[str, str]:
        """The code of a callback that the provider of this flow sent (RFC 6749 §4.1.2, RFC 9207 §2.4)."""
        promised = private["iss_in_callback"] == "yes"
        return {"code": judge_callback(parameters, issuer=private["issuer"], iss_promised=promised)}

    async def finish(self, flow: Flow, private: Mapping[str, str], answer: Mapping[str, str]) -> Grant:
        """Exchange the code, at the endpoint that was fixed when the flow began."""
        client = self._client()
        if _fixed(client) != _as_begun(private):
            # RFC 9700 §4.4: a code goes only to the server that it came from.
            raise AuthRefused(
                f"The settings of {self.provider.title} changed while the sign-in was open, so nothing was sent. "
                "Ask for a new link."
            )
        given = await client.exchange(
            code=Secret(answer["code"]),
            redirect_uri=private["redirect_uri"],
            verifier=Secret(private["verifier"]) if client.oauth2.pkce else None,
            asked=_to_ask(flow, client.oauth2),
        )
        return self._grant(
            given,
            Credential(
                access_token=given.access_token,
                refresh_token=given.refresh_token,
                token_type=given.token_type,
                client_id=client.settings.client_id,
                subject=given.subject,
            ),
        )

    def check_refresh(self, credential: Credential) -> None:
        """A refresh token is the client's that it was issued to (RFC 6749 §6): another one's is not sent.

        Raises:
            MissingSetting, InvalidSetting: this program's own settings do not do; another one's may.
        """
        self._client()
        ours = self._clients.of(self.provider.name).client_id
        if credential.client_id and ours and credential.client_id != ours:
            raise RefreshFailed(
                f"{FAILED} This {self.provider.title} account was connected with another client id than the one that "
                f"auth.{self.provider.name}.client_id names. Use that one, or connect the account again."
            )

    async def refresh(self, credential: Credential, scopes: frozenset[str]) -> Grant:
        """Renew. Where the answer brings no new refresh token, the old one stays (RFC 6749 §6)."""
        if credential.refresh_token is None:
            raise RefreshFailed(f"{FAILED} {self.provider.title} gave no refresh token.")
        given = await self._client().refresh(
            refresh_token=credential.refresh_token,
            held=scopes,
            subject=credential.subject,
            secrets=[credential.access_token],
        )
        return self._grant(
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
        client = self._client()
        if credential.refresh_token is not None:
            await client.revoke(token=credential.refresh_token, hint="refresh_token")
        return await client.revoke(token=credential.access_token, hint="access_token")

    def variables(self, credential: Credential) -> Mapping[str, Secret]:
        """The entry's variables."""
        return filled(mapping_of(self._entry, self.provider), credential)

    def variable_names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(mapping_of(self._entry, self.provider))

    def _client(self) -> OAuthClient:
        """We at this provider, as settings have it now."""
        settings = self._clients.require(self.provider)
        provider = self._clients.settle(self.provider)
        entry = provider.handler(self.name)
        if entry is None or entry.oauth2 is None:
            raise InvalidSetting(f"The entry of {self.name} has no oauth2 part. Give it authorize and token URLs.")
        return OAuthClient(
            provider=provider,
            oauth2=entry.oauth2,
            settings=settings,
            fetcher=self._fetcher,
            clock=self._clock,
            notes=self._clients.notes(self.provider),
        )

    def _link(self, flow: Flow, client: OAuthClient, verifier: str) -> Begun:
        oauth2 = client.oauth2
        url = authorization_url(
            oauth2.authorize.url,
            operator=oauth2.authorize.operator,
            client_id=client.settings.client_id,
            redirect_uri=flow.redirect_uri,
            state=flow.state,
            verifier=verifier if oauth2.pkce else None,
            scopes=_to_ask(flow, oauth2),
            scope_parameter=oauth2.scope_parameter,
            scope_separator=oauth2.scope_separator,
            extra=oauth2.authorize_parameters,
        )
        private = {
            **_fixed(client),
            "verifier": verifier,
            "redirect_uri": flow.redirect_uri,
            "issuer": oauth2.issuer,
            "iss_in_callback": "yes" if oauth2.iss_in_callback else "no",
        }
        return Begun(url=url, private=private)

    def _grant(self, given: TokenAnswer, credential: Credential) -> Grant:
        expires_at = None if given.lifetime is None else self._clock.now() + given.lifetime
        return Grant(credential=credential, scopes=given.scopes, expires_at=expires_at)


def _fixed(client: OAuthClient) -> dict[str, str]:
    """What must not change while a flow is open: to whom its code, and our secret, will go."""
    return {"token_url": client.oauth2.token.url, "client_id": client.settings.client_id}


def _as_begun(private: Mapping[str, str]) -> dict[str, str]:
    return {"token_url": private["token_url"], "client_id": private["client_id"]}


def _to_ask(flow: Flow, oauth2: OAuth2) -> frozenset[str]:
    return flow.scopes | oauth2.refresh_scopes if flow.scopes else flow.scopes
