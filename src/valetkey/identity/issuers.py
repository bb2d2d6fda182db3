"""TrustedIssuer: one whose users we let in, and how its tokens are judged."""

from __future__ import annotations

from dataclasses import dataclass, field

from valetkey.ports.world import Trust
from valetkey.secret import Secret

ALGORITHMS = frozenset({"RS256", "ES256", "PS256", "EdDSA"})
"""What an issuer's tokens may be signed with; each issuer names those of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """One issuer, as settings describe it.

    Attributes:
        alias: what the ids of its users begin with, ``<alias>|<sub>``; lower case, ``[a-z0-9-]``.
        issuer: its tokens' claim ``iss``, to the letter; ``{tid}`` in it stands for one of ``tenants``.
        audiences: a token's ``aud`` must hold one of these.
        algorithms: those that its keys may sign with; at least one.
        jwks_url: its keys; empty: found by discovery (RFC 8414, OpenID Connect Discovery 1.0).
        namespace: what its own claims ``roles`` and ``email`` begin with, a slash at the end; empty: they are plain.
        plain_ids: its users' ids are the bare ``sub`` (decision 21: the issuer of ``AUTH0_*``).
        token_type: the header ``typ`` that its tokens must have, such as ``at+jwt`` (RFC 9068); empty: that of any
            access token.
        tenants: what ``{tid}`` may be.
        introspection_url: where opaque tokens are explained (RFC 7662); empty: it has none.
        client_id, client_secret: who we are there.
        trust: who named these URLs.
    """

    alias: str
    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str] = frozenset({"RS256"})
    jwks_url: str = ""
    namespace: str = ""
    plain_ids: bool = False
    token_type: str = ""
    tenants: frozenset[str] = frozenset()
    introspection_url: str = ""
    client_id: str = ""
    client_secret: Secret | None = field(default=None, repr=False)
    trust: Trust = Trust.OPERATOR
