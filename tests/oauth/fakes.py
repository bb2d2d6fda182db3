"""The world of a handler, by hand: a wire that answers from a list, dice that count, one provider."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from valetkey.oauth.clients import Clients, ClientSettings
from valetkey.ports.world import Request, Response
from valetkey.providers.base import Endpoint, HandlerEntry, HandlerKind, OAuth2, Provider
from valetkey.secret import Secret

Answer = Response | Exception | Callable[[Request], Response]

TOKEN_URL = "https://as.test/token"
REVOKE_URL = "https://as.test/revoke"
SECRET = Secret("cs-canary-5d1e")


class Wire:
    """Answers requests from a list, in order, and keeps them."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    async def fetch(self, request: Request) -> Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    def forms(self) -> list[dict[str, str]]:
        """The bodies, as forms."""
        return [dict(parse_qsl(request.body.decode(), keep_blank_values=True)) for request in self.requests]


class Dice:
    """Bytes that anyone can foretell, different each time."""

    def __init__(self) -> None:
        self.drawn = 0

    def bytes(self, size: int) -> bytes:
        self.drawn += 1
        return hashlib.shake_256(f"{self.drawn}".encode()).digest(size)

    def token(self, size: int = 32) -> str:
        return base64.urlsafe_b64encode(self.bytes(size)).decode().rstrip("=")


def answer(members: object, status: int = 200, **headers: str) -> Response:
    """A JSON answer."""
    return Response(
        status=status,
        headers=(("content-type", "application/json"), *((k.replace("_", "-"), v) for k, v in headers.items())),
        body=json.dumps(members).encode(),
    )


def tokens(**members: object) -> Response:
    """A successful token answer."""
    return answer({"access_token": "at-1", "token_type": "Bearer", "expires_in": 3600} | members)


def provider(*, recommended: frozenset[str] = frozenset(), scoped: bool = True, **dialect: Any) -> Provider:
    """A provider of the standard's own habits, changed where asked."""
    given: dict[str, Any] = {
        "authorize": Endpoint("https://as.test/authorize"),
        "token": Endpoint(TOKEN_URL),
        "revoke": Endpoint(REVOKE_URL),
    }
    entry = HandlerEntry(
        name="example-oauth2",
        kind=HandlerKind.OAUTH2,
        default=True,
        scoped=scoped,
        recommended_scopes=recommended,
        variables={"EXAMPLE_TOKEN": "access_token"},
        oauth2=OAuth2(**(given | dialect)),
    )
    return Provider(
        name="example",
        title="Example",
        handlers=(entry,),
        origins=frozenset({"https://api.test"}),
        docs="https://example.test/register",
    )


class Settings:
    """Settings that a test changes while things run."""

    def __init__(self, **given: Any) -> None:
        self.given: dict[str, ClientSettings] = {}
        self.set("example", **({"client_id": "id-1", "client_secret": SECRET} | given))

    def set(self, name: str, **given: Any) -> None:
        self.given[name] = ClientSettings(**given)

    @property
    def clients(self) -> Clients:
        return Clients(self.given.get)
