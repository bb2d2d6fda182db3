"""Account: a person who signs in here by name and password."""

from __future__ import annotations

from dataclasses import dataclass, field

PREFIX = "local|"
"""What the id of every account begins with: no issuer's user has an id that begins so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One local account.

    Attributes:
        id: ``local|<name>``; the subject, and ``UserInfo.id``.
        name: what the person types, lower case.
        password_hash: argon2id in its own format (RFC 9106), with its parameters.
        email: lower case; empty where none is known.
        roles: such as ``admin``.
        disabled: it cannot sign in.
        version: one more with every change; compare-and-set decides who changes.
        created_at, changed_at: seconds since the epoch; ``changed_at``: of the password or the roles.
    """

    id: str
    name: str
    password_hash: str = field(repr=False)
    email: str = ""
    roles: tuple[str, ...] = ()
    disabled: bool = False
    version: int = 1
    created_at: float
    changed_at: float
