"""Registration: a client that we registered at an authorization server, as its row."""

from __future__ import annotations

from dataclasses import dataclass

from valetkey.model.connections import Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A client of ours (RFC 7591 §3.2.1), one for each (registration endpoint, redirect URI).

    Attributes:
        id: the SHA-256 of both, in hexadecimal digits.
        registrar: the registration endpoint.
        redirect_uri: where browsers are sent back.
        client_id: who we are there; a newer client in this row has another one.
        sealed: its secret, and the token with which it is managed (RFC 7592), bound to this row.
        created_at: seconds since the epoch.
        expires_at: when its secret ends; 0: never.
    """

    id: str
    registrar: str
    redirect_uri: str
    client_id: str
    sealed: Sealed
    created_at: float
    expires_at: float = 0.0
