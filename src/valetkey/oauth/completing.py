"""What of an issuer's metadata completes an entry, and which of its endpoints may have our secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from valetkey.errors import InvalidSetting
from valetkey.oauth.clients import ClientSettings
from valetkey.oauth.discovery import trust_of
from valetkey.ports.world import Trust
from valetkey.protocol.foreign import shown
from valetkey.protocol.metadata import Metadata, same_origin
from valetkey.providers.base import ClientAuth, Endpoint, OAuth2, Provider
from valetkey.providers.endpoints import origin_of

_PROOF_ALGORITHM = "ES256"


def completed(
    provider: Provider,
    oauth2: OAuth2,
    found: Metadata,
    *,
    trust: Trust,
    settings: ClientSettings,
    tell: Callable[[str], None],
) -> OAuth2:
    """The OAuth 2 part of an entry with what its issuer's metadata adds. What the entry or settings say stays.

    An endpoint that is called with our secret is taken only at the issuer's own origin, or at one of the provider's
    (which are those of its entry and of the settings): metadata that changed must not send the secret elsewhere.

    Args:
        provider: whose entry it is, settled.
        oauth2: its OAuth 2 part, settled.
        found: the metadata.
        trust: who named the issuer.
        settings: what we have to prove who we are.
        tell: is told of an endpoint that is left out.

    Raises:
        InvalidSetting: there is no token endpoint, or it, or the only way to ask, is at another origin; names the
            setting that permits it.
    """
    ends = _Ends(provider, oauth2.issuer, trust, tell)
    token = oauth2.token if oauth2.token.url else ends.needed(found.token_url, "token_url", "token endpoint")
    par = oauth2.par or ends.own(found.par_url, "par_url")
    if par is None and found.par_only:
        par = ends.needed(found.par_url, "par_url", "endpoint for pushed authorization requests, which it wants,")
    if oauth2.dpop and found.dpop and _PROOF_ALGORITHM not in found.dpop:
        raise InvalidSetting(
            f"{provider.title} takes no DPoP proofs signed with {_PROOF_ALGORITHM}. Set auth.{provider.name}.dpop "
            "to false."
        )
    return replace(
        oauth2,
        token=token,
        # A browser opens it, and no secret goes there.
        authorize=oauth2.authorize if oauth2.authorize.url else ends.end(found.authorize_url) or oauth2.authorize,
        revoke=oauth2.revoke or ends.own(found.revocation_url, "revoke_url"),
        device=oauth2.device or ends.own(found.device_url, "device_url"),
        par=par,
        registration=oauth2.registration or ends.own(found.registration_url, "registration_url"),
        client_auth=_method(oauth2.client_auth, found, settings),
        pkce=oauth2.pkce or found.s256,
        iss_in_callback=oauth2.iss_in_callback or found.iss_in_callback,
    )


class _Ends:
    """The endpoints of metadata, as far as they may be called."""

    def __init__(self, provider: Provider, issuer: str, trust: Trust, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._provider = provider
        self._issuer = issuer
        self._trust = trust

    def end(self, url: str) -> Endpoint | None:
        if not url:
            return None
        named = trust_of(url, issuer=self._issuer, trust=self._trust) is Trust.OPERATOR
        return Endpoint(url, operator=named)

    def own(self, url: str, key: str) -> Endpoint | None:
        """One that is not needed: elsewhere, it is left out, and that is told."""
        if url and not self._ours(url):
            self._tell(
                f"{shown(self._issuer)} names an endpoint at {shown(origin_of(url))}, which is another origin than its "
                f"own, so it is not called. If that is right, set auth.{self._provider.name}.{key}."
            )
            return None
        return self.end(url)

    def needed(self, url: str, key: str, what: str) -> Endpoint:
        end = self.end(url)
        setting = f"auth.{self._provider.name}.{key}"
        if end is None:
            raise InvalidSetting(f"The metadata of {self._provider.title} names no {what}. Set {setting}.")
        if not self._ours(url):
            raise InvalidSetting(
                f"The metadata of {self._provider.title} names a {what} at another origin, {shown(origin_of(url))}. "
                f"Our secret is not sent there unless you say so: if that is right, set {setting} to its full URL."
            )
        return end

    def _ours(self, url: str) -> bool:
        return same_origin(url, self._issuer) or origin_of(url) in self._provider.origins


def _method(wanted: ClientAuth, found: Metadata, settings: ClientSettings) -> ClientAuth:
    """How we prove who we are: as entry or settings say, where the issuer takes that; else the strongest it takes."""
    if not found.client_auth and settings.client_auth:
        return wanted
    # RFC 8414 §2: where it does not say, it is this one.
    taken = found.client_auth or {ClientAuth.BASIC}
    if wanted in taken:
        return wanted
    ways = [
        *([ClientAuth.PRIVATE_KEY_JWT] if settings.private_key else []),
        *([ClientAuth.BASIC, ClientAuth.POST] if settings.secrets else []),
        ClientAuth.NONE,
    ]
    return next((way for way in ways if way in taken), wanted)
