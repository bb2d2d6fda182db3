"""Our own access tokens: signed, and verified without a look at their rows."""

from __future__ import annotations

import asyncio
import contextlib

from valetkey.errors import CouldNotTell, KeyUnavailable, Unauthenticated
from valetkey.identity import claims
from valetkey.identity.claims import Bearer
from valetkey.model.caller import Owner
from valetkey.model.users import UserInfo
from valetkey.ports.world import Clock
from valetkey.protocol.jwk import VerifyingKey
from valetkey.protocol.jwt import EXPIRED, MAX_LIFETIME, Parsed, Rules, judge
from valetkey.secret import Secret
from valetkey.vault.signing import Signer

_RENEW_EVERY = 1.0  # seconds: whoever names keys that are not here does not have them read again and again


class AccessTokens:
    """Signs and verifies for one issuer: us.

    Args:
        max_lifetime: seconds for which a token may be made out, by us or by others with our secret.
    """

    def __init__(self, signer: Signer, *, clock: Clock, max_lifetime: float = MAX_LIFETIME) -> None:
        self._signer = signer
        self._clock = clock
        self._renew_at = float("-inf")
        self._rules = Rules(
            algorithms=frozenset({signer.algorithm}),
            issuer=signer.issuer,
            audiences=frozenset({signer.audience}),
            max_lifetime=max_lifetime + 1,  # both its times are cut to whole seconds
            token_type=signer.token_type if signer.algorithm == "ES256" else "",
        )

    def sign(
        self, user: UserInfo, owner: Owner, *, token_id: str, created_at: float, expires_at: float
    ) -> tuple[Secret, str]:
        """The token, and the id of the root key behind it. Its times are cut to whole seconds.

        Raises:
            InvalidArguments: the user's scope cannot be written.
            KeyUnavailable: there is no key.
        """
        text, key_id = self._signer.sign(
            claims.write(
                user,
                owner,
                issuer=self._signer.issuer,
                audience=self._signer.audience,
                namespace=self._signer.namespace,
                issued_at=int(created_at),
                expires_at=int(expires_at),
                token_id=token_id,
            )
        )
        return Secret(text), key_id

    async def verify(self, parsed: Parsed) -> Bearer:
        """Whom a token names whose signature is ours.

        Raises:
            Unauthenticated: it is not good.
            CouldNotTell: the keys cannot be read.
        """
        try:
            key = await self._key(parsed.header.kid)
        except KeyUnavailable:
            raise CouldNotTell("Whether this token is ours cannot be told now: there is no key.") from None
        now = self._clock.now()
        verified = judge(parsed, () if key is None else (key,), rules=self._rules, now=now)
        if now >= verified.expires_at:  # our own clocks made it: clocks that differ prolong nothing
            raise Unauthenticated(EXPIRED)
        return claims.read(verified, namespace=self._signer.namespace)

    async def _key(self, kid: str | None) -> VerifyingKey | None:
        key = self._signer.verifying(kid)
        if key is None and self._clock.monotonic() >= self._renew_at:
            self._renew_at = self._clock.monotonic() + _RENEW_EVERY
            with contextlib.suppress(KeyUnavailable):  # those known so far stay
                await asyncio.to_thread(self._signer.renew)
            key = self._signer.verifying(kid)
        return key
