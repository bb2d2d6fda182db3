"""Device authorization: a code that the person enters at the provider, on whatever machine has a browser (RFC 8628)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Never

from valetkey.connections.at_provider import OAuth2Personal, scopes_to_ask
from valetkey.connections.handler import Begun, Flow, Looked
from valetkey.connections.polling import ENDS, NEXT
from valetkey.errors import (
    AuthRefused,
    BlockedAddress,
    InvalidAnswer,
    InvalidSetting,
    MissingSetting,
    ProviderUnavailable,
    ValetkeyError,
)
from valetkey.model.connections import Credential, Grant, Subject
from valetkey.oauth import device
from valetkey.oauth.client import OAuthClient
from valetkey.protocol.device import LONGEST, OVER, Pace, Poll
from valetkey.protocol.token import TokenAnswer
from valetkey.secret import Secret

_SETUP = (BlockedAddress, InvalidSetting, MissingSetting)


class DeviceHandler(OAuth2Personal):
    """An account connected by the device authorization grant.

    The device code is in the flow's sealed part only, and goes to the token endpoint only (§5.2).
    """

    polls = True

    async def begin(self, flow: Flow) -> Begun:
        """Ask for the codes.

        Raises:
            MissingSetting: this provider has no client id, or no endpoint for devices.
            InvalidSetting: an endpoint cannot be used, or the provider refuses us, the client.
            ProviderUnavailable: it gave no usable codes.
            ExchangeFailed: no whole answer.
        """
        client = await self.client()
        scopes = scopes_to_ask(flow.scopes, client.oauth2)
        codes = await device.ask(client, scopes=scopes)
        now = self.world.clock.now()
        shown = {"user_code": codes.user_code, "verification_uri": codes.uri}
        if codes.complete_uri:
            shown["verification_uri_complete"] = codes.complete_uri
        private = {
            **_fixed(client),
            "url": f"{flow.pages}/auth/{self.provider.name}/device?state={flow.state}",
            "device_code": codes.device_code.reveal(),
            "scopes": json.dumps(sorted(scopes)),
            "interval": repr(codes.interval),
            "failures": "0",
            "dpop_key": self.world.entropy.token(32) if client.oauth2.dpop else "",
            "shown": json.dumps(shown),
            NEXT: repr(now + codes.interval),
            ENDS: repr(now + codes.life),
        }
        return Begun(url=private["url"], private=private, shown=shown)

    async def reopen(self, flow: Flow, private: Mapping[str, str]) -> Begun | None:
        """The same codes, where they are for the same scopes and the same client; else new ones are asked for."""
        client = await self.client()
        asked = sorted(scopes_to_ask(flow.scopes, client.oauth2))
        same = json.loads(private["scopes"]) == asked and _fixed(client).items() <= private.items()
        return Begun(url=private["url"], private=private, shown=json.loads(private["shown"])) if same else None

    def judge(self, private: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> Never:
        """No browser brings the answer."""
        raise InvalidAnswer("This account is connected by a code, and needs no callback. Enter the code there.")

    async def look(self, private: Mapping[str, str]) -> Looked:
        """Poll once (§3.4), at the endpoint that was fixed when the flow began."""
        pace = Pace(interval=float(private["interval"]), failures=int(private["failures"]))
        try:
            polled = await self._poll(private)
        except AuthRefused as refused:
            return Looked(answer={"refused": refused.message})
        except _SETUP as error:
            return Looked(answer={"setup": error.message})
        except ValetkeyError as error:
            asked = error.retry_after if isinstance(error, ProviderUnavailable) else None
            return _again(pace, Poll.LATER, asked)
        if polled.answer is not None:
            kept = self._kept(polled.answer, private["client_id"])
            key = private.get("dpop_key", "")
            return Looked(answer=kept | ({"dpop_key": key} if key else {}))
        if polled.poll not in OVER:
            return _again(pace, polled.poll, polled.retry_after)
        return self._ended(polled)

    async def finish(self, flow: Flow, private: Mapping[str, str], answer: Mapping[str, str]) -> Grant:
        """What the last poll brought, as a grant; nothing is sent.

        Raises:
            AuthRefused: the person, or the provider, said no.
            InvalidSetting: the provider refuses us, the client.
        """
        if "refused" in answer:
            raise AuthRefused(answer["refused"])
        if "setup" in answer:
            raise InvalidSetting(answer["setup"])
        scopes, ends = answer.get("scopes"), answer.get("expires_at")
        return Grant(
            credential=_credential(answer),
            scopes=None if scopes is None else frozenset(json.loads(scopes)),
            expires_at=None if ends is None else float(ends),
        )

    async def drop(self, answer: Mapping[str, str]) -> None:
        """Tokens that came too late are revoked, where the provider can."""
        if "access_token" not in answer:
            return
        credential = _credential(answer)
        client = await self.client()
        await client.discard(TokenAnswer(access_token=credential.access_token, refresh_token=credential.refresh_token))

    async def _poll(self, private: Mapping[str, str]) -> device.Polled:
        key = private.get("dpop_key", "")
        client = self.holding(await self.client(), Secret(key) if key else None)
        if not _fixed(client).items() <= private.items():
            raise AuthRefused(
                f"The settings of {self.provider.title} changed while the sign-in was open, so nothing was sent. "
                "Ask for a new link."
            )
        asked = frozenset(json.loads(private["scopes"]))
        return await device.poll(client, device_code=Secret(private["device_code"]), asked=asked)

    def _kept(self, given: TokenAnswer, client_id: str) -> dict[str, str]:
        """The tokens, for the sealed part of the flow's row."""
        kept = {
            "access_token": given.access_token.reveal(),
            "token_type": given.token_type,
            "client_id": client_id,
        }
        if given.refresh_token is not None:
            kept["refresh_token"] = given.refresh_token.reveal()
        if given.scopes is not None:
            kept["scopes"] = json.dumps(sorted(given.scopes))
        if given.lifetime is not None:
            kept["expires_at"] = repr(self.world.clock.now() + given.lifetime)
        if given.subject is not None:
            whose = given.subject
            kept["subject"] = json.dumps([whose.issuer, whose.subject, sorted(whose.audience)])
        return kept

    def _ended(self, polled: device.Polled) -> Looked:
        title = self.provider.title
        if polled.poll is Poll.EXPIRED:
            return Looked(expired=f"Nobody entered the code at {title} in time. Ask for a new one.")
        if polled.poll is Poll.DENIED:
            return Looked(answer={"refused": f"Access was denied at {title}. Ask for a new code to try again."})
        if polled.poll is Poll.CONFIGURATION:
            setting = f"auth.{self.provider.name}"
            told = f"{title} and this program are not set up for each other ({polled.text}). Check {setting}.client_id "
            return Looked(answer={"setup": f"{told}and {setting}.client_secret, and ask for a new code."})
        return Looked(
            answer={"refused": f"{title} does not take the code any more ({polled.text}). Ask for a new one."}
        )


def _again(pace: Pace, poll: Poll, asked: float | None) -> Looked:
    following, pause = pace.after(poll, asked=None if asked is None else min(asked, LONGEST))
    return Looked(private={"interval": repr(following.interval), "failures": str(following.failures)}, pause=pause)


def _credential(answer: Mapping[str, str]) -> Credential:
    refresh, subject = answer.get("refresh_token"), None
    if "subject" in answer:
        issuer, name, audience = json.loads(answer["subject"])
        subject = Subject(issuer=issuer, subject=name, audience=frozenset(audience))
    return Credential(
        access_token=Secret(answer["access_token"]),
        refresh_token=None if refresh is None else Secret(refresh),
        token_type=answer["token_type"],
        client_id=answer["client_id"],
        subject=subject,
        dpop_key=Secret(answer["dpop_key"]) if "dpop_key" in answer else None,
    )


def _fixed(client: OAuthClient) -> dict[str, str]:
    """What must not change while a flow is open: to whom its code, and our secret, will go."""
    return {"token_url": client.oauth2.token.url, "client_id": client.settings.client_id}
