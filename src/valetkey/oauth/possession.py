"""We hold the key to which a token is bound, and prove it with each request (RFC 9449)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from valetkey.oauth.notes import Notes
from valetkey.ports.world import Clock, Entropy
from valetkey.providers.endpoints import origin_of
from valetkey.secret import Secret

TYPE = "dpop"
"""The ``token_type`` of a bound token, lower case (RFC 9449 §5)."""

# RFC 9449 §8.1: NQCHAR of RFC 6749.
_NONCE = re.compile(r"[!#-\[\]-~]{1,512}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Possession:
    """The key of one connection, and what its servers want in proofs.

    Attributes:
        seed: what the key is made of.
        token: the access token that goes along; None at a token endpoint.
    """

    seed: Secret
    notes: Notes
    clock: Clock
    entropy: Entropy
    token: Secret | None = None

    @property
    def thumbprint(self) -> str:
        """Of the key (RFC 7638)."""
        from valetkey.protocol.dpop import key_thumbprint  # noqa: PLC0415 - Pocket loads without it

        return key_thumbprint(self.seed)

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        """The proof for one request."""
        from valetkey.protocol.dpop import make_proof  # noqa: PLC0415 - as above

        proof = make_proof(
            self.seed,
            method=method,
            url=url,
            now=self.clock.now(),
            proof_id=self.entropy.token(16),
            nonce=self.notes.nonce(origin_of(url)),
            token=self.token,
        )
        return {"DPoP": proof}

    def hear(self, url: str, nonce: str | None) -> bool:
        """Remember the nonce of an answer (RFC 9449 §8.2); whether another try with it makes sense."""
        if nonce is None or not _NONCE.fullmatch(nonce):
            return False
        return self.notes.keep_nonce(origin_of(url), nonce)
