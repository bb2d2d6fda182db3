"""Token: any credential that we issue, as its row."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from valetkey.model.caller import Owner
from valetkey.model.users import UserInfo


class TokenKind(StrEnum):
    """What it is."""

    ACCESS = "access"
    """A signed access token (JWT); its row is for lists and revocation, and is not read to verify it."""
    API_KEY = "api_key"
    """For programs: a random secret, of which a keyed hash is kept."""
    SESSION = "session"
    """A browser that signed in: the same, in a cookie."""
    TICKET = "ticket"
    """For one use, or one call, within minutes: the same."""
    RECONNECTION = "reconnection"
    """For an RPC client to come back with: the same."""
    CONSENT = "consent"
    """A person's yes that lasts: it has no text, nobody presents it, and the tickets made with it end with it."""
    CUSTOM = "custom"
    """What a host program's own generator made; known by its hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One credential that we issued.

    Attributes:
        id: 22 characters, base64url of 16 random bytes; a JWT's ``jti``.
        owner: whose it is, and the workspace in which it acts.
        user: who the bearer is, with the scope that it was given.
        name: for people, to tell it from others.
        parent: the token with which it was made; with that, it ends.
        digest: of an opaque one its keyed hash, hexadecimal, which is unique; of a JWT empty.
        key_id: the root key that signed or hashed it.
        created_at, expires_at, last_used_at, revoked_at: seconds since the epoch; None: never, or not yet.
        address: from where it was asked for.
        agent: what the browser or program called itself.
    """

    id: str
    kind: TokenKind
    owner: Owner
    user: UserInfo
    name: str = ""
    parent: str = ""
    digest: str = field(default="", repr=False)
    key_id: str = ""
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None
    revoked_at: float | None = None
    address: str = ""
    agent: str = ""
