"""Send a token or revocation request; say done, again later, final, or our configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from valetkey.errors import AuthRefused, InvalidSetting, ProviderUnavailable, RefreshFailed, ValetkeyError
from valetkey.model.connections import Subject
from valetkey.oauth.clients import ClientSettings
from valetkey.oauth.notes import Notes
from valetkey.ports.world import Clock, Fetcher, Request, Response, Trust
from valetkey.protocol import token as wire
from valetkey.protocol.authorize import endpoint_fault
from valetkey.protocol.client_auth import Proof, prove
from valetkey.protocol.foreign import shown
from valetkey.protocol.id_token import same_account
from valetkey.protocol.token import Refusal, TokenAnswer, TokenRequest, Verdict
from valetkey.providers.base import ClientAuth, Endpoint, OAuth2, Provider, TokenFormat
from valetkey.secret import Secret

FAILED = "Failed to refresh the token. Please re-authenticate."

DEADLINE = 10.0
"""Seconds that a request may take, be it sent again with the client's other secret."""

DISCARD = 3.0
"""The same for a token that is not wanted, while somebody waits for the rest."""

LAST_TRY = 1.0
"""Seconds that the second secret has at least."""

# What a refusal means. A code is used up whatever the reason; a refresh token only when the provider says so.
OF_CODE: Mapping[Verdict, type[ValetkeyError]] = {
    Verdict.LATER: ProviderUnavailable,
    Verdict.FINAL: AuthRefused,
    Verdict.UNCLEAR: AuthRefused,
    Verdict.CONFIGURATION: InvalidSetting,
}
OF_REFRESH: Mapping[Verdict, type[ValetkeyError]] = {
    Verdict.LATER: ProviderUnavailable,
    Verdict.FINAL: RefreshFailed,
    Verdict.UNCLEAR: ProviderUnavailable,
    Verdict.CONFIGURATION: InvalidSetting,
}

Judged_co = TypeVar("Judged_co", covariant=True)
Build = Callable[[Proof], TokenRequest]


class Judge(Protocol[Judged_co]):
    """What an answer means; ``now`` in seconds since the epoch."""

    def __call__(self, answer: Response, /, *, now: float) -> Judged_co:
        """The verdict."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """We, at one provider. Each method sends one request for one thing, and never sends it again.

    But for one case: a provider that does not know us by one of our two secrets (``invalid_client``) has not looked
    at what was asked; it is asked once more with the other one.

    Attributes:
        provider: whose endpoints they are.
        oauth2: the endpoints, settled, and the dialect.
        settings: who we are there.
        notes: what is remembered of the provider.
    """

    provider: Provider
    oauth2: OAuth2
    settings: ClientSettings
    fetcher: Fetcher
    clock: Clock
    notes: Notes

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
        extras = self.extras(self.oauth2.token_parameters)
        sent = [code, *([verifier] if verifier else [])]
        answer = await self.ask(
            lambda proof: wire.code_request(
                code=code, redirect_uri=redirect_uri, verifier=verifier, proof=proof, extras=extras
            ),
            sent,
            OF_CODE,
        )
        answer = self.first_subject(answer)
        widened = self.widened(answer.scopes, asked)
        if widened:
            await self.discard(answer)
            known = [*self.known_secrets(sent), answer.access_token, *filter(None, [answer.refresh_token])]
            raise AuthRefused(
                f"{self.provider.title} granted more than was asked for, so nothing was kept: "
                f"{shown(', '.join(sorted(widened)), secrets=known)}. If its documentation says that it does, its "
                "entry should say so: unasked_scopes, or scopes_may_widen."
            )
        return answer

    async def refresh(
        self,
        *,
        refresh_token: Secret,
        held: frozenset[str],
        subject: Subject | None = None,
        secrets: Sequence[Secret] = (),
    ) -> TokenAnswer:
        """Renew with a refresh token (RFC 6749 §6). Scopes beyond those held are not recorded.

        Args:
            refresh_token: what renews.
            held: the scopes of the connection.
            subject: whose account it is; where that is known, an ID token of anybody else is refused.
            secrets: what else no error may show, such as the access token of now.

        Raises:
            RefreshFailed: the refresh token is dead, or the answer is for another account.
            InvalidSetting: the provider refuses us, the client.
            ProviderUnavailable: no decision; the refresh token may still be good.
            ExchangeFailed: no whole answer.
            BlockedAddress: the endpoint may not be called.
        """
        extras = self.extras(self.oauth2.refresh_parameters)
        answer = await self.ask(
            lambda proof: wire.refresh_request(refresh_token=refresh_token, proof=proof, extras=extras),
            [refresh_token, *secrets],
            OF_REFRESH,
        )
        answer = await self._same_subject(answer, subject)
        if answer.scopes is None:
            return answer
        # A token that was rotated is kept in any case: the old one is dead by now.
        return replace(answer, scopes=answer.scopes - self.widened(answer.scopes, held))

    async def revoke(self, *, token: Secret, hint: str, deadline: float = DEADLINE) -> bool:
        """Revoke a token; False where the provider has no endpoint for it (RFC 7009 §2).

        Raises:
            ProviderUnavailable: the provider did not say that it is revoked.
            ExchangeFailed: no whole answer within ``deadline`` seconds.
            BlockedAddress: the endpoint may not be called.
        """
        if self.oauth2.revoke is None:
            return False
        refusal = await self.send(
            self.oauth2.revoke,
            self.oauth2.revoke_client_auth or self.oauth2.client_auth,
            lambda proof: wire.revocation_request(token=token, hint=hint, proof=proof),
            partial(wire.judge_revocation, expected=self.expected, secrets=self.known_secrets([token])),
            deadline=deadline,
        )
        if refusal is not None:
            raise ProviderUnavailable(
                f"{self.provider.title} did not confirm that the token is revoked ({refusal.text}). "
                "Revoke it in the account's own settings there.",
                retry_after=refusal.retry_after,
            )
        return True

    async def discard(self, answer: TokenAnswer) -> None:
        """A token that is not wanted should not live on at the provider."""
        with suppress(ValetkeyError):
            if answer.refresh_token is not None:
                await self.revoke(token=answer.refresh_token, hint="refresh_token", deadline=DISCARD)
            else:
                await self.revoke(token=answer.access_token, hint="access_token", deadline=DISCARD)

    def first_subject(self, answer: TokenAnswer) -> TokenAnswer:
        """The answer, with the account that its ID token names where that can be relied on from now on."""
        fault = answer.subject_fault
        if answer.subject is not None and self.settings.client_id not in answer.subject.audience:
            fault = "it is meant for another program"  # OpenID Connect Core §3.1.3.7, item 3
        if not fault:
            return answer
        self.notes.warn(
            "id_token",
            "An ID token of %(provider)s is passed over: %(fault)s. Whether later answers are for the same account "
            "is not known.",
            {"fault": fault},
        )
        return replace(answer, subject=None)

    async def _same_subject(self, answer: TokenAnswer, known: Subject | None) -> TokenAnswer:
        """The answer, unless it is for somebody else (OpenID Connect Core §12.2); without an ID token it says nothing.

        Raises:
            RefreshFailed: it is for another account, or does not say clearly for which.
        """
        if known is None:
            return self.first_subject(answer)
        silent = answer.subject is None and not answer.subject_fault
        if silent or (answer.subject is not None and same_account(known, answer.subject)):
            return answer
        await self.discard(answer)
        said = (
            f"its ID token cannot be read: {answer.subject_fault}" if answer.subject_fault else "its ID token says so"
        )
        raise RefreshFailed(
            f"{FAILED} {self.provider.title} answered for another account than the one that was connected ({said}), "
            "so nothing of it was kept."
        )

    async def ask(
        self, build: Build, sent: Sequence[Secret], errors: Mapping[Verdict, type[ValetkeyError]]
    ) -> TokenAnswer:
        """Send a token request, and judge the answer.

        Args:
            build: makes the request from the proof of who we are.
            sent: what it holds that no error may show.
            errors: what each kind of refusal means here.

        Raises:
            ValetkeyError: one of ``errors``.
            ExchangeFailed: no whole answer.
            BlockedAddress: the endpoint may not be called.
        """
        judged = await self.send(
            self.oauth2.token,
            self.oauth2.client_auth,
            build,
            partial(wire.judge_token, expected=self.expected, secrets=self.known_secrets(sent)),
        )
        if isinstance(judged, Refusal):
            raise self._error(judged, errors[judged.verdict])
        if judged.scopes is None:
            return judged
        return replace(judged, scopes=wire.included(judged.scopes, self.oauth2.scope_implies))

    async def send(
        self,
        endpoint: Endpoint,
        method: ClientAuth,
        build: Build,
        judge: Judge[Judged_co],
        *,
        deadline: float = DEADLINE,
    ) -> Judged_co:
        """Send a request, and once more with our other secret where the provider does not know us by the first."""
        secrets: Sequence[Secret | None] = self.notes.ordered(self.settings.secrets)
        if not secrets or method is ClientAuth.NONE:
            secrets = [None]
        ends = self.clock.monotonic() + deadline
        for secret in secrets:
            left = max(ends - self.clock.monotonic(), LAST_TRY)
            request = build(prove(method, client_id=self.settings.client_id, secret=secret))
            response = await self._post(endpoint, request, deadline=min(left, deadline))
            judged = judge(response, now=self.clock.now())
            refusal = judged if isinstance(judged, Refusal) else None
            if refusal is not None and refusal.code == "invalid_client" and secret is not secrets[-1]:
                continue
            if secret is not None and len(secrets) > 1 and (refusal is None or refusal.verdict is Verdict.FINAL):
                self.notes.took(secret)
            break
        return judged

    async def _post(self, endpoint: Endpoint, request: TokenRequest, *, deadline: float) -> Response:
        fault = endpoint_fault(endpoint.url, operator=endpoint.operator)
        if fault is not None:
            raise InvalidSetting(
                f"An endpoint of {self.provider.title} cannot be used: {fault}. Expected https://host/path; "
                f"correct token_url and revoke_url of auth.{self.provider.name}."
            )
        response = await self.fetcher.fetch(
            Request(
                method="POST",
                url=endpoint.url,
                trust=Trust.OPERATOR if endpoint.operator else Trust.CATALOGUE,
                headers=request.headers,
                body=request.body,
                deadline=deadline,
            )
        )
        self.notes.hear(response.header("date"), now=self.clock.now())
        return response

    def _error(self, refusal: Refusal, kind: type[ValetkeyError]) -> ValetkeyError:
        """The error to raise, with what to do next."""
        title, said = self.provider.title, refusal.text
        if kind is AuthRefused:
            return AuthRefused(f"{title} did not accept the sign-in ({said}). Ask for a new link to try again.")
        if kind is RefreshFailed:
            return RefreshFailed(f"{FAILED} {title} answered: {said}")
        if kind is InvalidSetting:
            setting = f"auth.{self.provider.name}"
            lacking = "" if self.settings.secrets else f" {setting}.client_secret is not set."
            return InvalidSetting(
                f"{title} and this program are not set up for each other ({said}). Check {setting}.client_id "
                f"and {setting}.client_secret, and the redirect URI that is registered there.{lacking} "
                "Accounts that are connected stay connected."
            )
        return ProviderUnavailable(
            f"{title} gave no usable answer ({said}). Try again later.", retry_after=refusal.retry_after
        )

    def widened(self, granted: frozenset[str] | None, asked: frozenset[str]) -> frozenset[str]:
        """What was granted without having been asked for, where that matters (RFC 6749 §3.3, §5.1)."""
        sent = asked and self.oauth2.scope_parameter
        if granted is None or not sent or self.oauth2.scopes_may_widen:
            return frozenset()
        return granted - wire.included(asked | self.oauth2.unasked_scopes, self.oauth2.scope_implies)

    def extras(self, parameters: Mapping[str, str]) -> wire.Extras:
        """What this provider wants in its token requests, with these parameters."""
        return wire.Extras(
            parameters=parameters,
            headers=self.oauth2.token_headers,
            as_json=self.oauth2.token_format is TokenFormat.JSON,
        )

    def known_secrets(self, sent: Sequence[Secret]) -> list[Secret]:
        """What no text of ours may show."""
        return [*sent, *self.settings.secrets]

    @property
    def expected(self) -> wire.Expected:
        """How this provider writes its answers."""
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
