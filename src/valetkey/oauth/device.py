"""The device grant driven over the fetcher: ask for codes, then poll. The device code is in no text (RFC 8628)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from valetkey.errors import AuthRefused, InvalidSetting, MissingSetting, ProviderUnavailable
from valetkey.oauth.client import OAuthClient
from valetkey.protocol import device as wire
from valetkey.protocol import token
from valetkey.protocol.device import DeviceCodes, Poll
from valetkey.protocol.token import Refusal, TokenAnswer, Verdict
from valetkey.providers.base import Endpoint
from valetkey.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """What one poll brought: tokens, or what it means that there are none.

    Attributes:
        answer: the tokens; None: there are none.
        poll: what that means for the next one.
        text: what the provider said, fit to show.
        retry_after: seconds that it asked to be left alone.
    """

    answer: TokenAnswer | None = None
    poll: Poll = Poll.PENDING
    text: str = ""
    retry_after: float | None = None


def device_endpoint(client: OAuthClient) -> Endpoint:
    """Where device codes are had.

    Raises:
        MissingSetting: the provider's entry names no such endpoint.
    """
    if client.oauth2.device is None:
        name = client.provider.name
        raise MissingSetting(
            f"{client.provider.title} has no device authorization endpoint in its entry. Set auth.{name}.device_url, "
            f"or connect with {name}-oauth2."
        )
    return client.oauth2.device


async def ask(client: OAuthClient, *, scopes: frozenset[str]) -> DeviceCodes:
    """Ask for a device code and a user code (§3.1).

    Raises:
        MissingSetting: the provider has no endpoint for it.
        InvalidSetting: the provider refuses us, the client, or what we ask for.
        ProviderUnavailable: no usable answer.
        ExchangeFailed: no whole answer.
        BlockedAddress: the endpoint may not be called.
    """
    oauth2, endpoint = client.oauth2, device_endpoint(client)
    resource = {"resource": client.settings.resource} if client.settings.resource else {}
    found = await client.send(
        endpoint,
        oauth2.client_auth,
        lambda proof: wire.device_request(
            client_id=client.settings.client_id,
            proof=proof,
            scopes=sorted(scopes),
            scope_parameter=oauth2.scope_parameter,
            scope_separator=oauth2.scope_separator,
            extra=resource,
        ),
        partial(wire.judge_codes, operator=endpoint.operator, secrets=client.known_secrets([])),
    )
    if isinstance(found, DeviceCodes):
        return found
    title, setting = client.provider.title, f"auth.{client.provider.name}"
    if found.verdict is Verdict.LATER or not found.code:
        raise ProviderUnavailable(
            f"{title} gave no usable device code ({found.text}). Try again later.", retry_after=found.retry_after
        )
    raise InvalidSetting(
        f"{title} gives this program no device code ({found.text}). Check {setting}.client_id, the scopes, and that "
        "the device flow is switched on for this client there."
    )


async def poll(client: OAuthClient, *, device_code: Secret, asked: frozenset[str]) -> Polled:
    """Ask once whether the person has answered (§3.4).

    Raises:
        AuthRefused: more was granted than was asked for; nothing is kept.
        InvalidSetting: an endpoint cannot be used.
        ExchangeFailed: no whole answer.
        BlockedAddress: the endpoint may not be called.
    """
    sent = [device_code]
    resource = {"resource": client.settings.resource} if client.settings.resource else {}
    found = await client.send(
        client.oauth2.token,
        client.oauth2.client_auth,
        lambda proof: wire.poll_request(
            device_code=device_code,
            client_id=client.settings.client_id,
            proof=proof,
            extra={**client.oauth2.token_parameters, **resource},
        ),
        partial(token.judge_token, expected=client.expected, secrets=client.known_secrets(sent)),
    )
    if isinstance(found, Refusal):
        return Polled(poll=wire.judge_poll(found), text=found.text, retry_after=found.retry_after)
    answer = client.first_subject(found)
    if answer.scopes is not None:
        answer = replace(answer, scopes=token.included(answer.scopes, client.oauth2.scope_implies))
    if client.widened(answer.scopes, asked):
        await client.discard(answer)
        raise AuthRefused(f"{client.provider.title} granted more than was asked for, so nothing was kept.")
    return Polled(answer=answer)
