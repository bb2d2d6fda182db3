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


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a connection holds: the secrets, in the clear, for as short as possible.

    Attributes:
        access_token: what is lent; empty for handlers that hold only fields.
        refresh_token: what renews it, where the provider gave one.
        fields: further secret values by name (a key pair, a user name and password).
        token_type: as the token answer named it (RFC 6749 §7.1).
        context: the JSON of a user's own AuthContext, and its class; None for the handlers that we ship.
    """

    access_token: Secret
    refresh_token: Secret | None = None
    fields: Mapping[str, Secret] = field(default_factory=dict)
    token_type: str = "bearer"
    context_class: str | None = None
    context: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a handler obtained: a credential, and what is known about it.

    Attributes:
        scopes: those granted; None when the provider did not say (RFC 6749 §5.1: then as asked).
        expires_at: seconds since the epoch; None when unknown or never.
        account: the provider's own name for the account, where it told.
    """

    credential: Credential
    scopes: frozenset[str] | None = None
    expires_at: float | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One owner's authorised account at a provider. One for each (owner, provider, profile).

    Attributes:
        id: 32 hexadecimal digits.
        scopes: those granted.
        sealed: the credential at rest, bound to owner, id and generation.
        generation: one more with every credential written; compare-and-set decides who writes.
        issued_at, expires_at: the access token's life, in seconds since the epoch; None: unknown.
        lease_owner, lease_until, attempt_id, attempt_started: the refresh in flight, if any.
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
