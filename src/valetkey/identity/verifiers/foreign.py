"""A JWT of a trusted issuer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from valetkey.errors import InvalidSetting, Unauthenticated
from valetkey.identity.chain import Vouch
from valetkey.identity.claimed import TENANT, Users, check_issuers
from valetkey.identity.issuers import TrustedIssuer
from valetkey.model.caller import Owner
from valetkey.model.calls import BEARER, DPOP, Possession, Presented
from valetkey.oauth.keys import IssuerKeys, KeysOf
from valetkey.ports.messages import Counters
from valetkey.ports.world import Clock
from valetkey.protocol.dpop import INVALID, WINDOW, bound_to, judge_proof
from valetkey.protocol.jwk import VerifyingKey
from valetkey.protocol.jwt import LEEWAY, MAX_LIFETIME, Claims, Rules, claimed_issuer, judge, parse
from valetkey.secret import Secret

KEEP = 60.0
"""Seconds for which a verdict may be remembered; with the life of an issuer's keys, ten minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """One value of ``iss`` that tokens may have, and how they are judged then."""

    users: Users
    tenant: str
    rules: Rules
    keys: KeysOf


class Foreign:
    """Vouches for the users of issuers that the operator trusts, by their signed access tokens.

    Args:
        issuers: each with an alias, an issuer and algorithms of its own.
        keys: where their keys come from.
        clock: what ends is told by its wall time.
        max_lifetime: seconds for which a token may be made out.
        counters: where the proofs of bound tokens are noted, for all processes; without it no bound token is taken.

    Raises:
        InvalidSetting: an issuer cannot be judged safely as it is described.
    """

    def __init__(
        self,
        issuers: Sequence[TrustedIssuer],
        keys: IssuerKeys,
        *,
        clock: Clock,
        max_lifetime: float = MAX_LIFETIME,
        counters: Counters | None = None,
    ) -> None:
        check_issuers(issuers)
        self._counters = counters
        self._keys = keys
        self._clock = clock
        self._routes: dict[str, _Route] = {}
        for route in (route for issuer in issuers for route in _routes(issuer, issuers, max_lifetime)):
            if route.rules.issuer in self._routes:
                raise InvalidSetting(f"The issuer {route.rules.issuer} is named twice. Name each once.")
            self._routes[route.rules.issuer] = route

    async def verify(self, presented: Presented) -> Vouch | None:
        """None: no JWT, or none that names one of these issuers.

        Raises:
            Unauthenticated: it names one of them, and is bad.
            CouldNotTell: the issuer's keys cannot be had now.
        """
        if presented.scheme not in (BEARER, DPOP):
            return None
        text = presented.value.reveal() if isinstance(presented.value, Secret) else presented.value
        try:
            parsed = parse(text)
        except Unauthenticated:
            if claimed_issuer(text) in self._routes:
                raise
            return None
        issuer = parsed.claims.get("iss")
        route = self._routes.get(issuer) if isinstance(issuer, str) else None
        if route is None:
            return None
        header = parsed.header
        keys: Sequence[VerifyingKey] = ()
        if header.algorithm in route.rules.algorithms:
            keys = self._keys.ready(route.keys, algorithm=header.algorithm, kid=header.kid) or await self._keys.of(
                route.keys, algorithm=header.algorithm, kid=header.kid
            )
        possession = presented.possession if presented.scheme == DPOP else None
        rules = route.rules if possession is None else replace(route.rules, bound=True)
        claims = judge(parsed, keys, rules=rules, now=self._clock.now())
        if possession is not None:
            await self._check(possession, Secret(text), claims)
        if route.tenant and claims.members.get("tid") != route.tenant:
            raise Unauthenticated("The token is not accepted: its tid is not that of its issuer. Ask for a new one.")
        principal = claims.issuer, claims.subject
        user = route.users.user(claims.subject, claims.members, principal=principal, ends=claims.expires_at)
        return Vouch(
            owner=Owner(workspace=user.get_workspace(), issuer=claims.issuer, subject=claims.subject),
            how="foreign",
            until=claims.expires_at + LEEWAY,
            user=user,
            token=parsed.fingerprint,
            keep=0.0 if possession else KEEP,  # each request has a proof of its own
            exchangeable=possession is None,  # one that is bound is of use to its holder only
        )

    async def _check(self, possession: Possession, token: Secret, claims: Claims) -> None:
        """The proof is for this request, by the key to which the token is bound, and new (RFC 9449 §4.3, §11.1)."""
        proven = judge_proof(
            possession.proof, method=possession.method, url=possession.url, token=token, now=self._clock.now()
        )
        if not bound_to(claims.members, proven.thumbprint):
            raise Unauthenticated(
                f"{INVALID}the token is not bound to the key of this proof. Present it as it was issued."
            )
        key = hashlib.sha256(f"{proven.thumbprint} {proven.proof_id}".encode("utf-8", "surrogatepass")).hexdigest()
        if self._counters is None or await self._counters.add(f"dpop:{key}", period=2 * WINDOW) > 1:
            raise Unauthenticated(f"{INVALID}this proof was used before. Make a new one for each request.")


def _routes(issuer: TrustedIssuer, others: Sequence[TrustedIssuer], max_lifetime: float) -> Iterator[_Route]:
    users = Users(issuer, others)
    for tenant in sorted(issuer.tenants) or [""]:
        name = issuer.issuer.replace(TENANT, tenant)
        yield _Route(
            users=users,
            tenant=tenant,
            rules=Rules(
                algorithms=issuer.algorithms,
                issuer=name,
                audiences=issuer.audiences,
                max_lifetime=max_lifetime,
                token_type=issuer.token_type.lower().removeprefix("application/"),
            ),
            keys=KeysOf(issuer=name, jwks_url=issuer.jwks_url.replace(TENANT, tenant), trust=issuer.trust),
        )
