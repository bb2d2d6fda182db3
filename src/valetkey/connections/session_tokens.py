"""OAuth 2 client credentials that a chat session was given: one token, or one sentence that tells nothing else."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from valetkey.errors import BlockedAddress, ProviderUnavailable, ValetkeyError
from valetkey.ports.world import Clock, Fetcher, Request, Response, Trust
from valetkey.protocol.authorize import endpoint_fault
from valetkey.protocol.client_auth import prove
from valetkey.protocol.token import Expected, Refusal, TokenAnswer, client_credentials_request, judge_token
from valetkey.providers.base import ClientAuth
from valetkey.secret import Secret

NO_TOKEN = (
    "Authentication failed: The token endpoint did not give a token. Check token_url, client_id, client_secret and "
    "scope, and authenticate again."
)
"""Said of every failure alike: who names the endpoint learns nothing of what is, or is not, there."""

DEADLINE = 10.0
"""Seconds for a token, be the client proved in one way or two."""

LAST_TRY = 1.0
"""Seconds that the second way has at least."""

LARGEST = 131_072
"""Bytes of an answer."""

_UNAUTHORIZED = 401
# RFC 6749 §5.1 has token_type in every answer; some servers leave it out.
_EXPECTED = Expected(token_types=("bearer", ""))
# RFC 6749 §2.3.1: Basic is what a server must take; the form is what seed 003's clients are used to.
_METHODS = (ClientAuth.POST, ClientAuth.BASIC)

_log = logging.getLogger("valetkey")


@dataclass(slots=True, kw_only=True)
class TokenClient:
    """Where a session's tokens come from.

    Attributes:
        operator: whether settings name the endpoint's host: that is the permission for it.
        scope: what is asked for, as it was given; empty: nothing was.
        methods: how the client is proved, the way that was taken last first.
    """

    url: str
    operator: bool
    scope: str
    methods: Sequence[ClientAuth] = _METHODS


class ClientTokens:
    """Fetches tokens for clients themselves (RFC 6749 §4.4)."""

    def __init__(self, *, fetcher: Fetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock

    async def fetch(
        self, client: TokenClient, *, client_id: str, secret: Secret, scopes: frozenset[str] = frozenset()
    ) -> TokenAnswer:
        """One token. A server that does not know the client by one way to prove it is asked in the other, once.

        Raises:
            ProviderUnavailable: there is none; the text is the same whatever the reason.
        """
        reason = "its URL cannot be used"
        ends = self._clock.monotonic() + DEADLINE
        for method in client.methods if endpoint_fault(client.url, operator=client.operator) is None else ():
            request = client_credentials_request(
                scope=client.scope or " ".join(sorted(scopes)), proof=prove(method, client_id=client_id, secret=secret)
            )
            left = max(ends - self._clock.monotonic(), LAST_TRY)
            try:
                answer = await self._fetcher.fetch(
                    Request(
                        method="POST",
                        url=client.url,
                        trust=Trust.OPERATOR if client.operator else Trust.CATALOGUE,
                        headers=request.headers,
                        body=request.body,
                        deadline=min(left, DEADLINE),
                        cap=LARGEST,
                    )
                )
            except BlockedAddress:
                reason = "its address may not be called"
                break
            except ValetkeyError as error:
                reason = error.code
                break
            judged = judge_token(answer, expected=_EXPECTED, now=self._clock.now(), secrets=[secret])
            if isinstance(judged, TokenAnswer):
                client.methods = (method, *(other for other in _METHODS if other is not method))
                return judged
            reason = f"status {answer.status}"
            if not _unknown(judged, answer):
                break
        _log.debug("the token endpoint of a chat session gave no token: %s", reason)
        raise ProviderUnavailable(NO_TOKEN)


def _unknown(refusal: Refusal, answer: Response) -> bool:
    """Whether the server does not know the client by this way (RFC 6749 §5.2): it has not looked at the request."""
    return refusal.code == "invalid_client" or answer.status == _UNAUTHORIZED
