"""Revocation: a credential that is gone here and has to end at its provider, too."""

from __future__ import annotations

from dataclasses import dataclass

from valetkey.model.caller import Owner
from valetkey.model.connections import Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One revocation to do upstream (RFC 7009), tried until the provider confirms it or its time is over.

    Attributes:
        id: 32 hexadecimal digits.
        owner: whose credential it was.
        provider, handler: who can revoke it.
        sealed: the credential, bound to this revocation.
        created_at: when the connection was deleted, in seconds since the epoch.
        tries: how often it was tried; compare-and-set decides who tries next.
        next_try_at: not before that time.
        reason: what the last try met.
    """

    id: str
    owner: Owner
    provider: str
    handler: str
    sealed: Sealed
    created_at: float
    tries: int = 0
    next_try_at: float = 0.0
    reason: str = ""
