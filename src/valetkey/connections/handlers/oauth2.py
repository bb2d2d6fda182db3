"""Authorization code with PKCE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from valetkey.connections.at_provider import OAuth2Base, World
from valetkey.connections.handler import Begun, Flow
from valetkey.errors import AuthRefused, RefreshFailed
from valetkey.model.connections import Credential, Grant
from valetkey.oauth.client import FAILED, OAuthClient
from valetkey.protocol.authorize import authorization_url, judge_callback
from valetkey.protocol.token import TokenAnswer
from valetkey.providers.base import HandlerEntry, OAuth2, Provider
from valetkey.secret import Secret


class OAuth2Handler(OAuth2Base):
    """An account connected by the authorization code grant (RFC 6749 §4.1) with PKCE (RFC 7636)."""

    def __init__(self, *, provider: Provider, entry: HandlerEntry, world: World) -> None:
        super().__init__(provider=provider, entry=entry, world=world)
        self.revocation_ends_all = entry.oauth2 is not None and entry.oauth2.revocation_ends_all

    async def begin(self, flow: Flow) -> Begun:
        """Make the link to the provider's own page.

        Raises:
            MissingSetting: this provider has no client id, or no value for a placeholder, in settings.
            InvalidSetting: its endpoints cannot be used.
        """
        return self._link(flow, await self.client(), self.world.entropy.token(32))

    async def reopen(self, flow: Flow, private: Mapping[str, str]) -> Begun | None:
        """The same state and verifier, so that a link opened before still finishes; more scopes."""
        client = await self.client()
        if _fixed(client) != _as_begun(private):
            return None
        return self._link(flow, client, private["verifier"])

    def judge(self, private: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> Mapping[str, str]:
        """The code of a callback that the provider of this flow sent (RFC 6749 §4.1.2, RFC 9207 §2.4)."""
        promised = private["iss_in_callback"] == "yes"
        return {"code": judge_callback(parameters, issuer=private["issuer"], iss_promised=promised)}

    async def finish(self, flow: Flow, private: Mapping[str, str], answer: Mapping[str, str]) -> Grant:
        """Exchange the code, at the endpoint that was fixed when the flow began."""
        client = await self.client()
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
        client = await self.client()
        given = await client.refresh(
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
        client = await self.client()
        if credential.refresh_token is not None:
            await client.revoke(token=credential.refresh_token, hint="refresh_token")
        return await client.revoke(token=credential.access_token, hint="access_token")

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
        expires_at = None if given.lifetime is None else self.world.clock.now() + given.lifetime
        return Grant(credential=credential, scopes=given.scopes, expires_at=expires_at)


def _fixed(client: OAuthClient) -> dict[str, str]:
    """What must not change while a flow is open: to whom its code, and our secret, will go."""
    return {"token_url": client.oauth2.token.url, "client_id": client.settings.client_id}


def _as_begun(private: Mapping[str, str]) -> dict[str, str]:
    return {"token_url": private["token_url"], "client_id": private["client_id"]}


def _to_ask(flow: Flow, oauth2: OAuth2) -> frozenset[str]:
    return flow.scopes | oauth2.refresh_scopes if flow.scopes else flow.scopes
