"""A JWT of a trusted issuer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from valetkey.errors import InvalidSetting, Unauthenticated
from valetkey.identity.chain import Vouch
from valetkey.identity.claimed import TENANT, Users, check_issuers
from valetkey.identity.issuers import TrustedIssuer
from valetkey.model.caller import Owner
from valetkey.model.calls import BEARER, Presented
from valetkey.oauth.keys import IssuerKeys, KeysOf
from valetkey.ports.world import Clock
from valetkey.protocol.jwk import VerifyingKey
from valetkey.protocol.jwt import LEEWAY, MAX_LIFETIME, Rules, claimed_issuer, judge, parse
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

    Raises:
        InvalidSetting: an issuer cannot be judged safely as it is described.
    """

    def __init__(
        self, issuers: Sequence[TrustedIssuer], keys: IssuerKeys, *, clock: Clock, max_lifetime: float = MAX_LIFETIME
    ) -> None:
        check_issuers(issuers)
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
        if presented.scheme != BEARER:
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
        claims = judge(parsed, keys, rules=route.rules, now=self._clock.now())
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
            keep=KEEP,
        )


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
