"""What the audit log and the metrics record. No event holds a secret, nor what a person called an account."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a piece of work ended."""

    OK = "ok"
    TRANSIENT = "transient"
    REFUSED = "refused"
    LOST_ROTATION = "lost_rotation"
    CONFIG_ERROR = "config_error"
    DISCARDED = "discarded"
    JOURNALED = "journaled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """A refresh ended.

    Attributes:
        seconds: from taking the lease to the saved row.
        ahead: whether the old token still served meanwhile.
    """

    provider: str
    outcome: Outcome
    seconds: float
    ahead: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """A revocation was tried upstream."""

    provider: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerMoved:
    """Refreshes at a provider are paused, or go on."""

    provider: str
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """The walk over the vault went on.

    Attributes:
        rows: sealed anew since the last such event.
        failed: rows that could not be opened.
    """

    rows: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What had ended was removed."""

    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A row, or what it seals, could not be read: an alarm."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """A record was added to the audit log.

    Attributes:
        action: as ``model.audit.Action`` has it.
        outcome: ``ok``, or a word for why not.
    """

    action: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicious:
    """Too many failures of one: an alarm.

    Attributes:
        kind: ``subject`` or ``address``.
    """

    kind: str


Event = Refreshed | Revoked | BreakerMoved | Resealed | Swept | Unreadable | Audited | Suspicious
