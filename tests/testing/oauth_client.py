"""A client of the OAuth server for tests, written by hand from the standards."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.real.visitor import Answer, post
from valetkey.testing.oauth_server import OAuthServer

# RFC 7636, Appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
CALLBACK = "http://localhost:8001/callback"
CLIENTS = {"app": "app secret +/:"}


class Clock:
    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time


def link(server: OAuthServer, *, without: tuple[str, ...] = (), **changes: str) -> str:
    fields = {
        "response_type": "code",
        "client_id": server.client.id,
        "redirect_uri": CALLBACK,
        "state": "st&te=1",
        "scope": "mail.read profile",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | changes
    return f"{server.authorize_url}?{urlencode({k: v for k, v in fields.items() if k not in without})}"


def landed(url: str) -> dict[str, str]:
    """What a callback URL says."""
    assert url.startswith(f"{CALLBACK}?"), url
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


def new_code(server: OAuthServer, **changes: Any) -> str:
    return landed(server.approve(link(server, **changes)))["code"]


def asked(server: OAuthServer, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
    """Ask the token endpoint, the client proving itself in the body."""
    who = {"client_id": server.client.id}
    if server.client.secret:
        who["client_secret"] = server.client.secret
    return post(server.token_url, {**who, **fields}, headers)


def exchange(server: OAuthServer, code: str, **changes: str) -> Answer:
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    return asked(server, fields | changes)


def refresh(server: OAuthServer, token: str, **changes: str) -> Answer:
    return asked(server, {"grant_type": "refresh_token", "refresh_token": token} | changes)


def connected(server: OAuthServer, **changes: str) -> dict[str, Any]:
    answer = exchange(server, new_code(server, **changes))
    assert answer.status == 200, answer.text
    found: dict[str, Any] = json.loads(answer.body)
    return found


def refused(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["error"]


def basic(name: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}
