"""Caller: a user whom a verifier vouched for (issuer, how, until when). Owner: whose connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose connection it is. Two issuers never meet in one owner."""

    workspace: str
    issuer: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user whom a verifier vouched for. Only ``identity/chain.py`` makes one.

    Attributes:
        owner: the connections that this caller may use.
        how: the verifier that vouched.
        until: when the credential ends, in seconds since the epoch; None for as long as the process says so.
    """

    owner: Owner
    how: str
    until: float | None = None
