"""OpenID Connect Core §2, §12.2: whose account an ID token names, and whether it is still the same one."""

from __future__ import annotations

import base64
import re
from typing import Any

from valetkey.model.connections import Subject
from valetkey.protocol.foreign import read_object

LONGEST = 65_536
"""Characters of an ID token that are read."""

_LONGEST_ISSUER = 2048
_LONGEST_SUBJECT = 255  # OpenID Connect Core §2
_LONGEST_AUDIENCE = 100
# RFC 7515 §7.1: three parts, the last one empty where nothing is signed.
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*")


def read_subject(id_token: str) -> Subject:
    """Whose account it names, of a token that came straight from the token endpoint over TLS.

    Its signature is not checked: TLS has vouched for the sender (OpenID Connect Core §3.1.3.7, item 6). So this is
    never for a token that a browser or a caller brought.

    Raises:
        ValueError: it can be read in two ways or none, is encrypted, or lacks a claim; the text quotes nothing.
    """
    parts = _COMPACT.fullmatch(id_token) if len(id_token) <= LONGEST else None
    if parts is None:
        raise ValueError("it is no signed JSON Web Token in its compact form")
    _members(parts[1])
    claims = _members(parts[2])
    told = claims.get("aud")
    audience = told if isinstance(told, list) else [told]
    if not 0 < len(audience) <= _LONGEST_AUDIENCE:
        raise ValueError("its aud is none")
    return Subject(
        issuer=_text(claims.get("iss"), "iss", _LONGEST_ISSUER),
        subject=_text(claims.get("sub"), "sub", _LONGEST_SUBJECT),
        audience=frozenset(_text(each, "aud", _LONGEST_ISSUER) for each in audience),
    )


def same_account(known: Subject, told: Subject) -> bool:
    """Whether a refresh told of the account that was connected (OpenID Connect Core §12.2)."""
    first, now = (known.issuer, known.subject), (told.issuer, told.subject)
    return first == now and known.audience <= told.audience


def _members(part: str) -> dict[str, Any]:
    try:
        return read_object(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), None)
    except ValueError:
        raise ValueError("a part of it is no JSON object") from None


def _text(value: object, name: str, longest: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise ValueError(f"its {name} is none")
    return value
