"""Caller: a user whom a verifier vouched for (issuer, how, until when). Owner: whose connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from valetkey.secret import Secret

if TYPE_CHECKING:
    from valetkey.model.users import UserInfo

OURS = "valetkey"
"""The issuer of those who sign in here, however the public address changes."""

CUSTOM = "custom"
"""The issuer of those whom a host program's own parser vouches for."""

ANONYMOUS = "anonymous"
"""The issuer of those who present nothing."""

CHAT_USERS = "chat-users"
"""The workspace of the users whom the sign-in of a chat's own app vouches for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose connection it is. Two issuers never meet in one owner."""

    workspace: str
    issuer: str
    subject: str

    @property
    def names(self) -> tuple[str, ...]:
        """What lists of users call it: a user of a chat's app also by what the app calls them, whichever chat it is."""
        if self.workspace != CHAT_USERS:
            return (self.subject,)
        return self.subject, self.subject.partition("#")[2].partition(":")[2] or self.subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user whom a verifier vouched for. Only ``identity/chain.py`` makes one.

    Attributes:
        owner: the connections that this caller may use.
        how: the verifier that vouched.
        until: when the credential ends, in seconds since the epoch; None for as long as the process says so.
        user: the user as seed 004 spells it; None for one that a host program names by ``thread_id``.
        token: the id of the credential, where it has one: what is revoked by it ends this caller, too.
        bearer: the access token that they presented, where an issuer made it and a verifier of ours judged it: what
            may be exchanged for another one (RFC 8693). It does not print, nor tell two callers apart.
    """

    owner: Owner
    how: str
    until: float | None = None
    user: UserInfo | None = None
    token: str = ""
    bearer: Secret | None = field(default=None, repr=False, compare=False)

    @property
    def principal(self) -> tuple[str, str]:
        """(issuer, subject): who it is, wherever they act."""
        return self.owner.issuer, self.owner.subject
