"""Times, browsers and permissions in words, for pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from valetkey.entrypoints.web.page import plain
from valetkey.model.accounts import PREFIX
from valetkey.model.users import ADMIN_ROLE, UserInfo, UserPermission

MINUTE, HOUR, DAY = 60, 3600, 86_400

_UNITS = ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"))
_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9 ._-]{0,39}(?=/|$)")
_MAY = {
    UserPermission.read: "read",
    UserPermission.read_write: "read and write",
    UserPermission.admin: "everything",
}


def length(seconds: float) -> str:
    """How long, roughly: ``1 hour``, ``30 days``."""
    for size, name in _UNITS:
        count = round(seconds / size)
        if seconds >= size:
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "less than a minute"


def moment(at: float | None, *, now: float, never: str = "never") -> str:
    """When that was or will be: near ones as a distance, others as a date (UTC)."""
    if at is None:
        return never
    distance = now - at
    if abs(distance) < MINUTE:
        return "just now" if distance >= 0 else "in less than a minute"
    if abs(distance) < 60 * DAY:
        return f"{length(distance)} ago" if distance > 0 else f"in {length(-distance)}"
    return date(at)


def date(at: float) -> str:
    """A day in UTC, such as ``3 May 2031``."""
    try:
        day = datetime.fromtimestamp(at, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return "an unknown day"
    return f"{day.day} {day:%b} {day.year}"


def agent(text: str) -> str:
    """What a browser or program calls itself, shortened; a claim, and no proof."""
    system = next((name for mark, name in _SYSTEMS if mark in text), "")
    if text.startswith("Mozilla/"):
        browser = next((name for mark, name in _BROWSERS if mark in text), "A browser")
        return f"{browser} on {system}" if system else browser
    product = _PRODUCT.match(text)
    return plain(product[0] if product else text, 60) or "An unnamed program"


def name(user: UserInfo) -> str:
    """What a person is called on pages: the name of an account here, else the id."""
    return plain(user.id.removeprefix(PREFIX))


def permissions(user: UserInfo) -> list[str]:
    """What the bearer of a token may do."""
    if user.scope is None:
        return []
    if ADMIN_ROLE in user.roles and user.get_permission("*") is UserPermission.admin:
        return ["everything, everywhere", *sorted(user.scope.extra_scopes)]
    held = [f"{_MAY[may]} in {'every workspace' if ws == '*' else ws}" for ws, may in user.scope.workspaces.items()]
    return sorted(held) + sorted(user.scope.extra_scopes)
