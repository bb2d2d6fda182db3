"""RFC 7591 and 7592: build a client registration, judge what was registered, and end it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from valetkey.model.hosts import is_loopback
from valetkey.protocol.authorize import endpoint_fault
from valetkey.protocol.foreign import JSON
from valetkey.protocol.metadata import same_origin
from valetkey.protocol.token import Expected, HttpAnswer, Refusal, TokenRequest, Verdict, judge_members
from valetkey.secret import Secret

GRANTS = ("authorization_code", "refresh_token")
"""What we ask to be let do: no more."""

LONGEST_ID = 2048

LATEST = 2.0**53
"""Seconds since the epoch at which a secret may end: a number that every database keeps."""

# RFC 6749 §A.1, §A.2: what an id and a secret are written with.
_TEXT = re.compile(r"[\x20-\x7e]+")
# By strength; a secret is as good in a header as in a body.
_STRENGTH = {"none": 0, "client_secret_post": 1, "client_secret_basic": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What the server registered (RFC 7591 §3.2.1).

    Attributes:
        client_id, client_secret: who we are there; a public client has no secret.
        method: how we prove it.
        expires_at: when the secret ends, in seconds since the epoch; 0: never.
        management_url, management_token: where the client is looked at and ended (RFC 7592 §3); empty, None: nowhere.
        fault: why it is not what was asked for, so that it must not be used; empty: it is.
    """

    client_id: str
    client_secret: Secret | None
    method: str
    expires_at: float = 0.0
    management_url: str = ""
    management_token: Secret | None = None
    fault: str = ""


def registration_request(*, client_name: str, redirect_uri: str, method: str) -> TokenRequest:
    """Ask for a client of ours (RFC 7591 §2, §3.1).

    Args:
        client_name: what people read on the provider's page.
        redirect_uri: where browsers are sent back; plain http on loopback is a native application's (RFC 8252 §7.3).
        method: how we want to prove who we are.
    """
    where = urlsplit(redirect_uri)
    asked = {
        "client_name": client_name,
        "redirect_uris": [redirect_uri],
        "grant_types": list(GRANTS),
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": "native" if where.scheme == "http" and is_loopback(where.hostname or "") else "web",
    }
    return TokenRequest(headers={"accept": JSON, "content-type": JSON}, body=json.dumps(asked).encode())


def judge_registration(
    answer: HttpAnswer, *, endpoint: str, operator: bool, redirect_uri: str, method: str, now: float
) -> Registered | Refusal:
    """What was registered, and whether it is what we asked for.

    Args:
        answer: the answer.
        endpoint: where it was asked; what manages the client has to be of the same origin.
        operator: whether the operator named that.
        redirect_uri: the one that was asked for.
        method: how we wanted to prove who we are.
        now: seconds since the epoch.
    """
    members = judge_members(answer, expected=Expected(), now=now)
    if isinstance(members, Refusal):
        return members
    client_id, secret = members.get("client_id"), members.get("client_secret") or None
    if not _is_text(client_id) or not (secret is None or _is_text(secret)):
        return Refusal(verdict=Verdict.LATER, text="an answer without a client_id")
    given = members.get("token_endpoint_auth_method", method)
    ends = members.get("client_secret_expires_at", 0)
    url, token = members.get("registration_client_uri"), members.get("registration_access_token")
    if (
        not (_is_text(url) and _is_text(token))
        or endpoint_fault(url, operator=operator)
        or not same_origin(url, endpoint)
    ):
        url = token = ""
    usable = isinstance(ends, int | float) and not isinstance(ends, bool) and 0 <= ends <= LATEST
    return Registered(
        client_id=client_id,
        client_secret=Secret(secret) if secret else None,
        method=given if isinstance(given, str) else "",
        expires_at=float(ends) if usable and secret else 0.0,
        management_url=url,
        management_token=Secret(token) if token else None,
        fault=_fault(members, redirect_uri, method, given, secret)
        or ("its secret has no end that can be read" if not usable else "")
        or ("its secret has ended already" if secret and 0 < ends <= now else ""),
    )


def management_headers(token: Secret) -> Mapping[str, str]:
    """With these a client is looked at, or ended (RFC 7592 §2.1, §2.3)."""
    return {"accept": JSON, "authorization": f"Bearer {token.reveal()}"}


def _fault(members: Mapping[str, Any], redirect_uri: str, asked: str, given: object, secret: str | None) -> str:
    """Why it is another client than the one that was asked for."""
    if members.get("redirect_uris", [redirect_uri]) != [redirect_uri]:
        return "it has other redirect URIs"
    if not isinstance(given, str) or _STRENGTH.get(given, -1) < _STRENGTH.get(asked, 0):
        return "it proves itself in a weaker way, or in one that we do not know"
    if _STRENGTH[given] and not secret:
        return "it has no secret"
    grants = members.get("grant_types", GRANTS)
    if not _texts(grants) or "authorization_code" not in grants or not set(grants) <= set(GRANTS):
        return "it has other grant types"
    if members.get("response_types", ["code"]) != ["code"]:
        return "it has other response types"
    return ""


def _texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(each, str) for each in value)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= LONGEST_ID and bool(_TEXT.fullmatch(value))
