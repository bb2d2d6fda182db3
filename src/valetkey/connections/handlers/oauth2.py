"""Authorization code with PKCE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict
from urllib.parse import quote

from valetkey.connections.at_provider import OAuth2Personal, scopes_to_ask
from valetkey.connections.handler import Begun, Flow
from valetkey.errors import AuthRefused, RefreshFailed
from valetkey.model.connections import Credential, Grant
from valetkey.oauth.client import OAuthClient
from valetkey.oauth.pushing import push
from valetkey.oauth.refusals import INVALID_TARGET, invalid_target
from valetkey.protocol.authorize import authorization_parameters, authorization_url, judge_callback
from valetkey.secret import Secret


class OAuth2Handler(OAuth2Personal):
    """An account connected by the authorization code grant (RFC 6749 §4.1) with PKCE (RFC 7636)."""

    async def begin(self, flow: Flow) -> Begun:
        """Make the link to the provider's own page.

        Raises:
            MissingSetting: this provider has no client id, or no value for a placeholder, in settings.
            InvalidSetting: its endpoints cannot be used.
        """
        client = await self.client(redirect_uri=flow.redirect_uri, look=True)
        key = self.world.entropy.token(32) if client.oauth2.dpop else ""
        return self._link(flow, client, self.world.entropy.token(32), key)

    async def reopen(self, flow: Flow, private: Mapping[str, str]) -> Begun | None:
        """The same state and verifier, so that a link opened before still finishes; more scopes."""
        if self.registers() and flow.redirect_uri != private["redirect_uri"]:
            return None  # another client's
        client = await self._begun(private)
        if client is None:
            return None
        return self._link(flow, client, private["verifier"], private.get("dpop_key", ""))

    def judge(self, private: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> Mapping[str, str]:
        """The code of a callback that the provider of this flow sent (RFC 6749 §4.1.2, RFC 9207 §2.4)."""
        promised = private["iss_in_callback"] == "yes"
        try:
            return {"code": judge_callback(parameters, issuer=private["issuer"], iss_promised=promised)}
        except AuthRefused as refused:
            if ("error", INVALID_TARGET) not in parameters:
                raise
            raise AuthRefused(invalid_target(self.provider, str(refused))) from None

    async def finish(self, flow: Flow, private: Mapping[str, str], answer: Mapping[str, str]) -> Grant:
        """Exchange the code, at the endpoint that was fixed when the flow began."""
        client = await self._begun(private)
        if client is None:
            # RFC 9700 §4.4: a code goes only to the server that it came from.
            raise AuthRefused(
                f"The settings of {self.provider.title} changed while the sign-in was open, so nothing was sent. "
                "Ask for a new link."
            )
        key = _key(private)
        client = self.holding(client, key)
        async with self.refused(client, _ask_again):
            given = await client.exchange(
                code=Secret(answer["code"]),
                redirect_uri=private["redirect_uri"],
                verifier=Secret(private["verifier"]) if client.oauth2.pkce else None,
                asked=scopes_to_ask(flow.scopes, client.oauth2),
            )
        return self.granted(
            given,
            Credential(
                access_token=given.access_token,
                refresh_token=given.refresh_token,
                token_type=given.token_type,
                client_id=client.settings.client_id,
                subject=given.subject,
                dpop_key=key,
            ),
        )

    async def start(self, flow: Flow, private: Mapping[str, str]) -> str:
        """Push the request, and give the link that opens it (RFC 9126)."""
        client = await self._begun(private)
        par = None if client is None else client.oauth2.par
        if client is None or par is None:
            raise AuthRefused(
                f"The settings of {self.provider.title} changed while the sign-in was open. Ask for a new link."
            )
        client = self.holding(client, _key(private))
        parameters = authorization_parameters(
            **_request(flow, client, private["verifier"], redirect_uri=private["redirect_uri"])
        )
        async with self.refused(client, _ask_again):
            return await push(client, par, parameters)

    async def _begun(self, private: Mapping[str, str]) -> OAuthClient | None:
        """The client that an open flow began with, whichever serves new ones; None: it is gone, or settings changed."""
        try:
            client = await self.client(client_id=private["client_id"])
        except RefreshFailed:
            return None
        return client if _fixed(client) == _as_begun(private) else None

    def _link(self, flow: Flow, client: OAuthClient, verifier: str, key: str) -> Begun:
        client = self.holding(client, Secret(key) if key else None)
        oauth2 = client.oauth2
        # Built in any case: what cannot be asked is told now.
        url = authorization_url(
            oauth2.authorize.url,
            operator=oauth2.authorize.operator,
            **_request(flow, client, verifier, redirect_uri=flow.redirect_uri),
        )
        if oauth2.par is not None:
            url = f"{flow.pages}/auth/{self.provider.name}/oauth2/start?state={quote(flow.state, safe='')}"
        private = {
            **_fixed(client),
            "verifier": verifier,
            "dpop_key": key,
            "redirect_uri": flow.redirect_uri,
            "issuer": oauth2.issuer,
            "iss_in_callback": "yes" if oauth2.iss_in_callback else "no",
            "par": oauth2.par.url if oauth2.par else "",
        }
        return Begun(url=url, private=private)


def _key(private: Mapping[str, str]) -> Secret | None:
    """What the key is made of to which this flow's token will be bound; flows of before have none."""
    key = private.get("dpop_key", "")
    return Secret(key) if key else None


def _ask_again(why: str) -> AuthRefused:
    return AuthRefused(f"{why} Ask for a new link.")


class _Request(TypedDict):
    client_id: str
    redirect_uri: str
    state: str
    verifier: str | None
    scopes: frozenset[str]
    scope_parameter: str
    scope_separator: str
    extra: Mapping[str, str]


def _request(flow: Flow, client: OAuthClient, verifier: str, *, redirect_uri: str) -> _Request:
    """What is asked, in whichever way."""
    oauth2 = client.oauth2
    return _Request(
        client_id=client.settings.client_id,
        redirect_uri=redirect_uri,
        state=flow.state,
        verifier=verifier if oauth2.pkce else None,
        scopes=scopes_to_ask(flow.scopes, oauth2),
        scope_parameter=oauth2.scope_parameter,
        scope_separator=oauth2.scope_separator,
        extra={
            **client.named(oauth2.authorize_parameters),
            **client.resource,
            # RFC 9449 §10: the code is of no use without our key either.
            **({"dpop_jkt": client.possession.thumbprint} if client.possession else {}),
        },
    )


def _fixed(client: OAuthClient) -> dict[str, str]:
    """What must not change while a flow is open: to whom its code, and our secret, will go."""
    return {"token_url": client.oauth2.token.url, "client_id": client.settings.client_id}


def _as_begun(private: Mapping[str, str]) -> dict[str, str]:
    return {"token_url": private["token_url"], "client_id": private["client_id"]}
