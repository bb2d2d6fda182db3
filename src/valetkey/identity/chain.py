"""Ask each verifier in turn, route by issuer or prefix; revocation is checked once, whoever answered."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from valetkey.errors import Unauthenticated
from valetkey.model.caller import Caller, Owner
from valetkey.model.calls import BEARER, Presented
from valetkey.model.stops import StopKind
from valetkey.secret import Secret

if TYPE_CHECKING:
    from valetkey.model.users import UserInfo
    from valetkey.ports.world import Clock
    from valetkey.stops import Stops

REMEMBERED = 10_000
"""Verified tokens that are remembered; and as many that are asked about each time, for counting."""

UNKNOWN = "Nobody here knows this kind of credential. Present one that this program accepts."
REVOKED = "This token has been revoked. Sign in again, or ask for a new one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouch:
    """What a verifier says of a credential that is its own and good.

    Attributes:
        until: when the credential ends, in seconds since the epoch.
        user: the user, where there is one.
        token: its id, for revocation; empty: the SHA-256 of its text stands for it.
        keep: seconds that the verdict may be remembered; 0: it must be asked for each time.
        exchangeable: whether it is an access token that its issuer made and this verifier judged, presented by whoever
            holds it: it may be exchanged for one of another audience (RFC 8693).
    """

    owner: Owner
    how: str
    until: float | None = None
    user: UserInfo | None = None
    token: str = ""
    keep: float = 0.0
    exchangeable: bool = False


class Verifier(Protocol):
    """One kind of credential."""

    async def verify(self, presented: Presented) -> Vouch | None:
        """None: not mine.

        Raises:
            Unauthenticated: mine, and bad.
            CouldNotTell: mine, and cannot be judged now.
        """
        ...


_Verdict = tuple[Caller, str, float, int, bool]
"""The caller without their token, what would revoke it, until when it is remembered (monotonic), the generation of what
is stopped, and whether the token may be exchanged."""

Refused = Callable[[Presented], Awaitable[None]]
"""Is told of a credential that was refused."""


class Chain:
    """Who is calling?

    Args:
        verifiers: in the order in which they are asked.
        stops: what was revoked and who is blocked; None where nobody can be: one user, one process.
        clock: needed with ``stops``.
        refused: told of each credential that was refused; it may raise ``RateLimited`` instead.
    """

    def __init__(
        self,
        verifiers: Sequence[Verifier],
        *,
        stops: Stops | None = None,
        clock: Clock | None = None,
        refused: Refused | None = None,
    ) -> None:
        self._verifiers = tuple(verifiers)
        self._stops = stops
        self._clock = clock
        self._refused = refused
        self._remembered: OrderedDict[bytes, _Verdict] = OrderedDict()
        self._counted: OrderedDict[bytes, Caller] = OrderedDict()

    async def identify(self, presented: Presented) -> Caller:
        """The caller whom the first verifier that knows the credential vouches for.

        Raises:
            Unauthenticated: no verifier knows it, or the one that does says that it is bad; it was revoked, or its
                user is blocked.
            CouldNotTell: the one that knows it cannot judge it now.
            RateLimited: too many bad ones came from that address.
        """
        try:
            if self._stops is None or self._clock is None:
                vouch = await self._ask(presented)
                return _with_token(_caller(vouch), presented, exchangeable=vouch.exchangeable)
            await self._stops.fresh()
            key = _key_of(presented)
            remembered = self._recall(key, self._stops, self._clock)
            if remembered is not None:
                return _with_token(remembered[0], presented, exchangeable=remembered[1])
            vouch = await self._ask(presented)
            caller = _caller(vouch)
            target = vouch.token or hashlib.sha256(_text_of(presented)).hexdigest()
            await self._stops.fresh()  # verifying may have taken its time
            generation = self._stops.generation  # before the check: it may change on another thread
            self._check(caller, target)
            if vouch.keep > 0:
                keep_until = self._clock.monotonic() + vouch.keep
                self._remembered[key] = caller, target, keep_until, generation, vouch.exchangeable
                if len(self._remembered) > REMEMBERED:
                    self._remembered.popitem(last=False)
            elif vouch.until is not None:
                self._counted[key] = caller
                if len(self._counted) > REMEMBERED:
                    self._counted.popitem(last=False)
        except Unauthenticated:
            self._counted.pop(_key_of(presented), None)
            if self._refused is not None:
                await self._refused(presented)
            raise
        else:
            return _with_token(caller, presented, exchangeable=vouch.exchangeable)

    def _recall(self, key: bytes, stops: Stops, clock: Clock) -> tuple[Caller, bool] | None:
        """Who presented this before, where the verdict still holds, and whether the token may be exchanged."""
        held = self._remembered.get(key)
        if held is None:
            return None
        caller, target, keep_until, checked, exchangeable = held
        if (caller.until is None or clock.now() < caller.until) and clock.monotonic() < keep_until:
            generation = stops.generation
            if checked == generation:  # nothing was stopped since
                return caller, exchangeable
            # One that was revoked is asked about anew: the answer is that for one that nobody ever knew.
            if not stops.why(StopKind.TOKEN, target):
                self._check(caller, target)
                self._remembered[key] = caller, target, keep_until, generation, exchangeable
                return caller, exchangeable
        self._remembered.pop(key, None)
        return None

    def known(self, presented: Presented) -> Caller | None:
        """Who presented this before, as far as it is remembered; nobody is asked. For counting, never for trust."""
        key = _key_of(presented)
        held = self._remembered.get(key)
        if held is not None:
            return held[0]
        caller = self._counted.get(key)
        over = caller is None or caller.until is None or self._clock is None or self._clock.now() >= caller.until
        return None if over else caller

    def forget(self) -> None:
        """Remember no verdict: who is asked has changed."""
        self._remembered.clear()
        self._counted.clear()

    async def still(self, caller: Caller) -> None:
        """Whether a caller who was identified before, on a socket that stays open, still is one.

        Raises:
            Unauthenticated: the credential ended or was revoked, or the user is blocked.
            CouldNotTell: it cannot be told now.
        """
        if self._stops is None or self._clock is None:
            return
        await self._stops.fresh()
        if caller.until is not None and self._clock.now() >= caller.until:
            raise Unauthenticated("The token has expired. Please fetch a new one")
        self._check(caller, caller.token)

    async def _ask(self, presented: Presented) -> Vouch:
        for verifier in self._verifiers:
            vouch = await verifier.verify(presented)
            if vouch is not None:
                return vouch
        raise Unauthenticated(UNKNOWN)

    def _check(self, caller: Caller, target: str) -> None:
        stops = self._stops
        if stops is None:
            return
        if target and stops.why(StopKind.TOKEN, target) is not None:
            raise Unauthenticated(REVOKED)
        user = caller.user
        names = caller.owner.names if user is None else (user.id, user.get_effective_user_id())
        if any(stops.why(StopKind.USER, name) is not None for name in names):
            raise Unauthenticated("This user is blocked here. Ask who runs this server.")
        if stops.why(StopKind.WORKSPACE, caller.owner.workspace) is not None:
            raise Unauthenticated("This workspace is blocked here. Ask who runs this server.")


def _caller(vouch: Vouch) -> Caller:
    return Caller(owner=vouch.owner, how=vouch.how, until=vouch.until, user=vouch.user, token=vouch.token)


def _with_token(caller: Caller, presented: Presented, *, exchangeable: bool) -> Caller:
    """The caller with the token that they just presented; none is remembered here."""
    if not exchangeable or presented.scheme != BEARER:
        return caller
    value = presented.value
    return replace(caller, bearer=value if isinstance(value, Secret) else Secret(value))


def _text_of(presented: Presented) -> bytes:
    text = presented.value.reveal() if isinstance(presented.value, Secret) else presented.value
    return text.encode("utf-8", "surrogatepass")


def _key_of(presented: Presented) -> bytes:
    return hashlib.sha256(presented.scheme.encode() + b"\0" + _text_of(presented)).digest()
