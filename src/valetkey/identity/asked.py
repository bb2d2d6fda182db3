"""What a program asks for when it starts a login: as the row keeps it, and as the page shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from valetkey.errors import InvalidArguments
from valetkey.model.interactions import Interaction, Phase
from valetkey.ports.world import Entropy

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowel, so no word; none that looks like another, or like a digit (RFC 8628 §6.1)
_CODE = 8
_MOST_SECONDS = 100 * 366 * 86_400
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRequest:
    """What a program asks for, as the page shows it.

    Attributes:
        code: ``XXXX-XXXX``; the program shows the same.
        expires_in: seconds that the token is to live; None: as long as ours do.
        address, agent: of the program.
        created_at: seconds since the epoch.
        state: where it stands.
    """

    key: str = field(repr=False)
    code: str
    workspace: str | None
    expires_in: float | None
    address: str
    agent: str
    created_at: float
    state: Phase


def about_of(
    entropy: Entropy, *, workspace: str | None, expires_in: int | None, address: str, agent: str
) -> dict[str, object]:
    """What the row keeps; no secret."""
    return {
        "code": _code(entropy),
        "workspace": workspace or "",
        "expires_in": expires_in or 0,
        "address": address,
        "agent": agent[:_LONGEST_NAME],
    }


def request_of(row: Interaction, key: str) -> LoginRequest:
    """What the page shows of it."""
    about: dict[str, Any] = dict(row.about)
    return LoginRequest(
        key=key,
        code=str(about["code"]),
        workspace=str(about["workspace"]) or None,
        expires_in=float(about["expires_in"]) or None,
        address=str(about["address"]),
        agent=str(about["agent"]),
        created_at=row.created_at,
        state=row.phase,
    )


def check_workspace(name: object) -> None:
    """Refuse what can be no workspace's name.

    Raises:
        InvalidArguments: it is none.
    """
    if name is None:
        return
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise InvalidArguments(
            f"workspace has to be the name of one, a text of 1 to {_LONGEST_NAME} printable characters."
        )


def number(value: object, name: str) -> float:
    """A number of seconds.

    Raises:
        InvalidArguments: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST_SECONDS:
        raise InvalidArguments(f"{name} has to be a number of seconds.")
    return value


def whole_seconds(value: object) -> int | None:
    """A lifetime; None: nobody says.

    Raises:
        InvalidArguments: it is no number, or less than a second.
    """
    if value is None:
        return None
    seconds = number(value, "expires_in")
    if seconds < 1:
        raise InvalidArguments("expires_in has to be a number of seconds, 1 or more.")
    return int(seconds)


def waited(seconds: float) -> str:
    """What whoever waited for a login in vain is told."""
    return f"Login timeout, waited for {seconds:g} seconds"


def _code(entropy: Entropy) -> str:
    most = 256 - 256 % len(_LETTERS)  # a remainder would favour the first letters
    letters = ""
    while len(letters) < _CODE:
        letters += "".join(_LETTERS[each % len(_LETTERS)] for each in entropy.bytes(16) if each < most)
    return f"{letters[:4]}-{letters[4:_CODE]}"
