"""The session's place: what a chat session was given, as connections that end with it. Never in a store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Sequence
from functools import partial
from urllib.parse import urlsplit

from valetkey.connections.flights import Flights, follow
from valetkey.connections.session_credential import (
    SESSION,
    SessionCredential,
    SessionKind,
    credential_of,
    handler_name,
    held,
)
from valetkey.connections.session_place import Audience, Flying, Place, Token
from valetkey.connections.session_tokens import NO_TOKEN, ClientTokens, TokenClient
from valetkey.errors import ProviderUnavailable, Unauthenticated
from valetkey.model.caller import Owner
from valetkey.model.connections import DEFAULT_PROFILE, Connection, Credential
from valetkey.model.needs import Need
from valetkey.ports.world import Clock, Entropy, Fetcher, Home
from valetkey.secret import Secret
from valetkey.vault.seal import Sealer

__all__ = ["SESSION", "SessionCredential", "SessionKind", "SessionPlaces", "handler_name", "names_host"]

UNTOLD = 3600.0
"""Seconds that a token is believed to live whose answer does not say."""

EARLY = 0.9
"""The part of a token's life after which it is fetched anew."""

FAILED_FOR = 5.0
"""Seconds for which a token endpoint that gave none is not asked again."""

REJECTED_FOR = 30.0
"""Seconds for which a token that was fetched because of a 401 is not fetched anew because of another one."""


class SessionPlaces:
    """Every session's place, for any loop and thread.

    Values are held sealed by a key that ends with the process. What was put for one conversation and one owner is
    met for these two only.
    """

    def __init__(self, *, sealer: Sealer, fetcher: Fetcher, clock: Clock, entropy: Entropy, home: Home) -> None:
        self._sealer = sealer
        self._clock = clock
        self._entropy = entropy
        self._tokens = ClientTokens(fetcher=fetcher, clock=clock)
        self._flights = Flights(home)
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}

    def put(
        self,
        conversation: str,
        owner: Owner,
        credential: SessionCredential,
        *,
        ttl: float = UNTOLD,
        token_hosts: Collection[str] = (),
        ready: bool = True,
    ) -> None:
        """Take what a session was given, instead of what it had; that is not lent any more, and still starred.

        Args:
            conversation: the session's id.
            owner: whose session it is.
            credential: what was given.
            ttl: seconds after which a fetched token is fetched anew, however long it lives.
            token_hosts: hosts, each with or without its port, that the operator names for token endpoints.
            ready: whether it is lent from now on; else from ``ready`` on.
        """
        made = credential_of(credential)
        place = Place(
            owner=owner,
            kind=credential.kind,
            connection=self._sealed(self._entropy.bytes(16).hex(), owner, credential.kind, made),
            ttl=ttl,
            client=_client(credential, token_hosts) if credential.kind is SessionKind.OAUTH2 else None,
            values=len(held(made)),
            ready=ready,
        )
        with self._lock:
            before = self._places.get(conversation)
            self._places[conversation] = place
            if before is not None:
                place.remember(*before.rows)
                before.end()

    def ready(self, conversation: str) -> None:
        """What was put last is good: lend it."""
        place = self._places.get(conversation)
        if place is not None:
            place.ready = True

    def forget(self, conversation: str) -> None:
        """Forget all that the session was given and has fetched, at once; what is being fetched is given up."""
        with self._lock:
            place = self._places.pop(conversation, None)
            if place is not None:
                place.end()
                place.past.clear()

    def check(self, conversation: str, connection: Connection) -> None:
        """Let a connection that was met pass, at the moment in which it is lent.

        Raises:
            Unauthenticated: it was forgotten or replaced meanwhile.
        """
        place = self._places.get(conversation)
        if place is None or place.connection.id != connection.id:
            raise _ended()

    def kind(self, conversation: str) -> SessionKind | None:
        """What is lent to the session's calls; None: nothing."""
        place = self._places.get(conversation)
        return place.kind if place is not None and place.ready else None

    async def meet(self, conversation: str, owner: Owner, need: Need, *, to_verify: bool = False) -> Connection | None:
        """The session's connection for a need; None where it has none, or one of another kind.

        Args:
            conversation: the session's id.
            owner: who asks.
            need: what for.
            to_verify: whether it is to be shown to whoever says that it is good: before that nobody else meets it.

        Raises:
            ProviderUnavailable: the token endpoint gave no token.
            Unauthenticated: the credential was forgotten while its token was fetched.
        """
        place = self._places.get(conversation)
        if place is None or place.owner != owner or not _fits(need, place.kind) or not (place.ready or to_verify):
            return None
        if place.client is None:
            return place.connection
        asked = frozenset(place.client.scope.split()) or need.scopes
        return await self._token(place, (place.client.url, asked))

    async def renew(self, conversation: str, connection: Connection) -> Connection | None:
        """The same connection with another token, after a 401; None where there is nothing else to lend.

        However many calls were refused, one token is fetched for all of them; and none where the refused one was
        itself fetched because of a 401 just now.
        """
        place = self._places.get(conversation)
        if place is None or place.client is None or connection.id != place.connection.id:
            return None
        audience = (place.client.url, connection.scopes)
        token, now = place.tokens.get(audience), self._clock.monotonic()
        refused = token is not None and token.connection.generation == connection.generation
        if token is not None and refused and token.renewed and now - token.at < REJECTED_FOR:
            return None
        try:
            return await self._token(place, audience, beyond=connection.generation)
        except (ProviderUnavailable, Unauthenticated):
            return None  # the 401 itself says more

    def secrets(
        self, conversation: str, *, opened: Sequence[tuple[Connection, Credential]] = (), past: bool = True
    ) -> tuple[Secret, ...]:
        """All that the session was given and has fetched since its last ``forget``, in the clear, for the scrubber.

        Args:
            conversation: the session's id.
            opened: rows that are open already, for this one call.
            past: whether also what was replaced since, as far as it is kept.
        """
        place = self._places.get(conversation)
        if place is None:
            return ()
        with self._lock:
            rows = place.rows if past else place.present
        found: list[Secret] = []
        for _, row in rows:
            known = next((credential for connection, credential in opened if connection is row), None)
            found += held(known or self._sealer.open_credential(row))
        return tuple(found)

    async def _token(self, place: Place, audience: Audience, *, beyond: int = 0) -> Connection:
        """A token that is fresh, and newer than generation ``beyond``; one flight for all who ask."""
        token, now = place.tokens.get(audience), self._clock.monotonic()
        if token is not None and token.connection.generation > beyond and now < token.until:
            return token.connection
        if now < place.failed.get(audience, now):
            raise ProviderUnavailable(NO_TOKEN)
        key = " ".join((place.connection.id, audience[0], *sorted(audience[1])))
        flight, mine = self._flights.board(key, ahead=False)
        if mine:
            await self._flights.fly(key, flight, partial(self._fetch, place, audience, beyond), at_home=True)
        return await follow(flight)

    async def _fetch(self, place: Place, audience: Audience, beyond: int) -> Connection:
        flying: Flying = (asyncio.get_running_loop(), asyncio.current_task())
        with self._lock:
            token, now = place.tokens.get(audience), self._clock.monotonic()
            if place.gone or place.client is None:
                raise _ended()
            if token is not None and token.connection.generation > beyond and now < token.until:
                return token.connection  # it landed between the look and the boarding
            client = place.client
            place.flying.append(flying)
        try:
            base = self._sealer.open_credential(place.connection)
            answer = await self._tokens.fetch(
                client, client_id=base.client_id, secret=base.fields["client_secret"], scopes=audience[1]
            )
        except ProviderUnavailable:
            place.failed[audience] = self._clock.monotonic() + FAILED_FOR
            raise
        except asyncio.CancelledError:
            if place.gone:
                raise _ended() from None
            raise
        finally:
            place.flying.remove(flying)
        with self._lock:
            if place.gone:
                raise _ended()
            place.generation += 1
            lifetime = UNTOLD if answer.lifetime is None else answer.lifetime
            now = self._clock.monotonic()
            connection = self._sealed(
                place.connection.id,
                place.owner,
                place.kind,
                Credential(access_token=answer.access_token, token_type=answer.token_type),
                generation=place.generation,
                scopes=audience[1],
                expires_at=self._clock.now() + lifetime,
            )
            before = place.tokens.get(audience)
            if before is not None:
                place.remember((1, before.connection))
            place.tokens[audience] = Token(
                connection=connection, at=now, until=now + min(EARLY * lifetime, place.ttl), renewed=beyond > 0
            )
        return connection

    def _sealed(
        self,
        connection_id: str,
        owner: Owner,
        kind: SessionKind,
        credential: Credential,
        *,
        generation: int = 1,
        scopes: frozenset[str] = frozenset(),
        expires_at: float | None = None,
    ) -> Connection:
        sealed = self._sealer.seal_credential(
            credential,
            connection_id=connection_id,
            owner=owner,
            provider=SESSION,
            generation=generation,
            kept=False,
        )
        now = self._clock.now()
        return Connection(
            id=connection_id,
            owner=owner,
            provider=SESSION,
            handler=handler_name(kind),
            profile=DEFAULT_PROFILE,
            scopes=scopes,
            sealed=sealed,
            generation=generation,
            issued_at=now,
            expires_at=expires_at,
            refreshable=kind is SessionKind.OAUTH2,
            created_at=now,
            updated_at=now,
            kept=False,
        )


def _fits(need: Need, kind: SessionKind) -> bool:
    return need.handler is None or need.handler.replace("-", "_") == handler_name(kind).replace("-", "_")


def _client(credential: SessionCredential, token_hosts: Collection[str]) -> TokenClient:
    return TokenClient(
        url=credential.token_url,
        operator=names_host(token_hosts, credential.token_url),
        scope=credential.scope,
    )


def names_host(hosts: Collection[str], url: str) -> bool:
    """Whether the operator's list names the host of a URL, by itself or with the port."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    wanted = {host, f"{host}:{port or (443 if parts.scheme == 'https' else 80)}"}
    return bool(host) and any(each.strip().lower().replace("[", "").replace("]", "") in wanted for each in hosts)


def _ended() -> Unauthenticated:
    return Unauthenticated("This session's credentials were forgotten. Authenticate again.")
