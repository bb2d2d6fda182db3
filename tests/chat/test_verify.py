"""Credentials of a session are shown to the endpoint that the operator named, and kept only where it says yes."""

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Incoming
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.connections.sessions import BASIC, BEARER, ROOM, TokenEndpoint, answered, client, made
from tests.connections.test_session import Log
from valetkey.connections.session import SessionCredential
from valetkey.connections.session_tokens import NO_TOKEN
from valetkey.entrypoints.chat.rooms import Chat
from valetkey.entrypoints.chat.session import ChatSession
from valetkey.entrypoints.chat.verify import verify
from valetkey.errors import AuthenticationError, BlockedAddress, ExchangeFailed, InvalidArguments
from valetkey.identity.verifiers.vouched import CHAT, in_chat
from valetkey.ports.world import Trust, Visit
from valetkey.testing.clock import ManualClock
from valetkey.wiring.system import System

WHO = in_chat("ann", workspace=CHAT)
VISIT = Visit(host="app.example.com", scheme="https", client=("203.0.113.9", 4711))


@pytest.fixture
def endpoint() -> TokenEndpoint:
    return TokenEndpoint()


@pytest.fixture
def system(endpoint: TokenEndpoint) -> Iterator[System]:
    system = made(ManualClock(), endpoint)
    yield system
    system.close()


class Me:
    """An app with one endpoint of its own."""

    def __init__(self, answer: Response | None = None) -> None:
        self.answer = answer or JSONResponse({"sub": "7", "name": "Ann Example"})
        self.seen: list[Incoming] = []
        self.app = Starlette(routes=[Route("/api/me", self.serve)])

    async def serve(self, request: Incoming) -> Response:
        self.seen.append(request)
        logging.getLogger("app").warning("signed in with %s", request.headers.get("authorization"))
        return self.answer


async def verified(
    system: System, given: SessionCredential = BEARER, *, endpoint: str | None = "/api/me", app: Any = None
) -> str | None:
    """What the session's person is called; the credential is put as the socket does it."""
    config = SimpleNamespace(auth_verification_endpoint=endpoint, timeout=30)
    chat = cast("Chat", SimpleNamespace(config=config, system=system, app=app))
    session = ChatSession(id=ROOM, who=WHO, visit=VISIT)
    system.sessions.put(ROOM, session.owner, given, ttl=60, token_hosts=[])
    return await verify(chat, session)


async def refused(system: System, given: SessionCredential = BEARER, **options: Any) -> str:
    with pytest.raises(AuthenticationError) as refusal:
        await verified(system, given, **options)
    assert system.sessions.kind(ROOM) is None
    assert refusal.value.__cause__ is None
    return str(refusal.value)


async def test_without_an_endpoint_nobody_is_asked(system: System, endpoint: TokenEndpoint) -> None:
    assert await verified(system, endpoint=None) is None
    assert system.sessions.kind(ROOM) is not None
    assert not endpoint.requests


@pytest.mark.requirement("chat.verification")
async def test_a_path_is_asked_in_the_app_itself_as_the_person_would(system: System, endpoint: TokenEndpoint) -> None:
    me = Me()
    assert await verified(system, app=me.app) == "Ann Example"
    (seen,) = me.seen
    assert (seen.method, str(seen.url), seen.client) == (
        "GET",
        "https://app.example.com/api/me",
        ("203.0.113.9", 4711),
    )
    assert seen.headers["authorization"] == "Bearer tok-11112222"
    assert system.sessions.kind(ROOM) is not None
    assert not endpoint.requests


@pytest.mark.requirement("chat.verification")
async def test_a_url_is_asked_as_one_that_the_operator_named(system: System, endpoint: TokenEndpoint) -> None:
    endpoint.script = [answered({"email": "ann@example.com"})]
    assert await verified(system, BASIC, endpoint="http://127.0.0.1:9/me?full=1") == "ann@example.com"
    (request,) = endpoint.requests
    assert (request.method, request.url, request.trust) == ("GET", "http://127.0.0.1:9/me?full=1", Trust.OPERATOR)
    assert request.headers["Authorization"].startswith("Basic ")
    assert (request.deadline, request.cap) == (10.0, 65_536)


@pytest.mark.requirement("chat.verification")
async def test_client_credentials_are_tried_at_once(system: System, endpoint: TokenEndpoint) -> None:
    me = Me()
    assert await verified(system, client(), app=me.app) == "Ann Example"
    assert me.seen[0].headers["authorization"] == "Bearer tok-1-secret"
    endpoint.script = [answered({"error": "invalid_client"}, 401)] * 2
    assert await refused(system, client(), app=me.app) == NO_TOKEN
    assert len(me.seen) == 1


@pytest.mark.requirement("chat.verification")
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (JSONResponse({"detail": "Invalid token"}, 401), "(HTTP 401): Invalid token"),
        (JSONResponse({"message": "no tok-11112222 here"}, 403), "(HTTP 403): no *** here"),
        (JSONResponse({"error": "line\r\nbreak\x1b[31m"}, 400), "(HTTP 400): line break"),
        (JSONResponse({"detail": [{"msg": "x"}]}, 422), "(HTTP 422): Unprocessable"),
        (PlainTextResponse("<h1>Traceback</h1>", 500), "(HTTP 500): Internal Server Error"),
        (RedirectResponse("/login", 302), "(HTTP 302): Found"),
        (Response(status_code=599), "(HTTP 599)"),
    ],
)
async def test_an_endpoint_that_says_no_is_quoted_without_what_it_was_shown(
    system: System, answer: Response, text: str
) -> None:
    said = await refused(system, app=Me(answer).app)
    assert said.startswith(f"Credential verification failed {text}")


@pytest.mark.requirement("chat.verification")
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ExchangeFailed("x gave no whole answer", sent=True, late=True), "Credential verification request timed out"),
        (ExchangeFailed("x has no address", sent=False), "Could not connect to verification endpoint"),
        (ExchangeFailed("x broke off", sent=True), "Credential verification error"),
        (BlockedAddress("10.0.0.1 may not be called"), "Credential verification error"),
        (InvalidArguments("no URL"), "Credential verification error"),
        (RuntimeError("tok-11112222"), "Credential verification error"),
    ],
)
async def test_an_endpoint_that_cannot_be_asked_is_told_in_the_contract_s_words(
    system: System, endpoint: TokenEndpoint, error: Exception, text: str
) -> None:
    endpoint.script = [error]
    assert await refused(system, endpoint="https://api.example.com/me") == text


async def test_a_chat_without_its_app_cannot_tell(system: System) -> None:
    assert await refused(system, app=None) == "Credential verification error"


@pytest.mark.requirement("chat.verification")
@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"sub": "7", "user_id": "u", "username": "ann", "email": "a@b.c", "display_name": "Ann", "name": "A"}, "A"),
        ({"sub": "7", "user_id": "u", "username": "ann", "email": "a@b.c"}, "a@b.c"),
        ({"sub": "7", "name": ""}, "7"),
        ({"name": None, "user_id": 42}, "42"),
        ({"name": "Ann\u202e\n<b>"}, "Ann <b>"),
        ({"name": "tok-11112222"}, "***"),
        ({"name": "x" * 500}, "x" * 80),
        ({"sub": "3f1c9a0e-8f5b-4e0c-9c55-0f8a7d2b6c11"}, "3f1c9a0e-8f5b-4e0c-9c55-0f8a7d2b6c11"),
        ({"name": ["Ann"]}, None),
        ({}, None),
    ],
)
async def test_the_person_is_called_as_the_endpoint_says(
    system: System, members: dict[str, Any], name: str | None
) -> None:
    assert await verified(system, app=Me(JSONResponse(members)).app) == name


@pytest.mark.requirement("chat.verification")
@pytest.mark.parametrize("answer", [Response(status_code=204), PlainTextResponse("ok"), JSONResponse([1])])
async def test_an_endpoint_that_says_yes_needs_no_words(system: System, answer: Response) -> None:
    assert await verified(system, app=Me(answer).app) is None
    assert system.sessions.kind(ROOM) is not None


@pytest.mark.requirement("chat.verification")
async def test_what_the_app_logs_of_it_is_starred(system: System, caplog: pytest.LogCaptureFixture) -> None:
    await verified(system, app=Me().app)
    assert "signed in with Bearer ***" in caplog.text
    assert "11112222" not in caplog.text


@pytest.mark.requirement("D.audit")
async def test_the_showing_is_in_the_audit_log(system: System) -> None:
    log = Log()
    system.audit.log = log
    await verified(system, app=Me().app)
    (entry,) = log.entries
    assert (entry.subject, entry.details["tool"]) == ("ann", "auth_verification_endpoint")
    assert entry.details["handler"] == "session-bearer_token"


@pytest.mark.requirement("fault.no-limits")
async def test_an_answer_over_the_cap_is_no_yes(system: System) -> None:
    endless = PlainTextResponse("x" * 70_000)
    assert await refused(system, app=Me(endless).app) == "Credential verification error"
