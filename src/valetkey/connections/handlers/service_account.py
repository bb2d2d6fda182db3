"""A signed assertion instead of a person (RFC 7523 §2.1)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from valetkey.connections.handler import Flow
from valetkey.connections.unattended import Unattended
from valetkey.errors import InvalidSetting, MissingSetting
from valetkey.model.connections import Grant
from valetkey.oauth.client import OAuthClient
from valetkey.oauth.clients import ClientSettings
from valetkey.oauth.unattended import by_assertion, scope_of
from valetkey.providers.base import Endpoint
from valetkey.providers.endpoints import checked_url
from valetkey.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    """A service account, as settings have it.

    Attributes:
        issuer: who signs.
        key: what with; None: ``auth.<provider>.private_key``.
        kid: the key's id.
        asked_at: where the key file says to ask; empty: at the provider's token endpoint.
        file: whether it is a key file. Its providers read the scopes in the assertion and know no other client.
    """

    issuer: str
    key: Secret | None = field(default=None, repr=False)
    kid: str = ""
    asked_at: str = ""
    file: bool = False


class ServiceAccountHandler(Unattended):
    """A service account of whoever runs the program: named by the program's own tools and by settings only."""

    def who(self) -> ClientSettings:
        """With a key file, settings need no client id.

        Raises:
            MissingSetting: there is neither a key file nor a client id with a key.
        """
        settings = self.world.clients.of(self.provider.name)
        if settings.service_account or (settings.client_id and settings.private_key):
            return settings
        name, title = self.provider.name, self.provider.title
        raise MissingSetting(
            f"auth.{name}.service_account is not set. Write file: there, and the path of the key file as {title} gave "
            f"it. Where it gives none: auth.{name}.client_id, private_key and key_id."
        )

    async def obtain(self, flow: Flow) -> Grant:
        """Ask for a token for the need's scopes.

        Raises:
            MissingSetting: settings name neither a key file nor a key.
            InvalidSetting: they cannot be used, or the provider does not take them.
            ProviderUnavailable, ExchangeFailed, BlockedAddress: it could not be asked.
        """
        from valetkey.protocol.assertion import grant_assertion  # noqa: PLC0415 - Pocket loads without it

        client = self.bound(await self.client())
        account = self._account(client.settings)
        settings, oauth2 = client.settings, client.oauth2
        token = self._token_endpoint(account, client)
        audience = settings.audience or oauth2.assertion_audience or token.url
        assertion = grant_assertion(
            self._signing(client, account, audience),
            issuer=account.issuer,
            # RFC 7523 §3: a subject there must be, but for key files: their account is then its own.
            subject=settings.subject or ("" if account.file else account.issuer),
            audience=audience,
            scope=scope_of(client, flow.scopes) if account.file else "",
            now=self.world.clock.now(),
            jti=self.world.entropy.token(16),
        )
        given = await by_assertion(
            client,
            assertion=assertion,
            scopes=flow.scopes,
            sent=not account.file,
            token=token,
            proven=not account.file,
        )
        return self.granted(given, account=settings.subject or account.issuer, client_id=account.issuer, client=client)

    def _signing(self, client: OAuthClient, account: _Account, audience: str) -> Any:
        if client.signing is None:
            raise InvalidSetting(f"{self.name} cannot sign here.")
        named = "service_account" if account.file else "private_key"
        return client.signing.key(audience, text=account.key, kid=account.kid, named=named)

    def _account(self, settings: ClientSettings) -> _Account:
        if not settings.service_account:
            return _Account(issuer=settings.client_id)
        setting = f"auth.{self.provider.name}.service_account"
        try:
            members = json.loads(settings.service_account.reveal())
        except (ValueError, RecursionError):
            members = None
        wanted = ("client_email", "private_key")
        if not isinstance(members, dict) or not all(isinstance(members.get(name), str) for name in wanted):
            raise InvalidSetting(
                f"{setting} is no key file of a service account: JSON with {' and '.join(wanted)}. Write file: and the "
                f"path of the file as {self.provider.title} gave it, or the file's text."
            )
        kid, token = members.get("private_key_id", ""), members.get("token_uri", "")
        if members.get("type", "service_account") != "service_account" or not all(
            isinstance(each, str) for each in (kid, token)
        ):
            raise InvalidSetting(f"{setting} is a key file of another kind. Expected type service_account.")
        if token:
            checked_url(token, f"The token_uri in {setting}", operator=True)
        return _Account(
            issuer=members["client_email"], key=Secret(members["private_key"]), kid=kid, asked_at=token, file=True
        )

    def _token_endpoint(self, account: _Account, client: OAuthClient) -> Endpoint:
        """The provider's; or the one of the key file, which is the operator's own word, and said."""
        known = client.oauth2.token
        if not account.asked_at or account.asked_at == known.url:
            return known
        client.notes.warn(
            "token_uri",
            "The key file of %(provider)s asks for tokens at another place than its entry does; it is asked there, as "
            "settings name that file: %(url)s",
            {"url": account.asked_at},
        )
        return Endpoint(account.asked_at, operator=True)
