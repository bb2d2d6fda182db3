"""The keys of issuers: one flight each, bounded, kept parsed, the last good ones kept through an outage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from valetkey.errors import CouldNotTell, ProviderUnavailable, ValetkeyError
from valetkey.oauth.discovery import believed, discover, read_from, trust_of
from valetkey.ports.world import Clock, Fetcher, Response, Trust
from valetkey.protocol.foreign import JSON, read_object, shown
from valetkey.protocol.jwk import VerifyingKey, fitting, read_key_set

DEADLINE = 5.0
"""Seconds that asking for keys may take, discovery included."""

MOST_KEYS = 100
"""Keys of one set."""

TRIED = 5
"""Keys that are tried for a token that names none."""

LIFE = 540.0
"""Seconds for which keys are believed at most: with the minute for which a verdict is remembered, ten minutes."""

SHORTEST_LIFE = 30.0
"""Seconds for which they are believed at least, whatever ``max-age`` says."""

AHEAD = 0.8
"""The part of their life after which they are asked for again, while they go on being used."""

PAUSE = 30.0
"""Seconds between two fetches of which a token with an unknown key is the reason."""

RETRY = 10.0
"""Seconds after a fetch that failed."""

STALE = 86_400.0
"""Seconds for which the last good keys are used while the issuer cannot be asked."""

_log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysOf:
    """Whose keys, and where they are.

    Attributes:
        issuer: its URL, without a template in it.
        jwks_url: where they are; empty: found by discovery.
        trust: who named these URLs.
    """

    issuer: str
    jwks_url: str = ""
    trust: Trust = field(default=Trust.OPERATOR, hash=False)  # the hash of an Enum costs more than all the rest


@dataclass(slots=True)
class _Held:
    """What is held of one issuer. All times are monotonic."""

    keys: tuple[VerifyingKey, ...] = ()
    chosen: dict[tuple[str, str | None], tuple[VerifyingKey, ...]] = field(default_factory=dict)
    fetched_at: float = float("-inf")
    life: float = 0.0
    tried_at: float = float("-inf")
    failed: bool = False
    flight: asyncio.Task[None] | None = None
    told: frozenset[str] = field(default_factory=frozenset)


class IssuerKeys:
    """The keys with which issuers sign; for use on the home loop.

    Args:
        fetcher: the way out.
        clock: for ages; only its monotonic side is read.
    """

    def __init__(self, fetcher: Fetcher, *, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._held: dict[KeysOf, _Held] = {}

    async def of(self, whose: KeysOf, *, algorithm: str, kid: str | None) -> Sequence[VerifyingKey]:
        """The keys that may have signed with that algorithm: the one of that id; without an id, a few.

        Empty: the issuer has none such.

        Raises:
            CouldNotTell: they are not known, and the issuer cannot be asked now.
        """
        found = self.ready(whose, algorithm=algorithm, kid=kid)
        if found:
            return found
        held = self._held.setdefault(whose, _Held())
        if self._clock.monotonic() - held.fetched_at >= held.life * AHEAD:
            await self._renew(whose, held)
        found = _choose(held, algorithm, kid)
        if found or any(key.kid == kid for key in held.keys):
            return found
        if held.flight is not None or self._clock.monotonic() - held.tried_at >= PAUSE:  # it may be a new one
            await self._fetch(whose, held)
            found = _choose(held, algorithm, kid)
        if not found and held.failed:
            raise _unknown(whose)
        return found

    def ready(self, whose: KeysOf, *, algorithm: str, kid: str | None) -> Sequence[VerifyingKey]:
        """The same, as far as they are at hand and young; empty: ask for them."""
        held = self._held.get(whose)
        if held is None or self._clock.monotonic() - held.fetched_at >= held.life * AHEAD:
            return ()
        return held.chosen.get((algorithm, kid), ())

    async def _renew(self, whose: KeysOf, held: _Held) -> None:
        """Ask anew; nobody waits for it while there are keys to go on with.

        Raises:
            CouldNotTell: there are none.
        """
        now = self._clock.monotonic()
        age = now - held.fetched_at
        due = not held.failed or now - held.tried_at >= RETRY
        if age >= STALE or (age >= held.life and not held.failed):
            if due or held.flight is not None:
                await self._fetch(whose, held)
        elif due:
            self._flight(whose, held)
        if self._clock.monotonic() - held.fetched_at >= STALE:
            raise _unknown(whose)

    async def close(self) -> None:
        """End what is under way."""
        flights = [held.flight for held in self._held.values() if held.flight is not None]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _fetch(self, whose: KeysOf, held: _Held) -> None:
        await asyncio.shield(self._flight(whose, held))  # who waits and gives up does not end it for the others

    def _flight(self, whose: KeysOf, held: _Held) -> asyncio.Task[None]:
        if held.flight is None:
            held.flight = asyncio.create_task(self._fly(whose, held))
        return held.flight

    async def _fly(self, whose: KeysOf, held: _Held) -> None:
        held.tried_at = began = self._clock.monotonic()
        try:
            answer = await self._ask(whose)
            keys, faults = read_key_set(read_object(answer.body, JSON), most=MOST_KEYS)
        except (ValetkeyError, ValueError) as error:
            held.failed = True
            self._tell(whose, held, f"cannot be had: {error}")
        else:
            held.keys, held.chosen = keys, {}
            held.fetched_at, held.life, held.failed = began, believed(answer, least=SHORTEST_LIFE, most=LIFE), False
            self._tell(whose, held, *faults)
        finally:
            held.flight = None

    async def _ask(self, whose: KeysOf) -> Response:
        ends = self._clock.monotonic() + DEADLINE

        def left() -> float:
            return ends - self._clock.monotonic()

        url, trust = whose.jwks_url, whose.trust
        if not url:
            metadata = await discover(self._fetcher, issuer=whose.issuer, trust=trust, left=left)
            url = metadata.jwks_url
            if not url:
                raise ProviderUnavailable(f"The metadata of {shown(whose.issuer)} names no keys (jwks_uri).")
            trust = trust_of(url, issuer=whose.issuer, trust=trust)
        return await read_from(self._fetcher, url, trust=trust, left=left)

    def _tell(self, whose: KeysOf, held: _Held, *what: str) -> None:
        """Log what is new of it: each thing once, not with every fetch."""
        for each in what:
            if each not in held.told:
                _log.warning("keys of %s: %s", shown(whose.issuer), each)
        held.told = frozenset(what)


def _choose(held: _Held, algorithm: str, kid: str | None) -> Sequence[VerifyingKey]:
    found = held.chosen.get((algorithm, kid))
    if found is None:
        some = held.keys if kid is None else [key for key in held.keys if key.kid == kid]
        found = fitting(some, algorithm=algorithm, most=TRIED if kid is None else 1)
        if found:  # not what strangers make up: it would fill the memory
            held.chosen[algorithm, kid] = found
    return found or ()


def _unknown(whose: KeysOf) -> CouldNotTell:
    return CouldNotTell(
        f"The keys of {shown(whose.issuer)} cannot be had now, so its tokens cannot be judged. Try again later."
    )
