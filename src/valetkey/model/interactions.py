"""A question that waits for a person: sign in, connect, approve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from valetkey.model.caller import Owner
from valetkey.model.connections import Sealed

INVITATION = "User needs to authenticate using the following URL: "
"""What programs written for seed 000 look for; the link follows."""


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
