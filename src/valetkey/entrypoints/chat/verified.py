"""What an endpoint says of credentials: good, and whose; or not, in the words of the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from valetkey.errors import ExchangeFailed
from valetkey.ports.world import Response
from valetkey.protocol.foreign import read_object, shown
from valetkey.scrub import Scrubber
from valetkey.secret import Secret

TIMED_OUT = "Credential verification request timed out"
NO_CONNECTION = "Could not connect to verification endpoint"
GENERIC = "Credential verification error"

_NAMES = ("name", "display_name", "email", "username", "user_id", "sub")
_LONGEST = 80
_SUCCESS, _REDIRECT = 200, 300


def judge(answer: Response, secrets: Sequence[Secret]) -> tuple[bool, str, dict[str, Any]]:
    """Whether the credentials are good, what the endpoint said, and what it told of the user.

    Args:
        answer: as it came; a redirect is no yes.
        secrets: what was sent to it, which it may repeat.
    """
    members = _members(answer)
    if _SUCCESS <= answer.status < _REDIRECT:
        return True, f"Credentials verified successfully (HTTP {answer.status})", members
    said = next((text for key in ("detail", "message", "error") if isinstance(text := members.get(key), str)), "")
    detail = shown(said, secrets=secrets) or _phrase(answer.status)
    text = f"Credential verification failed (HTTP {answer.status})"
    return False, f"{text}: {detail}" if detail else text, {}


def failed(error: ExchangeFailed) -> str:
    """What is said of an endpoint that did not answer."""
    if error.late:
        return TIMED_OUT
    return GENERIC if error.sent else NO_CONNECTION


def display_name(user: Mapping[str, Any], secrets: Sequence[Secret]) -> str | None:
    """What a person is called, where the endpoint told; one line that may be shown."""
    for key in _NAMES:
        value = user.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and (name := _line(value)):
            return Scrubber(secrets).text(name)[:_LONGEST]
    return None


def _line(text: str) -> str:
    """One line, without what nobody sees."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _members(answer: Response) -> dict[str, Any]:
    try:
        return read_object(answer.body, answer.header("content-type"))
    except ValueError:
        return {}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
