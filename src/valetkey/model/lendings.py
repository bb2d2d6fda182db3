"""Lending: which accounts of a caller's a service in somebody else's process may use. It is in consents and tickets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valetkey.model.users import UserInfo

FACTS = "lending"
"""The field of a token's scope that holds it."""

VIA = "via:"
"""What a ticket's scope begins with; the provider follows."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Account:
    """One account.

    Attributes:
        provider: whose it is, by the provider's name.
        scopes: what the service asks for, sorted.
        profile: which of several.
        account: the provider's own name for it; else the connection's id.
        granted: what the provider granted there, sorted: a service can do all of it.
    """

    provider: str
    scopes: tuple[str, ...] = ()
    profile: str = ""
    account: str = ""
    granted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lending:
    """What is lent to whom.

    Attributes:
        service: ``workspace/id``; clients come and go, so none is named.
        registrant: (issuer, subject) of the program that answers.
        accounts: sorted.
        delegated: whether that program has a token that somebody made for it, and not their own.
        asker: of a ticket: the token with which the service was called; with it, the ticket ends.
    """

    service: str
    registrant: tuple[str, str]
    accounts: tuple[Account, ...]
    delegated: bool = False
    asker: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "service": self.service,
            "registrant": list(self.registrant),
            "accounts": [
                [each.provider, list(each.scopes), each.profile, each.account, list(each.granted)]
                for each in self.accounts
            ],
            "delegated": self.delegated,
            **({"asker": self.asker} if self.asker else {}),
        }

    @classmethod
    def read(cls, facts: object) -> Lending | None:
        """What `facts` gave; None: it is none."""
        if not isinstance(facts, Mapping):
            return None
        try:
            issuer, subject = facts["registrant"]
            return cls(
                service=str(facts["service"]),
                registrant=(str(issuer), str(subject)),
                accounts=tuple(
                    Account(
                        provider=str(provider),
                        scopes=tuple(map(str, scopes)),
                        profile=str(profile),
                        account=str(account),
                        granted=tuple(map(str, granted)),
                    )
                    for provider, scopes, profile, account, granted in facts["accounts"]
                ),
                delegated=facts["delegated"] is True,
                asker=str(facts.get("asker", "")),
            )
        except (KeyError, TypeError, ValueError):
            return None


def may_be_lent(user: UserInfo | None, providers: Iterable[str]) -> bool:
    """Whether a user's accounts at those providers may be lent to a service that they call.

    A token that somebody made for a program opens none of theirs, unless they gave it ``via:<provider>``.
    """
    if user is None or user.parent is None:
        return user is not None
    return all(user.is_granted(f"{VIA}{provider}") for provider in providers)


def lending_of(user: UserInfo | None) -> Lending | None:
    """What the bearer of a token is lent, or was allowed to be lent; None: the token is for something else."""
    if user is None or user.scope is None:
        return None
    return Lending.read(getattr(user.scope, FACTS, None))
