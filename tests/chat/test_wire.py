"""The frames and texts of the chat's WebSocket, over a real one: a row of the contract each."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Header, HTTPException

from tests.chat.live import SECRET, Client, Held, Live, live
from valetkey.ports.agents import ToolCall

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?")


@pytest.fixture
async def chat() -> AsyncIterator[Live]:
    async with live() as found:
        yield found


@pytest.fixture
async def client(chat: Live) -> Client:
    return await chat.open()


@pytest.mark.requirement("chat.frame-connected")
async def test_the_first_frame_says_that_it_is_connected(chat: Live) -> None:
    wire = await chat.raw()
    text = await wire.recv()
    assert isinstance(text, str)
    frame = json.loads(text)
    assert list(frame)[:4] == ["type", "session_id", "message", "timestamp"]
    assert frame["type"] == "connection_established"
    assert frame["message"] == "Connected to AI assistant"
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", frame["session_id"])
    assert STAMP.fullmatch(frame["timestamp"])
    assert datetime.fromisoformat(frame["timestamp"]).tzinfo is None
    assert frame["resumed"] is False
    assert ": " not in text.replace(frame["message"], "")
    assert ", " not in text


ERRORS: list[tuple[object, str]] = [
    ({}, "Empty message"),
    ({"type": "chat"}, "Empty message"),
    ({"message": ""}, "Empty message"),
    ({"type": "chat", "message": " \n\t "}, "Empty message"),
    ({"type": "chat", "message": 5}, "Invalid message: message must be a string"),
    ({"type": "chat", "message": None}, "Invalid message: message must be a string"),
    ({"type": "chat", "message": ["x"]}, "Invalid message: message must be a string"),
    ("nonsense", "Invalid JSON: Expecting value: line 1 column 1 (char 0)"),
    ("", "Invalid JSON: Expecting value: line 1 column 1 (char 0)"),
    ("[" * 100_000, "Invalid JSON: nested too deeply"),
    ('{"message": NaN}', "Invalid JSON: NaN is no number of JSON"),
    ('{"message": -Infinity}', "Invalid JSON: -Infinity is no number of JSON"),
    ('{"type": "ping", "type": "logout"}', "Invalid JSON: a name is there twice"),
    ('{"type": "ping", "n": ' + "1" * 5000 + "}", "Invalid JSON: a number has too many digits"),
    ('{"message": "\\ud800"}', "Invalid JSON: a string has half a character (a lone surrogate)"),
    ([1, 2], "Invalid message: expected a JSON object"),
    ('"s"', "Invalid message: expected a JSON object"),
    ("null", "Invalid message: expected a JSON object"),
    (b'{"type": "ping"}', "Invalid message: expected text"),
    (b"\xff\xfe", "Invalid message: expected text"),
    ({"type": "zzz"}, "Unknown message type: zzz"),
    ({"type": 5}, "Unknown message type: 5"),
    ({"type": None}, "Unknown message type: null"),
    ({"type": "<b>\u202e\n"}, "Unknown message type: <b>"),
    ({"type": "feedback", "message_id": "m", "rating": "positive"}, "Unknown message type: feedback"),
    ({"type": "conversation_list"}, "Unknown message type: conversation_list"),
    ({"type": "config_update"}, "Unknown message type: config_update"),
    ({"type": "auth"}, "Bearer token required"),
    ({"type": "auth", "token": ""}, "Bearer token required"),
    ({"type": "auth", "auth_type": "basic_auth", "username": "ada"}, "Username and password required for basic auth"),
    ({"type": "auth", "auth_type": "basic_auth", "password": "p"}, "Username and password required for basic auth"),
    ({"type": "auth", "auth_type": "api_key"}, "API key required"),
    (
        {"type": "auth", "auth_type": "oauth2", "client_id": "a", "client_secret": "b"},
        "client_id, client_secret, and token_url required for OAuth2 (OAuth2 token URL not provided)",
    ),
    (
        {"type": "auth", "auth_type": "oauth2", "client_id": "a", "token_url": "https://as.example/token"},
        "client_id, client_secret, and token_url required for OAuth2",
    ),
    ({"type": "auth", "auth_type": "custom"}, "custom_headers required for custom auth"),
    ({"type": "auth", "auth_type": "custom", "custom_headers": {}}, "custom_headers required for custom auth"),
    ({"type": "auth", "auth_type": "custom", "custom_headers": "X: y"}, "custom_headers required for custom auth"),
    ({"type": "auth", "auth_type": "none"}, "Unknown auth type: none"),
    ({"type": "auth", "auth_type": "nope"}, "Unknown auth type: nope"),
    ({"type": "auth", "auth_type": None}, "Invalid auth message: auth_type must be a string"),
    ({"type": "auth", "token": 123}, "Invalid auth message: token must be a string"),
    ({"type": "auth", "token": ["x"]}, "Invalid auth message: token must be a string"),
    ({"type": "auth", "token": "a\r\nX-Inj: 1"}, "Invalid auth message: token must be a string"),
    ({"type": "approve"}, "Invalid message: approval_id must be a string"),
    ({"type": "approve", "approval_id": "a", "decision": "perhaps"}, "Invalid message: decision must be yes or no"),
    (
        {"type": "approve", "approval_id": "somebody-else's", "decision": "yes"},
        "There is no such question here, or it was answered already.",
    ),
    ({"type": "options", "stream": "yes"}, "Invalid message: stream must be true or false"),
]


@pytest.mark.requirement(
    "seed003.trouble-bearer", "seed003.trouble-token-url", "chat.texts", "fault.no-limits", "d14.texts", "W-08"
)
async def test_what_is_wrong_with_a_frame_is_told_and_the_socket_lives(client: Client) -> None:
    for sent, text in ERRORS:
        frame = await client.ask(sent)
        assert list(frame) == ["type", "message", "timestamp"], sent
        assert (frame["type"], frame["message"]) == ("error", text), sent
    assert (await client.ask(type="ping"))["type"] == "pong"


CREDENTIALS: list[dict[str, Any]] = [
    {"auth_type": "bearer_token", "token": SECRET},
    {"auth_type": "BEARER_TOKEN", "token": SECRET},
    {"auth_type": "basic_auth", "username": "ada", "password": "password123"},
    {"auth_type": "api_key", "api_key": "sk-1234567890abcdef", "api_key_header": "X-API-Key"},
    {
        "auth_type": "oauth2",
        "client_id": "your-client-id",
        "client_secret": "your-client-secret",
        "token_url": "https://auth.example.com/oauth/token",
        "scope": "api:read api:write",
    },
    {
        "auth_type": "oauth2_client_credentials",
        "client_id": "your-client-id",
        "client_secret": "your-client-secret",
        "token_url": "https://auth.example.com/oauth/token",
    },
    {"auth_type": "custom", "custom_headers": {"X-Custom-Auth": "custom-value", "X-Request-ID": "12345"}},
    {"token": SECRET},
]


@pytest.mark.requirement("seed003.client-sends", "seed003.messages", "chat.texts")
async def test_credentials_of_every_type_are_taken(client: Client) -> None:
    for given in CREDENTIALS:
        frame = await client.ask({"type": "auth", **given})
        kind = given.get("auth_type", "bearer_token").lower()
        assert list(frame) == ["type", "message", "auth_type", "timestamp"]
        assert (frame["type"], frame["message"], frame["auth_type"]) == (
            "auth_configured",
            f"Authentication configured: {kind}",
            kind,
        )


@pytest.mark.requirement("seed003.enable", "seed003.supported-types", "fault.not-enforced", "d14.disabled")
async def test_types_that_are_not_enabled_and_authentication_that_is_off() -> None:
    async with live(supported_auth_types="bearer_token, oauth2") as chat:
        client = await chat.open()
        assert (await client.ask(type="auth", auth_type="api_key", api_key="k"))["message"] == (
            "Auth type not enabled: api_key"
        )
        assert (await client.ask(type="auth", token=SECRET))["type"] == "auth_configured"
    async with live(enable_tool_auth=False) as chat:
        client = await chat.open()
        assert (await client.ask(type="auth", token=SECRET))["message"] == "Tool authentication is disabled"


@pytest.mark.requirement("chat.frame-logout")
async def test_logging_out_twice_is_fine_and_the_second_time_too(client: Client) -> None:
    await client.ask(type="auth", token=SECRET)
    for _ in range(2):
        frame = await client.ask(type="logout")
        assert list(frame) == ["type", "message", "timestamp"]
        assert (frame["type"], frame["message"]) == ("logout_success", "Successfully logged out")


@pytest.mark.requirement("chat.frame-ping")
async def test_ping(client: Client) -> None:
    assert list(await client.ask(type="ping")) == ["type", "timestamp"]


@pytest.mark.requirement("chat.frame-chat", "chat.frame-history")
async def test_a_message_is_answered_and_both_are_in_the_history(client: Client) -> None:
    typing = await client.ask(message="  What can you do?  ")  # no type is chat
    assert (typing["type"], typing["message"]) == ("typing", "AI is thinking...")
    answer = await client.hear()
    assert list(answer) == [
        "type", "message", "tool_calls", "tool_results", "timestamp", "metadata", "message_id"
    ]  # fmt: skip
    assert (answer["type"], answer["message"]) == ("ai_response", "Here you are.")
    history = await client.ask(type="history")
    assert list(history) == ["type", "messages", "timestamp"]
    assert [(each["role"], each["content"]) for each in history["messages"]] == [
        ("user", "What can you do?"),
        ("assistant", "Here you are."),
    ]
    assert list(history["messages"][0]) == [
        "message_id", "role", "content", "timestamp", "tool_calls", "tool_results", "metadata"
    ]  # fmt: skip
    assert all(STAMP.fullmatch(each["timestamp"]) for each in history["messages"])
    cleared = await client.ask(type="clear")
    assert (cleared["type"], cleared["message"]) == ("history_cleared", "Conversation history cleared")
    assert (await client.ask(type="history"))["messages"] == []


@pytest.mark.requirement("fault.one-at-a-time")
async def test_frames_are_handled_while_an_answer_is_awaited(chat: Live, client: Client) -> None:
    with Held(chat):
        assert (await client.ask(type="chat", message="one"))["type"] == "typing"
        await chat.model.asked.acquire()
        assert (await client.ask(type="ping"))["type"] == "pong"
        second = await client.ask(type="chat", message="two")
        assert second["type"] == "error"
        assert "still being answered" in second["message"]
        assert (await client.ask(type="history"))["type"] == "history"
        assert (await client.ask(type="auth", token=SECRET))["type"] == "auth_configured"
        assert (await client.ask(type="nope"))["message"] == "Unknown message type: nope"
    assert (await client.hear())["message"] == "Here you are."


@pytest.mark.requirement("fault.one-at-a-time", "d15.cancel")
async def test_an_answer_can_be_cancelled_and_the_next_message_is_answered(chat: Live, client: Client) -> None:
    with Held(chat):
        await client.ask(type="chat", message="one")
        await chat.model.asked.acquire()
        frame = await client.ask(type="cancel")
        assert list(frame) == ["type", "message", "timestamp"]
        assert frame["type"] == "cancelled"
        assert chat.model.given_up == 1
        assert (await client.ask(type="cancel"))["type"] == "cancelled"
    assert (await client.ask(type="chat", message="two"))["type"] == "typing"
    assert (await client.hear())["type"] == "ai_response"


@pytest.mark.requirement("fault.logout-residue")
@pytest.mark.parametrize("kind", ["logout", "clear"])
async def test_logging_out_and_clearing_end_the_answer_and_empty_the_history(
    chat: Live, client: Client, kind: str
) -> None:
    with Held(chat):
        await client.ask(type="chat", message="one")
        await chat.model.asked.acquire()
        told = [(await client.ask(type=kind))["type"]]
        if kind == "clear":
            told.append((await client.hear())["type"])
        assert told == (["logout_success"] if kind == "logout" else ["cancelled", "history_cleared"])
        assert chat.model.given_up == 1
    assert (await client.ask(type="history"))["messages"] == []
    assert (await client.ask(type="ping"))["type"] == "pong"


@pytest.mark.requirement("fault.logout-residue")
async def test_logging_out_forgets_the_credentials(chat: Live, client: Client) -> None:
    await client.ask(type="auth", token=SECRET)
    assert chat.plugin.chat.system.sessions.secrets(client.id)
    await client.ask(type="logout")
    assert not chat.plugin.chat.system.sessions.secrets(client.id)
    session = chat.plugin.session_manager.get(client.id)
    assert session is not None
    assert session.credential == session.display_name == ""


@pytest.mark.requirement("d15.streaming")
async def test_streaming_is_opted_into(chat: Live, client: Client) -> None:
    chat.model.pieces = ["Here ", "you ", "are, quite a long piece of text, in pieces."]
    await client.send(type="options", stream=True)
    await client.ask(type="chat", message="go")
    pieces = []
    while (frame := await client.hear())["type"] == "delta":
        pieces.append(frame)
    assert frame["type"] == "ai_response"
    assert "".join(piece["text"] for piece in pieces) == frame["message"]
    assert {piece["message_id"] for piece in pieces} == {frame["message_id"]}


@pytest.mark.requirement("design.lent-remembered")
async def test_what_was_given_as_a_credential_is_in_no_frame(chat: Live, client: Client) -> None:
    await client.ask(type="chat", message=f"my token is {SECRET}")
    await client.hear()
    await client.ask(type="auth", token=SECRET)
    chat.model.pieces = [f"I know {SECRET}"]
    await client.ask(type="chat", message="what is it?")
    answer = await client.hear()
    assert answer["type"] == "ai_response"
    history = await client.ask(type="history")
    for frame in (answer, history):
        assert SECRET not in json.dumps(frame)


@pytest.mark.requirement("seed003.require", "fault.not-enforced", "d14.disabled")
async def test_where_authentication_is_required_only_chat_messages_wait_for_it() -> None:
    async with live(require_tool_auth=True) as chat:
        client = await chat.open()
        assert (await client.ask(type="ping"))["type"] == "pong"
        frame = await client.ask(type="chat", message="hello")
        assert frame["message"] == "Authentication is required before sending messages. Please authenticate first."
        await client.ask(type="auth", token=SECRET)
        assert (await client.ask(type="chat", message="hello"))["type"] == "typing"
        assert (await client.hear())["type"] == "ai_response"
        await client.ask(type="logout")
        assert "Authentication is required" in (await client.ask(type="chat", message="hello"))["message"]


def verifying(reached: asyncio.Event, go: asyncio.Event) -> FastAPI:
    """An app that knows one token, and says whose it is once it is let."""
    app = FastAPI()

    @app.get("/me")
    async def me(authorization: Annotated[str, Header()] = "") -> dict[str, str]:
        reached.set()
        await go.wait()
        if authorization != f"Bearer {SECRET}":
            raise HTTPException(401, "no such token")
        return {"user_id": "u1", "name": "Ada"}

    return app


@pytest.mark.requirement("chat.verification")
async def test_credentials_are_verified_where_an_endpoint_is_named() -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    go.set()
    async with live(verifying(reached, go), auth_verification_endpoint="/me", require_tool_auth=True) as chat:
        client = await chat.open()
        good = await client.ask(type="auth", token=SECRET)
        assert list(good) == ["type", "message", "auth_type", "display_name", "timestamp"]
        assert (good["type"], good["message"], good["display_name"]) == (
            "auth_configured",
            "Authenticated as Ada",
            "Ada",
        )
        bad = await client.ask(type="auth", token="another-token-0123")
        assert list(bad) == ["type", "message", "auth_type", "timestamp"]
        assert bad["type"] == "auth_failed"
        assert bad["message"].startswith("Credential verification failed (HTTP 401)")
        assert not chat.plugin.chat.system.sessions.secrets(client.id)
        assert "Authentication is required" in (await client.ask(type="chat", message="hello"))["message"]


@pytest.mark.requirement("fault.not-enforced")
async def test_while_credentials_are_verified_messages_wait_and_a_logout_does_not() -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    async with live(verifying(reached, go), auth_verification_endpoint="/me", require_tool_auth=True) as chat:
        client = await chat.open()
        await client.send(type="auth", token=SECRET)
        await reached.wait()
        await client.send(type="chat", message="hello")
        assert (await client.ask(type="ping"))["type"] == "pong"
        assert chat.model.seen == []
        assert (await client.ask(type="logout"))["type"] == "logout_success"
        assert not chat.plugin.chat.system.sessions.secrets(client.id)
        await client.send(type="auth", token=SECRET)
        await client.send(type="chat", message="hello")
        go.set()
        assert [(await client.hear())["type"] for _ in range(3)] == ["auth_configured", "typing", "ai_response"]


@pytest.mark.requirement("d15.approval", "W-06")
async def test_a_call_that_has_to_be_approved_waits_for_the_answer_at_its_own_socket() -> None:
    app = FastAPI()
    deleted: list[int] = []

    @app.delete("/items/{number}", operation_id="remove", openapi_extra={"x-requires-approval": True})
    async def remove(number: int) -> str:
        deleted.append(number)
        return "removed"

    async with live(app) as chat:
        for decision, expected in (("no", []), ("yes", [7])):
            client, other = await chat.open(), await chat.open()
            chat.model.pieces = [ToolCall(id=decision, tool="remove", arguments={"number": 7})]
            await client.send(type="chat", message="remove it")
            asked = await client.until("approval_required")
            assert list(asked) == [
                "type", "message", "approval_id", "tool", "arguments", "expires_at", "timestamp"
            ]  # fmt: skip
            assert (asked["tool"], asked["arguments"]) == ("remove", {"number": 7})
            answer = {"type": "approve", "approval_id": asked["approval_id"], "decision": "yes"}
            assert (await other.ask(answer))["message"].startswith("There is no such question here")
            chat.model.pieces = ["Done."]
            await client.send({**answer, "decision": decision})
            await client.until("ai_response")
            assert deleted == expected
