"""By which key we sign at one provider, and the assertions that prove who we are there (RFC 7523 §2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from valetkey.errors import MissingSetting
from valetkey.oauth.clients import Clients, ClientSettings
from valetkey.ports.world import Clock, Entropy
from valetkey.protocol.client_auth import Proof
from valetkey.providers.base import OAuth2, Provider
from valetkey.secret import Secret

if TYPE_CHECKING:
    from valetkey.protocol.assertion import SigningKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What we sign with at one provider. Each assertion is made for one request."""

    provider: Provider
    settings: ClientSettings
    clients: Clients
    clock: Clock
    entropy: Entropy

    def proof(self, oauth2: OAuth2) -> Proof:
        """Who we are, for one request.

        Raises:
            MissingSetting: settings name no private key.
            InvalidSetting: it cannot be used, or is another server's, too.
        """
        from valetkey.protocol.assertion import client_proof  # noqa: PLC0415 - Pocket loads without it

        audience = audience_of(oauth2)
        return client_proof(
            self.key(audience),
            client_id=self.settings.client_id,
            audience=audience,
            now=self.clock.now(),
            jti=self.jti(),
        )

    def key(
        self, audience: str, *, text: Secret | None = None, kid: str = "", named: str = "private_key"
    ) -> SigningKey:
        """The key that we sign with for that audience: ``auth.<provider>.private_key``, unless it is given.

        Raises:
            MissingSetting: there is none.
            InvalidSetting: it cannot be used, or is another server's, too.
        """
        from valetkey.protocol.assertion import signing_key  # noqa: PLC0415 - Pocket loads without it

        setting = f"auth.{self.provider.name}.{named}"
        given = text or self.settings.private_key
        if not given:
            raise MissingSetting(
                f"{self.provider.title} is to know this program by a signature, and {setting} is not set. Write the "
                "private key there, PEM or JWK, or file: and the path of its file; and the id by which "
                f"{self.provider.title} knows it into auth.{self.provider.name}.key_id."
            )
        made = signing_key(given, kid=kid or self.settings.key_id, where=setting)
        self.clients.claim_key(self.provider, made.fingerprint, audience=audience)
        return made

    def jti(self) -> str:
        """An id that was never used before (RFC 7519 §4.1.7)."""
        return self.entropy.token(16)


def audience_of(oauth2: OAuth2) -> str:
    """Whom a client's assertion is for: the server's issuer identifier where that is known, as one text.

    Not the token endpoint then, for another server's metadata may name that one's as its own (audience injection).
    """
    return oauth2.issuer or oauth2.token.url
