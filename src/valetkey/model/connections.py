"""Connection and Sealed: one owner's account at a provider, and its secret at rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from valetkey.model.caller import Owner
from valetkey.secret import Secret

Sealed = NewType("Sealed", bytes)
"""Ciphertext with its key id, bound to its row; only the vault makes and opens one."""


DEFAULT_PROFILE = "default"
"""The profile of an account for which none was named."""


class Health(StrEnum):
    """How a connection fares."""

    OK = "ok"
    TRANSIENT = "transient"
    NEEDS_REAUTH = "needs_reauth"
    CONFIG_ERROR = "config_error"


class Cause(StrEnum):
    """Why it fares so; the reason beside it is a sentence for people."""

    NONE = ""
    UNAVAILABLE = "unavailable"
    """Transient: no answer, or none that makes sense."""
    RATE_LIMITED = "rate_limited"
    """Transient: the provider asked us to wait."""
    REFUSED = "refused"
    """Needs a person: the provider says that the refresh token is dead (RFC 6749 §5.2 ``invalid_grant``)."""
    LOST_ROTATION = "lost_rotation"
    """Needs a person: as ``refused``, after a refresh whose answer never reached us: a rotated token was lost."""
    REJECTED = "rejected"
    """Needs a person: the provider's API refuses a credential that was just renewed."""
    SETUP = "setup"
    """Needs the operator: the provider refuses us, the client, or a setting cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the last refresh left behind; the credential and its generation stay as they are.

    Attributes:
        fail_count: failures in a row.
        next_try_at: not before that time, in seconds since the epoch.
        at: when it was found so.
    """

    health: Health
    cause: Cause
    reason: str
    fail_count: int
    next_try_at: float
    at: float


def key_id_of(sealed: bytes) -> str:
    """The id of the key that sealed it, as its header says; empty where it has none."""
    size = sealed[1] if len(sealed) > 1 else 0
    name = sealed[2 : 2 + size]
    return name.decode("ascii") if len(name) == size and name.isascii() and b"\0" not in name else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose account it is, as the provider's ID token says (OpenID Connect Core §2).

    Attributes:
        issuer, subject: the claims ``iss`` and ``sub``: together they name an account.
        audience: the claim ``aud``: to whom the token was told.
    """

    issuer: str
    subject: str
    audience: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a connection holds: the secrets, in the clear, for as short as possible.

    Attributes:
        access_token: what is lent; empty for handlers that hold only fields.
        refresh_token: what renews it, where the provider gave one.
        fields: further secret values by name (a key pair, a user name and password).
        token_type: as the token answer named it (RFC 6749 §7.1).
        client_id: the OAuth client that it was issued to; empty where there is none, or it is not known.
        subject: whose account it is, where the provider told by an ID token.
        dpop_key: what the key is made of to which the token is bound (RFC 9449); None: it is a bearer token.
        context: the JSON of a user's own AuthContext, and its class; None for the handlers that we ship.
    """

    access_token: Secret
    refresh_token: Secret | None = None
    fields: Mapping[str, Secret] = field(default_factory=dict)
    token_type: str = "bearer"
    client_id: str = ""
    subject: Subject | None = None
    dpop_key: Secret | None = None
    context_class: str | None = None
    context: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a handler obtained: a credential, and what is known about it.

    Attributes:
        scopes: those granted; None when the provider did not say (RFC 6749 §5.1: then as asked).
        expires_at: seconds since the epoch; None when unknown or never.
        account: the provider's own name for the account, where it told.
        note: what the person is told besides, such as that it could not be checked.
    """

    credential: Credential
    scopes: frozenset[str] | None = None
    expires_at: float | None = None
    account: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One owner's authorised account at a provider. One for each (owner, provider, profile).

    Attributes:
        id: 32 hexadecimal digits.
        scopes: those granted.
        sealed: the credential at rest, bound to owner, id and generation.
        generation: one more with every credential written; compare-and-set decides who writes.
        issued_at, expires_at: the access token's life, in seconds since the epoch; None: unknown.
        refresh_at: when to refresh ahead of its end, with the connection's own share of jitter; None: unknown.
        lease_owner, lease_until: who may refresh now, and until when, on the clock of the store.
        attempt_id, attempt_started: the refresh that is in flight, or the last one whose outcome nobody knows.
        fail_count, next_try_at: back-off after failed refreshes.
        kept: whether it is in a store; what is obtained anew for each call is not.
    """

    id: str
    owner: Owner
    provider: str
    handler: str
    profile: str
    scopes: frozenset[str]
    sealed: Sealed
    generation: int = 1
    issued_at: float | None = None
    expires_at: float | None = None
    refreshable: bool = False
    account: str | None = None
    health: Health = Health.OK
    reason: str = ""
    lease_owner: str = ""
    lease_until: float = 0.0
    attempt_id: str = ""
    attempt_started: float = 0.0
    fail_count: int = 0
    next_try_at: float = 0.0
    created_at: float = 0.0
    updated_at: float = 0.0
    kept: bool = True
    refresh_at: float | None = None
    cause: Cause = Cause.NONE
