"""What callers of the workspace manager may do, and what they hand in: checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from valetkey.errors import Denied, InvalidArguments
from valetkey.identity.powers import check_general
from valetkey.services.sight import Sight, Who

if TYPE_CHECKING:
    from valetkey.model.users import UserPermission

DEEPEST = 32
"""Arrays and objects within each other, of what is kept."""


_ENCODED = "type target method promise value name async doc schema server native shape dtype trace close_method enc_pub"
OF_THE_WIRE = frozenset({"_rintf", *(f"_r{name}" for name in _ENCODED.split())})
"""Keys under which clients' libraries write functions and arrays: what one keeps for others to read has none."""


async def need(sight: Sight, who: Who, workspace: str, wanted: UserPermission) -> None:
    """Refuse a caller who has less than that permission there.

    Raises:
        Denied: they have; or their token is for one purpose only.
    """
    check_general(who.caller)
    if not await sight.may(who, workspace, wanted):
        raise Denied(f"Permission denied for workspace {workspace}")


def signed_in(who: Who) -> None:
    """Refuse a caller whom nobody knows.

    Raises:
        Denied: it is one.
    """
    user = who.caller.user
    if user is None or user.is_anonymous:
        raise Denied("Sign in first: this is not for anonymous callers.")


def text(value: object, name: str, *, longest: int = 1024) -> str:
    """An argument that is a text, and not an empty one.

    Raises:
        InvalidArguments: it is none.
    """
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise InvalidArguments(f"{name} has to be a text of at most {longest} characters.")
    return value


def number(value: object, name: str, *, least: float, most: float) -> float:
    """An argument that is a number within its bounds.

    Raises:
        InvalidArguments: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidArguments(f"{name} has to be a number of {least:g} to {most:g}.")
    return value


def mapping(value: object, name: str) -> dict[str, Any]:
    """An argument that is a map by name; none stands for an empty one.

    Raises:
        InvalidArguments: it is none.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidArguments(f"{name} has to be a dict whose keys are texts.")
    return dict(value)


def plain(value: object, name: str, *, most: int) -> None:
    """Refuse what is no JSON of at most so many bytes, or would be more than that to those who are told of it.

    Raises:
        InvalidArguments: it is none.
    """
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise InvalidArguments(f"{name} is nested more than {DEEPEST} deep.")
        level = [inner for each in level for inner in _within(each)]
    try:
        size = len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError):
        raise InvalidArguments(f"{name} holds something that is no JSON, such as bytes or half a character.") from None
    if size > most:
        raise InvalidArguments(f"{name} has {size} bytes as JSON, and may have {most}.")


def _within(value: object) -> list[Any]:
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise InvalidArguments("A key that is no text is no JSON.")
        if not OF_THE_WIRE.isdisjoint(value):
            strange = ", ".join(sorted(OF_THE_WIRE.intersection(value)))
            raise InvalidArguments(f"Functions and arrays cannot be kept for others to read: {strange} is no key here.")
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []
