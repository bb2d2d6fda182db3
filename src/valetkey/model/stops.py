"""Stop: what ends, and does not begin, everywhere within five seconds: a token, a user, a tool, a workspace."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StopKind(StrEnum):
    """What is stopped."""

    TOKEN = "token"
    """By its id; a token of somebody else's by the SHA-256 of its text, hexadecimal."""
    USER = "user"
    """By ``UserInfo.id``; the tokens made for that user's programs stop with it."""
    TOOL = "tool"
    """By its name."""
    WORKSPACE = "workspace"
    """By its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One thing that is stopped.

    Attributes:
        revision: one more with every change of any stop; given by the store.
        reason, by: for people: why, and who did it.
        created_at: seconds since the epoch.
        ends_at: when it may be forgotten; None: never by itself.
        lifted: it is stopped no more; kept a while, so that all hear of it.
    """

    kind: StopKind
    target: str
    reason: str = ""
    by: str = ""
    created_at: float
    ends_at: float | None = None
    revision: int = 0
    lifted: bool = False
