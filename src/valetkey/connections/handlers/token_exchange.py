"""On behalf of whoever signed in here (RFC 8693, and RFC 7523 §2.1 as Microsoft Entra has it)."""

from __future__ import annotations

from valetkey.connections.handler import Flow
from valetkey.connections.unattended import Unattended, token_digest
from valetkey.errors import Unauthenticated
from valetkey.model.caller import Caller
from valetkey.model.connections import Grant
from valetkey.oauth.unattended import exchanged
from valetkey.secret import Secret


class TokenExchangeHandler(Unattended):
    """The caller's own account, by the token that they presented here and that our verifier judged.

    Only for a provider whose client id the operator wrote into settings.
    """

    def kept_as(self, flow: Flow) -> tuple[str, ...]:
        """For that very token only, besides."""
        return (token_digest(self._subject(flow)[1]), *super().kept_as(flow))

    async def obtain(self, flow: Flow) -> Grant:
        """Exchange the caller's token; what is issued is not used longer than that one.

        Raises:
            Unauthenticated: the caller presented no token of theirs, or it has ended; nothing was sent.
            AuthRefused: the provider does not take it, or issued another than was asked for.
            MissingSetting, InvalidSetting: settings lack something, or the provider refuses us, the client.
            ProviderUnavailable, ExchangeFailed, BlockedAddress: it could not be asked.
        """
        caller, token = self._subject(flow)
        client = self.bound(await self.client())
        given = await exchanged(client, subject=token, scopes=flow.scopes)
        return self.granted(
            given,
            account=caller.owner.subject,
            client_id=client.settings.client_id,
            until=caller.until,
            client=client,
        )

    def _subject(self, flow: Flow) -> tuple[Caller, Secret]:
        caller = flow.caller
        if caller is None or caller.bearer is None:
            raise Unauthenticated(
                f"{self.provider.title} is used on behalf of whoever calls, by exchanging their token, and this call "
                "came with none. Sign in with an access token of an issuer that this server trusts, as "
                "Authorization: Bearer; a session, an API key or a ticket of this server is no such token."
            )
        if caller.until is None or self.world.clock.now() >= caller.until:
            raise Unauthenticated("The token has expired. Please fetch a new one")
        return caller, caller.bearer
