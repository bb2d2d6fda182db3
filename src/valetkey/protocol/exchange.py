"""RFC 8693, RFC 7523 §2.1: ask for a token with another one, or with an assertion; judge what was issued."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from typing import Any

from valetkey.protocol.client_auth import Proof
from valetkey.protocol.foreign import read_object
from valetkey.protocol.token import Extras, HttpAnswer, TokenRequest, token_request
from valetkey.secret import Secret

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
"""RFC 8693 §3: what is given, and what is asked for."""

_PARTS = 3


def exchange_request(*, subject: Secret, audience: str, scope: str, proof: Proof, extras: Extras) -> TokenRequest:
    """Ask for an access token with the one of a user (RFC 8693 §2.1); ``resource`` is among the extras."""
    standard = {
        "grant_type": EXCHANGE,
        "subject_token": subject.reveal(),
        "subject_token_type": ACCESS_TOKEN,
        "requested_token_type": ACCESS_TOKEN,
        **({"audience": audience} if audience else {}),
        **({"scope": scope} if scope else {}),
    }
    return token_request(standard, proof, extras)


def on_behalf_request(*, subject: Secret, scope: str, proof: Proof, extras: Extras) -> TokenRequest:
    """The same in the dialect of Microsoft Entra: the token is an assertion (RFC 7523 §2.1)."""
    standard = {
        "grant_type": JWT_BEARER,
        "assertion": subject.reveal(),
        "requested_token_use": "on_behalf_of",
        **({"scope": scope} if scope else {}),
    }
    return token_request(standard, proof, extras)


def assertion_request(*, assertion: Secret, scope: str, proof: Proof, extras: Extras) -> TokenRequest:
    """Ask for an access token with a signed assertion (RFC 7523 §2.1)."""
    standard = {"grant_type": JWT_BEARER, "assertion": assertion.reveal(), **({"scope": scope} if scope else {})}
    return token_request(standard, proof, extras)


def exchange_fault(answer: HttpAnswer, *, token: Secret, audiences: Collection[str], issued_type: bool) -> str:
    """What speaks against a token that was issued for another one; empty: nothing (RFC 8693 §2.2.1).

    Args:
        answer: the successful answer.
        token: the access token in it.
        audiences: for whom it was asked, audience or resource; empty: the server chose.
        issued_type: whether the answer has to say of which type the token is.
    """
    try:
        said = read_object(answer.body, answer.header("content-type")).get("issued_token_type")
    except ValueError:
        said = None
    if issued_type and said != ACCESS_TOKEN:
        return "another type of token than the one that was asked for"
    told = _audience(token)
    if audiences and told is not None and told.isdisjoint(audiences):
        return "a token for somebody else than it was asked for"
    return ""


def _audience(token: Secret) -> frozenset[str] | None:
    """Whom a token names, where it can be read; None: it does not tell. To refuse by, never to trust."""
    parts = token.reveal().split(".")
    if len(parts) != _PARTS:
        return None
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    named = claims.get("aud") if isinstance(claims, Mapping) else None
    if isinstance(named, str):
        return frozenset({named})
    return frozenset(each for each in named if isinstance(each, str)) if isinstance(named, list) else None
