"""Grants that no person takes part in, driven over the fetcher: each asks once, and judges what was issued."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from valetkey.errors import AuthRefused, InvalidSetting, ProviderUnavailable, ValetkeyError
from valetkey.oauth.client import OAuthClient
from valetkey.oauth.refusals import INVALID_TARGET, invalid_target
from valetkey.ports.world import Response
from valetkey.protocol import token as wire
from valetkey.protocol.client_auth import Proof
from valetkey.protocol.exchange import (
    assertion_request,
    exchange_fault,
    exchange_request,
    on_behalf_request,
)
from valetkey.protocol.foreign import shown
from valetkey.protocol.token import Refusal, TokenAnswer, TokenRequest, Verdict
from valetkey.providers.base import ClientAuth, Endpoint, ExchangeDialect
from valetkey.secret import Secret

Fault = Callable[[Response, TokenAnswer], str]


async def client_credentials(client: OAuthClient, *, scopes: frozenset[str]) -> TokenAnswer:
    """A token for the program itself (RFC 6749 §4.4); a refresh token that comes along is not kept (§4.4.3).

    Raises:
        InvalidSetting: the provider refuses us, the client, or what we ask for; or granted more.
        ProviderUnavailable: no decision.
        ExchangeFailed: no whole answer.
        BlockedAddress: the endpoint may not be called.
    """
    parameters = {**client.oauth2.token_parameters, **_audience(client)}
    return await _ask(
        client,
        lambda proof: wire.client_credentials_request(
            scope=scope_of(client, scopes), proof=proof, extras=client.extras(parameters)
        ),
        sent=(),
        asked=scopes,
        advice=_set_up(client, "client_id and client_secret"),
    )


async def by_assertion(
    client: OAuthClient, *, assertion: Secret, scopes: frozenset[str], sent: bool, token: Endpoint, proven: bool
) -> TokenAnswer:
    """A token for a service account (RFC 7523 §2.1).

    Args:
        client: we, at the provider.
        assertion: signed by the service account's key.
        scopes: what is asked for.
        sent: whether the request names the scopes; else the assertion does.
        token: the token endpoint.
        proven: whether we say who we are as a client, and prove it where settings say by what.

    Raises:
        InvalidSetting: the provider does not take the assertion, or granted more.
        ProviderUnavailable: no decision.
        ExchangeFailed: no whole answer.
        BlockedAddress: the endpoint may not be called.
    """
    oauth2 = client.oauth2
    at = replace(
        client,
        oauth2=replace(
            oauth2,
            token=token,
            # Another server's token is not shown to the provider's.
            revoke=oauth2.revoke if token.url == oauth2.token.url else None,
            client_auth=oauth2.client_auth if proven else ClientAuth.NONE,
        ),
    )
    scope = scope_of(client, scopes) if sent else ""
    return await _ask(
        at,
        lambda proof: assertion_request(
            assertion=assertion,
            scope=scope,
            proof=proof if proven else Proof(),
            extras=client.extras(client.oauth2.token_parameters),
        ),
        sent=[assertion],
        asked=scopes,
        advice=_set_up(client, "service_account (or private_key, key_id and client_id), subject and audience"),
    )


async def exchanged(client: OAuthClient, *, subject: Secret, scopes: frozenset[str]) -> TokenAnswer:
    """A token for whoever presented that one (RFC 8693; RFC 7523 §2.1 where the provider has it so).

    The caller saw to it that we judged the subject token, and that it is good now.

    Raises:
        AuthRefused: the provider does not take the user's token, or issued another than was asked for.
        InvalidSetting: it refuses us, the client, or what we ask for.
        ProviderUnavailable: no decision.
        ExchangeFailed: no whole answer.
        BlockedAddress: the endpoint may not be called.
    """
    standard = client.oauth2.exchange is ExchangeDialect.TOKEN_EXCHANGE
    scope, extras = scope_of(client, scopes), client.extras(client.oauth2.token_parameters)
    named = frozenset(filter(None, (client.settings.audience, client.settings.resource))) if standard else frozenset()

    def build(proof: Proof) -> TokenRequest:
        if not standard:
            return on_behalf_request(subject=subject, scope=scope, proof=proof, extras=extras)
        return exchange_request(
            subject=subject, audience=client.settings.audience, scope=scope, proof=proof, extras=extras
        )

    def fault(response: Response, answer: TokenAnswer) -> str:
        return exchange_fault(response, token=answer.access_token, audiences=named, issued_type=standard)

    title = client.provider.title
    return await _ask(
        client,
        build,
        sent=[subject],
        asked=scopes,
        advice=_set_up(client, "client_id and client_secret, audience and resource, and that it may exchange tokens"),
        fault=fault,
        refused=f"{title} gave nothing for the token with which you are signed in here. Sign in again, with an account "
        f"that {title} knows.",
    )


def scope_of(client: OAuthClient, scopes: Collection[str]) -> str:
    """The scopes as this provider has them in one text."""
    return client.oauth2.scope_separator.join(sorted(scopes)) if client.oauth2.scope_parameter else ""


async def _ask(
    client: OAuthClient,
    build: Callable[[Proof], TokenRequest],
    *,
    sent: Sequence[Secret],
    asked: frozenset[str],
    advice: str,
    fault: Fault | None = None,
    refused: str = "",
) -> TokenAnswer:
    secrets = client.known_secrets(sent)
    came: list[Response] = []

    def judge(answer: Response, /, *, now: float) -> TokenAnswer | Refusal:
        came.append(answer)
        return wire.judge_token(answer, expected=client.expected, now=now, secrets=secrets)

    judged = await client.send(client.oauth2.token, client.oauth2.client_auth, build, judge)
    if isinstance(judged, Refusal):
        raise _error(client, judged, advice, refused)
    answer = replace(judged, subject=None)
    if answer.scopes is not None:
        answer = replace(answer, scopes=wire.included(answer.scopes, client.oauth2.scope_implies))
    widened = client.widened(answer.scopes, asked)
    why = fault(came[-1], answer) if fault is not None else ""
    if widened:
        known = [*secrets, answer.access_token, *filter(None, [answer.refresh_token])]
        why = f"more than was asked for: {shown(', '.join(sorted(widened)), secrets=known)}"
    if why:
        await client.discard(answer)
        kind: type[ValetkeyError] = AuthRefused if refused else InvalidSetting
        raise kind(f"{client.provider.title} gave {why}. Nothing was kept. {advice}")
    return replace(answer, refresh_token=None)


def _error(client: OAuthClient, refusal: Refusal, advice: str, refused: str) -> ValetkeyError:
    title, said = client.provider.title, refusal.text
    if refusal.verdict is Verdict.LATER:
        return ProviderUnavailable(
            f"{title} gave no usable answer ({said}). Try again later.", retry_after=refusal.retry_after
        )
    if refusal.code == INVALID_TARGET:
        return InvalidSetting(invalid_target(client.provider, said))
    if refused and refusal.verdict is not Verdict.CONFIGURATION:
        return AuthRefused(f"{refused} It said: {said}")
    return InvalidSetting(f"{title} gives this program no token ({said}). {advice}")


def _audience(client: OAuthClient) -> dict[str, str]:
    return {"audience": client.settings.audience} if client.settings.audience else {}


def _set_up(client: OAuthClient, what: str) -> str:
    return f"Whoever runs this program checks {what} of auth.{client.provider.name}, and what is registered there."
