"""Send a token or revocation request; say done, again later, final, or our configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from valetkey.errors import AuthRefused, InvalidSetting, ProviderUnavailable, RefreshFailed, ValetkeyError
from valetkey.model.connections import Subject
from valetkey.oauth.assertions import Signing
from valetkey.oauth.clients import ClientSettings
from valetkey.oauth.notes import Notes
from valetkey.oauth.possession import TYPE, Possession
from valetkey.oauth.refusals import FAILED, OF_CODE, OF_REFRESH, error_of
from valetkey.ports.world import Clock, Fetcher, Request, Response, Trust
from valetkey.protocol import token as wire
from valetkey.protocol.authorize import endpoint_fault
from valetkey.protocol.client_auth import Proof, prove
from valetkey.protocol.foreign import read_object, shown
from valetkey.protocol.id_token import same_account
from valetkey.protocol.token import Refusal, TokenAnswer, TokenRequest, Verdict
from valetkey.providers.base import ClientAuth, Endpoint, OAuth2, Provider, TokenFormat
from valetkey.secret import Secret

DEADLINE = 10.0
"""Seconds that a request may take, be it sent again with the client's other secret."""

DISCARD = 3.0
"""The same for a token that is not wanted, while somebody waits for the rest."""

LAST_TRY = 1.0
"""Seconds that the second secret has at least."""

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
        signing: by which key we sign there; None: by none.
        possession: the key to which tokens are bound; None: they are bound to none.
    """

    provider: Provider
    oauth2: OAuth2
    settings: ClientSettings
    fetcher: Fetcher
    clock: Clock
    notes: Notes
    signing: Signing | None = None
    possession: Possession | None = None

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
            endpoint=self.oauth2.refresh,
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

    async def discard(self, answer: TokenAnswer, *, spare: bool = True) -> None:
        """A token that is not wanted should not live on.

        ``spare``: whether it may, where revoking it could end an account that is connected.
        """
        if spare and self.oauth2.revocation_ends_all:
            return
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
        if known is None or not known.audience:
            # One that the provider's API named, not an ID token, has nothing to be compared with.
            return self.first_subject(answer)
        silent = answer.subject is None and not answer.subject_fault
        if silent or (answer.subject is not None and same_account(known, answer.subject)):
            return answer
        await self.discard(answer, spare=False)  # the account needs its person in any case
        said = (
            f"its ID token cannot be read: {answer.subject_fault}" if answer.subject_fault else "its ID token says so"
        )
        raise RefreshFailed(
            f"{FAILED} {self.provider.title} answered for another account than the one that was connected ({said}), "
            "so nothing of it was kept."
        )

    async def ask(
        self,
        build: Build,
        sent: Sequence[Secret],
        errors: Mapping[Verdict, type[ValetkeyError]],
        *,
        endpoint: Endpoint | None = None,
    ) -> TokenAnswer:
        """Send a token request, and judge the answer.

        Args:
            build: makes the request from the proof of who we are.
            sent: what it holds that no error may show.
            errors: what each kind of refusal means here.
            endpoint: where, if not at the token endpoint.

        Raises:
            ValetkeyError: one of ``errors``.
            ExchangeFailed: no whole answer.
            BlockedAddress: the endpoint may not be called.
        """
        judged = await self.send(
            endpoint or self.oauth2.token,
            self.oauth2.client_auth,
            build,
            partial(wire.judge_token, expected=self.expected, secrets=self.known_secrets(sent)),
        )
        if isinstance(judged, Refusal):
            raise error_of(judged, errors[judged.verdict], provider=self.provider, settings=self.settings)
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
        """Send a request, and once more with our other secret where the provider does not know us by the first.

        A token request goes with the proof that we hold our key, where there is one.
        """
        secrets: Sequence[Secret | None] = self.notes.ordered(self.settings.secrets)
        if not secrets or method in (ClientAuth.NONE, ClientAuth.PRIVATE_KEY_JWT):
            secrets = [None]
        prover = self.possession if endpoint in (self.oauth2.token, self.oauth2.refresh) else None
        ends = self.clock.monotonic() + deadline
        for secret in secrets:
            left = max(ends - self.clock.monotonic(), LAST_TRY)
            request = build(self._proof(method, secret))
            response = await self._post(endpoint, request, deadline=min(left, deadline), prover=prover)
            if prover and prover.hear(endpoint.url, response.header("dpop-nonce")) and _wants_nonce(response):
                # RFC 9449 §8: nothing was looked at but the proof. Once.
                request = build(self._proof(method, secret))
                response = await self._post(endpoint, request, deadline=min(left, deadline), prover=prover)
                prover.hear(endpoint.url, response.header("dpop-nonce"))
            judged = judge(response, now=self.clock.now())
            refusal = judged if isinstance(judged, Refusal) else None
            if refusal is not None and refusal.code == "invalid_client" and secret is not secrets[-1]:
                continue
            if secret is not None and len(secrets) > 1 and (refusal is None or refusal.verdict is Verdict.FINAL):
                self.notes.took(secret)
            break
        return judged

    def _proof(self, method: ClientAuth, secret: Secret | None) -> Proof:
        if method is not ClientAuth.PRIVATE_KEY_JWT:
            return prove(method, client_id=self.settings.client_id, secret=secret)
        if self.signing is None:
            raise InvalidSetting(f"auth.{self.provider.name}.client_auth is private_key_jwt: nothing signs here.")
        return self.signing.proof(self.oauth2)

    async def _post(
        self, endpoint: Endpoint, request: TokenRequest, *, deadline: float, prover: Possession | None
    ) -> Response:
        fault = endpoint_fault(endpoint.url, operator=endpoint.operator)
        if fault is not None:
            raise InvalidSetting(
                f"An endpoint of {self.provider.title} cannot be used: {fault}. Expected https://host/path; "
                f"correct token_url and revoke_url of auth.{self.provider.name}."
            )
        proof = prover.headers("POST", endpoint.url) if prover else {}
        response = await self.fetcher.fetch(
            Request(
                method="POST",
                url=endpoint.url,
                trust=Trust.OPERATOR if endpoint.operator else Trust.CATALOGUE,
                headers={**request.headers, **proof},
                body=request.body,
                deadline=deadline,
            )
        )
        self.notes.hear(response.header("date"), now=self.clock.now())
        return response

    def widened(self, granted: frozenset[str] | None, asked: frozenset[str]) -> frozenset[str]:
        """What was granted without having been asked for, where that matters (RFC 6749 §3.3, §5.1)."""
        sent = asked and self.oauth2.scope_parameter
        if granted is None or not sent or self.oauth2.scopes_may_widen:
            return frozenset()
        return granted - wire.included(asked | self.oauth2.unasked_scopes, self.oauth2.scope_implies)

    def extras(self, parameters: Mapping[str, str]) -> wire.Extras:
        """What this provider wants in its token requests, with these parameters."""
        return wire.Extras(
            parameters={**self.named(parameters), **self.resource},
            headers=self.oauth2.token_headers,
            as_json=self.oauth2.token_format is TokenFormat.JSON,
        )

    def named(self, parameters: Mapping[str, str]) -> Mapping[str, str]:
        """The parameters, with our client id in place of ``{client_id}``."""
        return {name: value.replace("{client_id}", self.settings.client_id) for name, value in parameters.items()}

    @property
    def resource(self) -> Mapping[str, str]:
        """For whom tokens are asked, where settings say: in each request for a code or a token (RFC 8707 §2)."""
        return {"resource": self.settings.resource} if self.settings.resource else {}

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
            token_types=dialect.token_types if self.possession is None else (TYPE,),
            error_codes=dialect.error_codes,
            scope_field=dialect.granted_parameter,
            separators=dialect.granted_separators,
            lifetime=dialect.lifetime,
        )


def _wants_nonce(response: Response) -> bool:
    """Whether it is refused for the nonce alone (RFC 9449 §8)."""
    try:
        return read_object(response.body, response.header("content-type")).get("error") == "use_dpop_nonce"
    except ValueError:
        return False
