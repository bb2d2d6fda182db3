"""A question that waits for a person: sign in, connect, approve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from valetkey.model.caller import Owner
from valetkey.model.connections import Sealed

INVITATION = "User needs to authenticate using the following URL: "
"""What programs written for seed 000 look for; the link follows."""


CONFIRM = "confirm"
"""The fact of a connect interaction that waits for a yes to the account that was obtained."""

GRANT = "grant"
"""The part of its payload that holds what was obtained, until it is kept or given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What a person is asked to do: open a link and, with the device grant, enter a code (RFC 8628 §3.3).

    Attributes:
        url: the link.
        user_code: the code to enter; empty: there is none.
        verification_uri: the page to enter it on.
    """

    url: str
    user_code: str = ""
    verification_uri: str = ""

    @property
    def text(self) -> str:
        """The sentence of seed 000, with nothing behind the link on its line; a second one where a code is to be typed.

        There is none where the link has the code in it, or leads to our own page, which shows it.
        """
        code = self.user_code if self.url == self.verification_uri else ""
        return f"{INVITATION}{self.url}" + (f"\nEnter this code there: {code}" if code else "")


class InteractionKind(StrEnum):
    """What is asked of the person."""

    SIGN_IN = "sign_in"
    CONNECT = "connect"
    APPROVE = "approve"


class Phase(StrEnum):
    """Where an interaction stands."""

    OPEN = "open"
    CLAIMED = "claimed"
    ANSWERED = "answered"
    SETTLING = "settling"
    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """One question, one row, one life.

    Attributes:
        id: SHA-256 of the state that the link carries, in hexadecimal; the state itself is only in ``payload``.
        topic: what it is about within (kind, owner): at most one is open for each.
        about: facts that are no secret, for pages and lists (provider, handler, scopes, profile).
        payload: what is needed to settle it, sealed: the link, the PKCE verifier, data of a handler.
        answer: what the person brought back, sealed, until it is settled.
        version: one more with every change; compare-and-set decides who changes.
        created_at, expires_at: seconds since the epoch; a link lives 600 s.
        claimed_by: SHA-256 of the browser's claim, where a page claimed it.
        reason: why it was refused or failed; public text.
    """

    id: str
    kind: InteractionKind
    owner: Owner
    topic: str
    phase: Phase
    about: Mapping[str, object] = field(default_factory=dict)
    payload: Sealed
    answer: Sealed | None = None
    version: int = 1
    created_at: float
    expires_at: float
    claimed_by: str = ""
    reason: str = ""

    @property
    def confirming(self) -> bool:
        """Whether the account is there already, and the person is asked if it is the one that they meant."""
        return self.about.get(CONFIRM) is True
