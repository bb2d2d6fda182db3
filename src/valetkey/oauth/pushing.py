"""Push an authorization request, and give the link that opens it (RFC 9126)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from valetkey.errors import AuthRefused, InvalidSetting, ProviderUnavailable
from valetkey.oauth.client import OAuthClient
from valetkey.protocol.pushed import judge_pushed, pushed_request, pushed_url
from valetkey.protocol.token import Refusal, Verdict
from valetkey.providers.base import Endpoint


async def push(client: OAuthClient, endpoint: Endpoint, parameters: Mapping[str, str]) -> str:
    """Push a request; the link for the browser, good for a minute or so, once.

    Args:
        client: we, at that provider.
        endpoint: where requests are pushed to.
        parameters: all of the authorization request (RFC 6749 §4.1.1), its challenge included.

    Raises:
        AuthRefused: the provider does not take the request.
        InvalidSetting: it refuses us, the client, or an endpoint cannot be used.
        ProviderUnavailable: it gave no usable answer.
        ExchangeFailed: no whole answer.
        BlockedAddress: the endpoint may not be called.
    """
    judged = await client.send(
        endpoint,
        client.oauth2.client_auth,
        lambda proof: pushed_request(parameters, proof=proof),
        partial(judge_pushed, expected=client.expected, secrets=client.known_secrets([])),
    )
    if isinstance(judged, Refusal):
        title, setting = client.provider.title, f"auth.{client.provider.name}"
        if judged.verdict is Verdict.LATER:
            raise ProviderUnavailable(
                f"{title} cannot be asked now ({judged.text}). Load this page again in a minute.",
                retry_after=judged.retry_after,
            )
        if judged.verdict is Verdict.CONFIGURATION:
            raise InvalidSetting(
                f"{title} and this program are not set up for each other ({judged.text}). Check {setting}.client_id "
                f"and {setting}.client_secret."
            )
        raise AuthRefused(
            f"{title} does not take the request for this sign-in ({judged.text}). Check the scopes that the tool asks "
            "for and the redirect URI that is registered there, then ask for a new link."
        )
    authorize = client.oauth2.authorize
    return pushed_url(authorize.url, operator=authorize.operator, client_id=client.settings.client_id, pushed=judged)
