"""The program's own account (RFC 6749 §4.4)."""

from __future__ import annotations

from valetkey.connections.handler import Flow
from valetkey.connections.unattended import Unattended
from valetkey.errors import InvalidSetting
from valetkey.model.connections import Grant
from valetkey.oauth.unattended import client_credentials
from valetkey.providers.base import ClientAuth


class ClientCredentialsHandler(Unattended):
    """The account of whoever runs the program: named by the program's own tools and by settings only."""

    async def obtain(self, flow: Flow) -> Grant:
        """Ask for a token for the need's scopes.

        Raises:
            MissingSetting: settings name no client id, or nothing to prove it with.
            InvalidSetting: the provider refuses us, the client, or what we ask for.
            ProviderUnavailable, ExchangeFailed, BlockedAddress: it could not be asked.
        """
        client = self.bound(await self.client())
        proven = client.settings.secrets or client.oauth2.client_auth is ClientAuth.PRIVATE_KEY_JWT
        if not proven:
            # RFC 6749 §4.4: for confidential clients only.
            setting = f"auth.{self.provider.name}"
            raise InvalidSetting(
                f"{self.name} proves who this program is, and {setting}.client_secret is not set. Set it, or "
                f'{setting}.private_key with {setting}.client_auth = "private_key_jwt".'
            )
        given = await client_credentials(client, scopes=flow.scopes)
        name = client.settings.client_id
        return self.granted(given, account=name, client_id=name, client=client)
