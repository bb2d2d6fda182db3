"""An opaque token that its issuer explains (RFC 7662)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence

from valetkey.errors import CouldNotTell, InvalidSetting, ValetkeyError
from valetkey.identity.chain import Vouch
from valetkey.identity.claimed import TENANT, Users, check_issuers
from valetkey.identity.issuers import TrustedIssuer
from valetkey.model.caller import Owner
from valetkey.model.calls import BEARER, Presented
from valetkey.ports.world import Clock, Fetcher, Request
from valetkey.protocol.client_auth import prove
from valetkey.protocol.foreign import shown
from valetkey.protocol.introspection import Explained, introspection_request, judge_introspection, may_be_opaque
from valetkey.protocol.jwt import LEEWAY, fingerprint
from valetkey.secret import Secret

KEEP = 5.0
"""Seconds for which an issuer's word is believed: what it revokes ends here within them."""

DEADLINE = 5.0
"""Seconds that an issuer may take."""

AT_ONCE = 32
"""Questions under way at one time; more are not asked."""

REMEMBERED = 1_000
"""Tokens that are remembered as unknown, each as long as a word is believed."""

CAP = 65_536
"""Bytes of an answer."""

_log = logging.getLogger("valetkey")


class Introspection:
    """Vouches for the users whose opaque tokens an issuer explains. For use on the home loop.

    An opaque token does not say whose it is: issuers are asked in their order, until one knows it.

    Args:
        issuers: those with an ``introspection_url`` are asked.
        fetcher: the way out.
        clock: for times and ages.

    Raises:
        InvalidSetting: an issuer cannot be judged safely as it is described, or has no ``client_id`` to ask with, or
            stands for several tenants.
    """

    def __init__(self, issuers: Sequence[TrustedIssuer], fetcher: Fetcher, *, clock: Clock) -> None:
        check_issuers(issuers)
        self._issuers = tuple(issuer for issuer in issuers if issuer.introspection_url)
        self._users = {issuer.issuer: Users(issuer, issuers) for issuer in self._issuers}
        for issuer in self._issuers:
            if not issuer.client_id or TENANT in issuer.issuer:
                raise InvalidSetting(
                    f"{shown(issuer.issuer)}: introspection needs a client_id, and an issuer without {TENANT}."
                )
        self._fetcher = fetcher
        self._clock = clock
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Vouch | None]] = {}

    async def verify(self, presented: Presented) -> Vouch | None:
        """None: it has not the form of an opaque token, or no issuer knows it as active and meant for us.

        Raises:
            Unauthenticated: an issuer knows it, and its user cannot be one here.
            CouldNotTell: none knew it, and one could not be asked.
        """
        if not self._issuers or presented.scheme != BEARER:
            return None
        text = presented.value.reveal() if isinstance(presented.value, Secret) else presented.value
        if not may_be_opaque(text) or text.count(".") == 2:  # noqa: PLR2004  # a JWT says itself whose it is
            return None
        key = hashlib.sha256(text.encode()).digest()
        if self._unknown.get(key, float("-inf")) > self._clock.monotonic():
            return None
        asking = self._asking.get(key)
        if asking is None:
            if len(self._asking) >= AT_ONCE:
                raise CouldNotTell("Too many tokens are being asked about at once. Try again in a moment.")
            asking = self._asking[key] = asyncio.create_task(self._ask_all(text, key))
            asking.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(asking)

    def _asked(self, key: bytes, done: asyncio.Task[Vouch | None]) -> None:
        self._asking.pop(key, None)
        if not done.cancelled():
            done.exception()  # taken note of, though nobody may be waiting any more

    async def _ask_all(self, text: str, key: bytes) -> Vouch | None:
        silent: TrustedIssuer | None = None
        for issuer in self._issuers:
            try:
                explained = await self._ask(issuer, Secret(text))
            except (ValetkeyError, ValueError) as error:
                _log.warning("introspection at %s: %s", shown(issuer.issuer), shown(str(error), secrets=[Secret(text)]))
                silent = issuer
                continue
            if explained is not None:
                return self._vouch(issuer, explained, text)
        if silent is not None:
            raise CouldNotTell(f"{shown(silent.issuer)} cannot be asked now about its tokens. Try again later.")
        self._unknown[key] = self._clock.monotonic() + KEEP
        while len(self._unknown) > REMEMBERED:
            self._unknown.popitem(last=False)
        return None

    async def _ask(self, issuer: TrustedIssuer, token: Secret) -> Explained | None:
        proof = prove("client_secret_basic", client_id=issuer.client_id, secret=issuer.client_secret)
        asked = introspection_request(token, proof=proof)
        answer = await self._fetcher.fetch(
            Request(
                method="POST",
                url=issuer.introspection_url,
                trust=issuer.trust,
                headers=asked.headers,
                body=asked.body,
                deadline=DEADLINE,
                cap=CAP,
            )
        )
        return judge_introspection(
            answer,
            issuer=issuer.issuer,
            audiences=issuer.audiences,
            client_id=issuer.client_id,
            now=self._clock.now(),
        )

    def _vouch(self, issuer: TrustedIssuer, explained: Explained, text: str) -> Vouch:
        principal = (issuer.issuer, explained.subject)
        user = self._users[issuer.issuer].user(
            explained.subject, explained.members, principal=principal, ends=explained.expires_at
        )
        return Vouch(
            owner=Owner(workspace=user.get_workspace(), issuer=issuer.issuer, subject=explained.subject),
            how="introspection",
            until=explained.expires_at + LEEWAY,
            user=user,
            token=fingerprint(text),
            keep=KEEP,
            exchangeable=True,
        )
