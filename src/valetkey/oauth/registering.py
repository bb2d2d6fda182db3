"""Register ourselves at an authorization server where nobody did, once for all processes (RFC 7591)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from valetkey.errors import InvalidSetting, ProviderUnavailable, ValetkeyError
from valetkey.model.registrations import Registration
from valetkey.oauth.clients import ClientSettings
from valetkey.ports.registrations import ClientStore
from valetkey.ports.world import Clock, Fetcher, Request, Response, Trust
from valetkey.protocol.foreign import shown
from valetkey.protocol.metadata import same_origin
from valetkey.protocol.registration import (
    Registered,
    judge_registration,
    management_headers,
    registration_request,
)
from valetkey.protocol.token import Refusal, Verdict
from valetkey.providers.base import ClientAuth, Endpoint, OAuth2, Provider
from valetkey.providers.endpoints import origin_of
from valetkey.secret import Secret
from valetkey.vault.seal import Sealer, registered_at

NAME = "Valetkey"
"""What people read of us on a provider's page, where nothing else is set."""

AHEAD = 3600.0
"""Seconds before its secret ends that a client is registered anew: a flow that begins now has to end with it. Of a
secret that lives for less than twice that, it is the second half."""

DEADLINE = 10.0
"""Seconds that a registration may take."""

BRIEF = 3.0
"""The same for a look, and for an end that nobody needs."""

_UNKNOWN = 401
# Where the client was refused as well; without that, these may be those of a gateway.
_GONE = frozenset({_UNKNOWN, 404, 410})
_log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """We at a server that registered us: settings with the client in them, and how it proves itself."""

    settings: ClientSettings
    method: ClientAuth


class Registering:
    """Finds the client that serves a redirect URI, and registers one where there is none. For the home loop."""

    def __init__(self, *, store: ClientStore, sealer: Sealer, fetcher: Fetcher, clock: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._fetcher = fetcher
        self._clock = clock
        self._flights: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def client(
        self, provider: Provider, oauth2: OAuth2, settings: ClientSettings, *, redirect_uri: str, look: bool = False
    ) -> Known:
        """The client of a redirect URI; registered now, where there is none, or none that is good for long enough.

        Args:
            provider: where.
            oauth2: its OAuth 2 part, completed, with a registration endpoint; its ``client_auth`` is asked for.
            settings: those of the provider, without a client id.
            redirect_uri: where browsers are sent back.
            look: whether to ask the server if it still knows the client, as a new flow does.

        Raises:
            InvalidSetting: it does not register us, or as something else than was asked for; nothing is kept.
            ProviderUnavailable: it gave no usable answer.
            ExchangeFailed: no whole answer.
            BlockedAddress: the endpoint may not be called.
        """
        end = _endpoint(oauth2)
        key = _id(end.url, redirect_uri)
        row = await self._store.get(key)
        if row is not None and self._lasts(row):
            registered = self._opened(row)
            if not look or await self._look(registered, end) != _UNKNOWN:
                return _known(settings, registered)
        seen = "" if row is None else row.client_id
        # One flight for each client: who waits for a slow server keeps nobody of another one waiting.
        async with self._flights.setdefault(key, asyncio.Lock()):
            row = await self._store.get(key)
            if row is None or not self._lasts(row) or row.client_id == seen:
                row = await self._renewed(provider, oauth2, end, key, redirect_uri, row)
        return _known(settings, self._opened(row))

    async def of_id(
        self, provider: Provider, oauth2: OAuth2, settings: ClientSettings, *, client_id: str
    ) -> Known | None:
        """The client of that id, also one that a newer one replaced; None: it is none of ours here, or not any more.

        Nobody is asked, and no registration endpoint is needed: it may have moved, or be closed, since.
        """
        rows = await self._find(provider, oauth2, client_id)
        return _known(settings, self._opened(rows[0])) if rows else None

    async def forgotten(self, provider: Provider, oauth2: OAuth2, *, client_id: str) -> bool:
        """The server refuses that client: where it does not know it any more, the next flow registers another one.

        False: it knows it still, as far as it can be asked; the refusal has another reason.
        """
        rows = await self._find(provider, oauth2, client_id)
        if rows and not self._ended(rows[0]):
            registered, end = self._opened(rows[0]), _named(rows[0].registrar, oauth2)
            if registered.management_token is not None and await self._look(registered, end) not in _GONE:
                return False
        for row in rows:
            await self._store.delete(row.id, client_id=client_id)
        return True

    async def _find(self, provider: Provider, oauth2: OAuth2, client_id: str) -> list[Registration]:
        """The rows of that client: at the registration endpoint, else at one that was at an origin of this server.

        Two registrars of one origin may use one id; then it is not known whose client it is, and it is nobody's.
        """
        named = "" if oauth2.registration is None else oauth2.registration.url
        origins = {*provider.origins, *(origin_of(url) for url in (named, oauth2.issuer, oauth2.token.url) if url)}
        found = [
            row
            for row in await self._all()
            if row.client_id == client_id and (row.registrar == named or origin_of(row.registrar) in origins)
        ]
        exact = [row for row in found if row.registrar == named]
        return exact or (found if len({row.registrar for row in found}) == 1 else [])

    async def _all(self) -> list[Registration]:
        found: list[Registration] = []
        while rows := await self._store.page(after=found[-1].id if found else ""):
            found.extend(rows)
        return found

    async def _renewed(
        self, provider: Provider, oauth2: OAuth2, end: Endpoint, key: str, redirect_uri: str, row: Registration | None
    ) -> Registration:
        """The row of a new client in the place of that one, which is kept for what was begun or connected with it."""
        kept = None if row is None or self._ended(row) else self._kept(row)
        registered = await self._register(provider, end, redirect_uri, oauth2.client_auth)
        new = self._row(key, end.url, redirect_uri, registered)
        if kept is not None:
            await self._store.insert(kept)
        if await (self._store.insert(new) if row is None else self._store.replace(new, client_id=row.client_id)):
            await self._sweep()
            return new
        await self._end(registered, end)
        won = await self._store.get(key)
        if won is None:
            raise ProviderUnavailable(f"{provider.title} registered this program elsewhere meanwhile. Try again.")
        return won

    def _kept(self, row: Registration) -> Registration:
        """The same client in a row of its own."""
        key = _id(row.registrar, row.redirect_uri, row.client_id)
        sealed = self._sealer.open(row.sealed, registered_at(row.id))
        return replace(row, id=key, sealed=self._sealer.seal(sealed, bound=registered_at(key)))

    async def _sweep(self) -> None:
        """Remove the clients that were replaced, and whose secret has ended since."""
        for row in await self._all():
            if self._ended(row) and row.id != _id(row.registrar, row.redirect_uri):
                await self._store.delete(row.id, client_id=row.client_id)

    def _lasts(self, row: Registration) -> bool:
        """Whether its secret does for a flow that begins now."""
        ahead = min(AHEAD, (row.expires_at - row.created_at) / 2)
        return not row.expires_at or row.expires_at - self._clock.now() > ahead

    def _ended(self, row: Registration) -> bool:
        return 0 < row.expires_at <= self._clock.now()

    async def _register(self, provider: Provider, end: Endpoint, redirect_uri: str, wanted: ClientAuth) -> Registered:
        method = wanted if wanted is not ClientAuth.PRIVATE_KEY_JWT else ClientAuth.BASIC
        request = registration_request(client_name=NAME, redirect_uri=redirect_uri, method=method)
        answer = await self._fetch("POST", end.url, end, request.headers, body=request.body, deadline=DEADLINE)
        judged = judge_registration(
            answer,
            endpoint=end.url,
            operator=end.operator,
            redirect_uri=redirect_uri,
            method=method,
            now=self._clock.now(),
        )
        title, setting = provider.title, f"auth.{provider.name}"
        by_hand = f"Register a client there by hand, and set {setting}.client_id and {setting}.client_secret."
        if isinstance(judged, Refusal):
            if judged.verdict is Verdict.LATER:
                raise ProviderUnavailable(
                    f"{title} cannot register this program now ({judged.text}). Try again later.",
                    retry_after=judged.retry_after,
                )
            raise InvalidSetting(f"{title} does not register this program ({judged.text}). {by_hand}")
        if judged.fault:
            await self._end(judged, end)
            raise InvalidSetting(
                f"{title} registered another client than the one that was asked for: {judged.fault}. Nothing was "
                f"kept. {by_hand}"
            )
        _log.info("%s registered this program as the client %s.", title, shown(judged.client_id))
        return judged

    async def _look(self, registered: Registered, end: Endpoint) -> int:
        """What it answers who looks at the client: 401 where it does not know it (RFC 7592 §2.1); 0: nothing."""
        if registered.management_token is None:
            return 0
        headers = management_headers(registered.management_token)
        with suppress(ValetkeyError):
            return (await self._fetch("GET", registered.management_url, end, headers, deadline=BRIEF)).status
        return 0

    async def _end(self, registered: Registered, end: Endpoint) -> None:
        """End a client that nobody uses (RFC 7592 §2.3), if that can be done."""
        if registered.management_token is not None:
            headers = management_headers(registered.management_token)
            with suppress(ValetkeyError):
                await self._fetch("DELETE", registered.management_url, end, headers, deadline=BRIEF)

    async def _fetch(
        self, verb: str, url: str, end: Endpoint, headers: Mapping[str, str], *, body: bytes = b"", deadline: float
    ) -> Response:
        trust = Trust.OPERATOR if end.operator else Trust.CATALOGUE
        return await self._fetcher.fetch(
            Request(method=verb, url=url, trust=trust, headers=headers, body=body, deadline=deadline)
        )

    def _row(self, key: str, registrar: str, redirect_uri: str, registered: Registered) -> Registration:
        secret, token = registered.client_secret, registered.management_token
        held = {
            "client_secret": secret.reveal() if secret else "",
            "method": registered.method,
            "management_url": registered.management_url,
            "management_token": token.reveal() if token else "",
        }
        return Registration(
            id=key,
            registrar=registrar,
            redirect_uri=redirect_uri,
            client_id=registered.client_id,
            sealed=self._sealer.seal(Secret(json.dumps(held)), bound=registered_at(key)),
            created_at=self._clock.now(),
            expires_at=registered.expires_at,
        )

    def _opened(self, row: Registration) -> Registered:
        held = json.loads(self._sealer.open(row.sealed, registered_at(row.id)).reveal())
        return Registered(
            client_id=row.client_id,
            client_secret=Secret(held["client_secret"]) if held["client_secret"] else None,
            method=held["method"],
            expires_at=row.expires_at,
            management_url=held["management_url"],
            management_token=Secret(held["management_token"]) if held["management_token"] else None,
        )


def _known(settings: ClientSettings, registered: Registered) -> Known:
    return Known(
        settings=replace(settings, client_id=registered.client_id, client_secret=registered.client_secret),
        method=ClientAuth(registered.method),
    )


def _endpoint(oauth2: OAuth2) -> Endpoint:
    if oauth2.registration is None:
        raise InvalidSetting("There is no registration endpoint. Set client_id, or registration_url.")
    return oauth2.registration


def _named(registrar: str, oauth2: OAuth2) -> Endpoint:
    """Where a client was registered, which the operator named where he names an endpoint of that origin now."""
    ends = [end for end in (oauth2.registration, oauth2.token) if end is not None and end.operator]
    return Endpoint(registrar, operator=any(same_origin(end.url, registrar) for end in ends))


def _id(*parts: str) -> str:
    """Of a registrar and a redirect URI; of a client that was replaced there, with its id."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
