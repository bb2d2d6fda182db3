"""Which names and ids every database keeps; all stores refuse the others alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from valetkey.errors import InvalidArguments
from valetkey.model.accounts import Account
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection
from valetkey.model.interactions import Interaction
from valetkey.model.registrations import Registration
from valetkey.model.revocations import Revocation
from valetkey.model.stops import Stop

if TYPE_CHECKING:
    from valetkey.model.tokens import Token

LONGEST = 1024
"""Characters that a name or an id may have: what an index of every database takes."""


def check_connection(connection: Connection) -> None:
    """Refuse names that not every database keeps.

    Raises:
        InvalidArguments: one is too long, or holds a NUL or half of a character.
    """
    held = connection
    _check_names(
        (
            ("connection id", held.id),
            *_of_owner(held.owner),
            ("provider", held.provider),
            ("handler", held.handler),
            ("profile", held.profile),
            ("lease owner", held.lease_owner),
            ("attempt id", held.attempt_id),
        )
    )


def check_interaction(interaction: Interaction) -> None:
    """Refuse names that not every database keeps.

    Raises:
        InvalidArguments: one is too long, or holds a NUL or half of a character.
    """
    held = interaction
    _check_names(
        (
            ("interaction id", held.id),
            *_of_owner(held.owner),
            ("topic", held.topic),
            ("claim", held.claimed_by),
        )
    )


def check_revocation(revocation: Revocation) -> None:
    """Refuse names that not every database keeps.

    Raises:
        InvalidArguments: one is too long, or holds a NUL or half of a character.
    """
    held = revocation
    _check_names(
        (
            ("revocation id", held.id),
            *_of_owner(held.owner),
            ("provider", held.provider),
            ("handler", held.handler),
        )
    )


def check_registration(registration: Registration) -> None:
    """Refuse names that not every database keeps.

    Raises:
        InvalidArguments: one is too long, or holds a NUL or half of a character.
    """
    held = registration
    _check_names(
        (
            ("client's row id", held.id),
            ("registration endpoint", held.registrar),
            ("redirect URI", held.redirect_uri),
            ("client id", held.client_id),
        )
    )


def check_leader(name: str, owner: str) -> None:
    """Refuse names that not every database keeps.

    Raises:
        InvalidArguments: one is too long, or holds a NUL or half of a character.
    """
    _check_names((("work", name), ("leader", owner)))


def check_lease(owner: str, attempt: str) -> None:
    """Refuse names that not every database keeps.

    Raises:
        InvalidArguments: one is too long, or holds a NUL or half of a character.
    """
    _check_names((("lease owner", owner), ("attempt id", attempt)))


def check_account(account: Account) -> None:
    """Refuse names that not every database keeps.

    Raises:
        InvalidArguments: one is too long, or holds a NUL or half of a character.
    """
    held = account
    _check_names(
        (
            ("account's name", held.name),
            ("account id", held.id),
            ("password's hash", held.password_hash),
            ("e-mail address", held.email),
        )
    )


def check_token(token: Token) -> None:
    """Refuse names that not every database keeps.

    Raises:
        InvalidArguments: one is too long, or holds a NUL or half of a character.
    """
    held = token
    _check_names(
        (
            ("token id", held.id),
            *_of_owner(held.owner),
            ("parent", held.parent),
            ("digest", held.digest),
            ("key id", held.key_id),
        )
    )


def check_digest(digest: str, key_id: str) -> None:
    """Refuse names that not every database keeps.

    Raises:
        InvalidArguments: one is too long, or holds a NUL or half of a character.
    """
    _check_names((("digest", digest), ("key id", key_id)))


def check_stop(stop: Stop) -> None:
    """Refuse names that not every database keeps.

    Raises:
        InvalidArguments: one is too long, or holds a NUL or half of a character.
    """
    _check_names(((stop.kind.value, stop.target),))


def check_workspace(name: str) -> None:
    """Refuse names that not every database keeps.

    Raises:
        InvalidArguments: it is too long, or holds a NUL or half of a character.
    """
    _check_names((("workspace", name),))


def _of_owner(owner: Owner) -> tuple[tuple[str, str], ...]:
    return ("workspace", owner.workspace), ("issuer", owner.issuer), ("subject", owner.subject)


def _check_names(names: Iterable[tuple[str, str]]) -> None:
    for what, name in names:
        if len(name) > LONGEST:
            raise InvalidArguments(f"The {what} has {len(name)} characters. Use one of at most {LONGEST}.")
        if "\0" in name:
            raise InvalidArguments(f"The {what} holds a NUL character. Use one without.")
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InvalidArguments(
                f"The {what} holds half of a character (a lone surrogate). Use whole text."
            ) from error
