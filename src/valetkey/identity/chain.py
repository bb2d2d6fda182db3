"""Ask each verifier in turn; the only maker of a Caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from valetkey.errors import Unauthenticated
from valetkey.model.caller import Caller, Owner
from valetkey.model.calls import Presented


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouch:
    """What a verifier says of a credential that is its own and good."""

    owner: Owner
    how: str
    until: float | None = None


class Verifier(Protocol):
    """One kind of credential."""

    async def verify(self, presented: Presented) -> Vouch | None:
        """None: not mine.

        Raises:
            Unauthenticated: mine, and bad.
            CouldNotTell: mine, and cannot be judged now.
        """
        ...


class Chain:
    """Who is calling?"""

    def __init__(self, verifiers: Sequence[Verifier]) -> None:
        self._verifiers = tuple(verifiers)

    async def identify(self, presented: Presented) -> Caller:
        """The caller whom the first verifier that knows the credential vouches for.

        Raises:
            Unauthenticated: no verifier knows it, or the one that does says that it is bad.
            CouldNotTell: the one that knows it cannot judge it now.
        """
        for verifier in self._verifiers:
            vouch = await verifier.verify(presented)
            if vouch is not None:
                return Caller(owner=vouch.owner, how=vouch.how, until=vouch.until)
        raise Unauthenticated("Nobody here knows this kind of credential. Present one that this program accepts.")
