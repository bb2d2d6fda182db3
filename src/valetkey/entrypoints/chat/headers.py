"""Which headers a client of a chat may set on calls of tools, and with which values."""

from __future__ import annotations

import re

from valetkey.errors import AuthenticationError
from valetkey.model.headers import belongs_to_the_request

LONGEST_NAME = 128

# RFC 9110 §5.1
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 §5.5, without what only some servers take.
_VALUE = re.compile(r"[\x20-\x7e]*")


def check_name(name: str, field: str) -> None:
    """Let a header's name pass.

    Raises:
        AuthenticationError: it is no name, or one that no credential needs; names the field that held it.
    """
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise AuthenticationError(f"Invalid auth message: {field} must be a header name of letters, digits and hyphens")
    if belongs_to_the_request(name):
        raise AuthenticationError(
            f"Invalid auth message: {field} must not set {name}, which belongs to the request and is no credential"
        )


def is_value(text: str) -> bool:
    """Whether a header can have that value, everywhere the same."""
    return _VALUE.fullmatch(text) is not None
