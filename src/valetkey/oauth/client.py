"""Send a token or revocation request; say done, again later, final, or our configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from valetkey.errors import AuthRefused, InvalidSetting, ProviderUnavailable, RefreshFailed, ValetkeyError
from valetkey.oauth.clients import ClientSettings
from valetkey.ports.world import Clock, Fetcher, Request, Response, Trust
from valetkey.protocol import token as wire
from valetkey.protocol.authorize import endpoint_fault
from valetkey.protocol.client_auth import Proof, prove
from valetkey.protocol.foreign import shown
from valetkey.protocol.token import Refusal, TokenAnswer, TokenRequest, Verdict
from valetkey.providers.base import ClientAuth, Endpoint, OAuth2, Provider, TokenFormat
from valetkey.secret import Secret

FAILED = "Failed to refresh the token. Please re-authenticate."


# What a refusal means. A code is used up whatever the reason; a refresh token only when the provider says so.
_OF_CODE: Mapping[Verdict, type[ValetkeyError]] = {
    Verdict.LATER: ProviderUnavailable,
    Verdict.FINAL: AuthRefused,
    Verdict.UNCLEAR: AuthRefused,
    Verdict.CONFIGURATION: InvalidSetting,
}
_OF_REFRESH: Mapping[Verdict, type[ValetkeyError]] = {
    Verdict.LATER: ProviderUnavailable,
    Verdict.FINAL: RefreshFailed,
    Verdict.UNCLEAR: ProviderUnavailable,
    Verdict.CONFIGURATION: InvalidSetting,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """We, at one provider. Each method sends one request for one thing, and never sends it again.

    Attributes:
        provider: whose endpoints they are.
        oauth2: the endpoints, settled, and the dialect.
        settings: who we are there.
    """

    provider: Provider
    oauth2: OAuth2
    settings: ClientSettings
    fetcher: Fetcher
    clock: Clock

    async def exchange(
        self, *, code: Secret, redirect_uri: str, verifier: Secret | None, asked: frozenset[str]
    ) -> TokenAnswer:
        """Exchange a code (RFC 6749 §4.1.3).

        Args:
            code: what the callback brought.
            redirect_uri: the one of the authorization request.
            verifier: the PKCE verifier; None where no challenge was sent.
            asked: the scopes of the authorization request.

        Raises:
            AuthRefused: the code is not taken, or more was granted than asked for.
            InvalidSetting: the provider refuses us, the client.
            ProviderUnavailable: no decision; the code must not be sent again.
            ExchangeFailed: no whole answer.
            BlockedAddress: the endpoint may not be called.
        """
        request = wire.code_request(
            code=code,
            redirect_uri=redirect_uri,
            verifier=verifier,
            proof=self._proof(self.oauth2.client_auth),
            extras=self._extras(self.oauth2.token_parameters),
        )
        sent = [code, *([verifier] if verifier else [])]
        answer = await self._ask(request, sent, _OF_CODE)
        widened = self._widened(answer.scopes, asked)
        if widened:
            await self._discard(answer)
            known = [*self._known(sent), answer.access_token, *filter(None, [answer.refresh_token])]
            raise AuthRefused(
                f"{self.provider.title} granted more than was asked for, so nothing was kept: "
                f"{shown(', '.join(sorted(widened)), secrets=known)}. If its documentation says that it does, its "
                "entry should say so: unasked_scopes, or scopes_may_widen."
            )
        return answer

    async def refresh(
        self, *, refresh_token: Secret, held: frozenset[str], secrets: Sequence[Secret] = ()
    ) -> TokenAnswer:
        """Renew with a refresh token (RFC 6749 §6). Scopes beyond those held are not recorded.

        Args:
            refresh_token: what renews.
            held: the scopes of the connection.
            secrets: what else no error may show, such as the access token of now.

        Raises:
            RefreshFailed: the refresh token is dead.
            InvalidSetting: the provider refuses us, the client.
            ProviderUnavailable: no decision; the refresh token may still be good.
            ExchangeFailed: no whole answer.
            BlockedAddress: the endpoint may not be called.
        """
        request = wire.refresh_request(
            refresh_token=refresh_token,
            proof=self._proof(self.oauth2.client_auth),
            extras=self._extras(self.oauth2.refresh_parameters),
        )
        answer = await self._ask(request, [refresh_token, *secrets], _OF_REFRESH)
        if answer.scopes is None:
            return answer
        # A token that was rotated is kept in any case: the old one is dead by now.
        return replace(answer, scopes=answer.scopes - self._widened(answer.scopes, held))

    async def revoke(self, *, token: Secret, hint: str) -> bool:
        """Revoke a token; False where the provider has no endpoint for it (RFC 7009 §2).

        Raises:
            ProviderUnavailable: the provider did not say that it is revoked.
            ExchangeFailed: no whole answer.
            BlockedAddress: the endpoint may not be called.
        """
        if self.oauth2.revoke is None:
            return False
        proof = self._proof(self.oauth2.revoke_client_auth or self.oauth2.client_auth)
        request = wire.revocation_request(token=token, hint=hint, proof=proof)
        response = await self._post(self.oauth2.revoke, request)
        refusal = wire.judge_revocation(
            response, expected=self._expected, now=self.clock.now(), secrets=self._known([token])
        )
        if refusal is not None:
            raise ProviderUnavailable(
                f"{self.provider.title} did not confirm that the token is revoked ({refusal.text}). "
                "Revoke it in the account's own settings there.",
                retry_after=refusal.retry_after,
            )
        return True

    async def _discard(self, answer: TokenAnswer) -> None:
        """A token that is not wanted should not live on at the provider."""
        with suppress(ValetkeyError):
            if answer.refresh_token is not None:
                await self.revoke(token=answer.refresh_token, hint="refresh_token")
            else:
                await self.revoke(token=answer.access_token, hint="access_token")

    async def _ask(
        self, request: TokenRequest, sent: Sequence[Secret], errors: Mapping[Verdict, type[ValetkeyError]]
    ) -> TokenAnswer:
        response = await self._post(self.oauth2.token, request)
        judged = wire.judge_token(response, expected=self._expected, now=self.clock.now(), secrets=self._known(sent))
        if isinstance(judged, Refusal):
            raise self._error(judged, errors[judged.verdict])
        if judged.scopes is None:
            return judged
        return replace(judged, scopes=wire.included(judged.scopes, self.oauth2.scope_implies))

    async def _post(self, endpoint: Endpoint, request: TokenRequest) -> Response:
        fault = endpoint_fault(endpoint.url, operator=endpoint.operator)
        if fault is not None:
            raise InvalidSetting(
                f"An endpoint of {self.provider.title} cannot be used: {fault}. Expected https://host/path; "
                f"correct token_url and revoke_url of auth.{self.provider.name}."
            )
        return await self.fetcher.fetch(
            Request(
                method="POST",
                url=endpoint.url,
                trust=Trust.OPERATOR if endpoint.operator else Trust.CATALOGUE,
                headers=request.headers,
                body=request.body,
            )
        )

    def _error(self, refusal: Refusal, kind: type[ValetkeyError]) -> ValetkeyError:
        """The error to raise, with what to do next."""
        title, said = self.provider.title, refusal.text
        if kind is AuthRefused:
            return AuthRefused(f"{title} did not accept the sign-in ({said}). Ask for a new link to try again.")
        if kind is RefreshFailed:
            return RefreshFailed(f"{FAILED} {title} answered: {said}")
        if kind is InvalidSetting:
            setting = f"auth.{self.provider.name}"
            lacking = "" if self.settings.client_secret else f" {setting}.client_secret is not set."
            return InvalidSetting(
                f"{title} and this program are not set up for each other ({said}). Check {setting}.client_id "
                f"and {setting}.client_secret, and the redirect URI that is registered there.{lacking} "
                "Accounts that are connected stay connected."
            )
        return ProviderUnavailable(
            f"{title} gave no usable answer ({said}). Try again later.", retry_after=refusal.retry_after
        )

    def _widened(self, granted: frozenset[str] | None, asked: frozenset[str]) -> frozenset[str]:
        """What was granted without having been asked for, where that matters (RFC 6749 §3.3, §5.1)."""
        sent = asked and self.oauth2.scope_parameter
        if granted is None or not sent or self.oauth2.scopes_may_widen:
            return frozenset()
        return granted - wire.included(asked | self.oauth2.unasked_scopes, self.oauth2.scope_implies)

    def _proof(self, method: ClientAuth) -> Proof:
        return prove(method, client_id=self.settings.client_id, secret=self.settings.client_secret)

    def _extras(self, parameters: Mapping[str, str]) -> wire.Extras:
        return wire.Extras(
            parameters=parameters,
            headers=self.oauth2.token_headers,
            as_json=self.oauth2.token_format is TokenFormat.JSON,
        )

    def _known(self, sent: Sequence[Secret]) -> list[Secret]:
        return [*sent, *([self.settings.client_secret] if self.settings.client_secret else [])]

    @property
    def _expected(self) -> wire.Expected:
        dialect = self.oauth2
        # Slack has a user's token under authed_user, and a refreshed one on top.
        paths = (dialect.answer_path, ()) if dialect.answer_path else ((),)
        return wire.Expected(
            paths=paths,
            success_field=dialect.success_field,
            token_types=dialect.token_types,
            error_codes=dialect.error_codes,
            scope_field=dialect.granted_parameter,
            separators=dialect.granted_separators,
            lifetime=dialect.lifetime,
        )
