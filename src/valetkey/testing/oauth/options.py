"""What an OAuth server for tests is set up with: its clients, its users, its habits."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from valetkey.errors import InvalidSetting
from valetkey.testing.oauth.dialects import RFC, Dialect

ClientAuth = Literal["any", "basic", "post", "private_key", "none"]
Reuse = Literal["revoke_family", "refuse"]
Revocation = Literal["family", "token"]


class Now(Protocol):
    """The part of the Clock port that the server reads; a test's own clock will do."""

    def now(self) -> float:
        """Wall time in seconds since the epoch."""
        ...


class Dice(Protocol):
    """The part of the Entropy port that the server draws from."""

    def token(self, size: int = 32) -> str:
        """``size`` random bytes, base64url without padding."""
        ...


class WallClock:
    """The real time."""

    def now(self) -> float:
        """Wall time in seconds since the epoch."""
        return time.time()


class RealDice:
    """The real randomness."""

    def token(self, size: int = 32) -> str:
        """``size`` random bytes, base64url without padding."""
        return secrets.token_urlsafe(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A registered client (RFC 6749 §2).

    Attributes:
        id: its ``client_id``.
        secret: its ``client_secret``; None for a public client.
        auth: how it proves itself: ``basic`` or ``post`` alone, ``any`` of the two, ``private_key`` by a signature
            with the key that the server's ``keys`` have for it, or ``none``.
        redirect_uris: where it may be sent back to, compared character by character; empty means anywhere.
        title: what the consent page calls it; its id when empty.
    """

    id: str
    secret: str | None = field(default=None, repr=False)
    auth: ClientAuth = "any"
    redirect_uris: tuple[str, ...] = ()
    title: str = ""

    def __post_init__(self) -> None:
        if self.secret is None and self.auth != "private_key":
            object.__setattr__(self, "auth", "none")

    def knows(self, secret: str) -> bool:
        """Whether that is this client's secret, in constant time."""
        return hmac.compare_digest((self.secret or "").encode(), secret.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that does not change while the server runs; lifetimes in seconds. See ``OAuthServer``."""

    clients: Mapping[str, Client]
    users: Mapping[str, str]
    title: str
    scopes: Mapping[str, str] | None
    mail_scope: str | None
    dialect: Dialect = RFC
    require_pkce: bool = True
    iss: bool = True
    auto_approve: bool = False
    rotation: bool = True
    reuse: Reuse = "revoke_family"
    reuse_grace: float = 0.0
    revocation: Revocation = "family"
    access_lifetime: float = 3600.0
    refresh_lifetime: float | None = None
    code_lifetime: float = 60.0
    keys: Mapping[str, str] = field(default_factory=dict)
    subject_of: Callable[[str], str | None] | None = None
    clock: Now = field(default_factory=WallClock)
    dice: Dice = field(default_factory=RealDice)


def register(clients: Mapping[str, str | None] | Iterable[Client] | None, dice: Dice) -> dict[str, Client]:
    """Clients by id, from ``{id: secret}``, from clients, or one with a random secret when none is given.

    Raises:
        InvalidSetting: there is no client among them, or two of one id.
    """
    if clients is None:
        return {"test-client": Client(id="test-client", secret=dice.token(24))}
    if isinstance(clients, Mapping):
        known = [Client(id=name, secret=secret) for name, secret in clients.items()]
    else:
        known = list(clients)
    found = {client.id: client for client in known}
    if not found or len(found) != len(known):
        raise InvalidSetting("An OAuth server needs at least one client, each with an id of its own.")
    return found
