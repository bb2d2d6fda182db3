"""An ``auth`` frame beside what runs already: verified before it is lent, tried only so often, forgotten for good."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI, HTTPException, Request

from tests.chat.live import SECRET, live
from valetkey.entrypoints.chat import attempts
from valetkey.entrypoints.chat.handling import Conversation
from valetkey.entrypoints.chat.waiting import CHANGED
from valetkey.limits import UNVERIFIED_CREDENTIALS
from valetkey.ports.agents import ToolCall


@pytest.mark.requirement("fault.not-enforced", "chat.verification")
async def test_a_credential_that_is_still_being_verified_is_lent_to_nobody() -> None:
    """A turn that runs already goes on without it, and messages that come later wait."""
    app, sent, go = FastAPI(), [], asyncio.Event()

    @app.get("/me")
    async def me() -> None:
        await go.wait()
        raise HTTPException(401)

    @app.get("/who")
    async def who(request: Request) -> str:
        sent.append(request.headers.get("authorization"))
        await asyncio.sleep(0.01)
        return "x"

    async with live(app, auth_verification_endpoint="/me") as chat:
        client = await chat.open()
        chat.model.pieces = [ToolCall(id="1", tool="who_who_get", arguments={})]
        await client.send(type="chat", message="who am I")
        await client.until("tool_progress")
        await client.send(type="auth", token="token-that-is-no-good")
        await client.until("ai_response")
        go.set()
        await client.until("auth_failed")
        assert set(sent) == {None}


@pytest.mark.requirement("fault.no-limits", "chat.verification")
async def test_wrong_credentials_cannot_be_tried_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PERIOD", 0.0)
    app, tried = FastAPI(), []

    @app.get("/me")
    async def me(request: Request) -> None:
        tried.append(1)
        if not request.headers["authorization"].endswith("good-token"):
            raise HTTPException(503 if len(tried) == 1 else 401)

    async with live(app, auth_verification_endpoint="/me") as chat:
        texts = []
        for count in (6, 6):
            client = await chat.open()
            texts += [(await client.ask(type="auth", token=f"guess-number-{each}"))["message"] for each in range(count)]
        assert len(tried) == UNVERIFIED_CREDENTIALS.most, "of one address, by whichever socket"
        assert texts[-1] == "Too many credentials were not good. Try again in 300 s."
        frame = await client.ask(type="auth", token="the-good-token")
        assert (frame["type"], frame["message"]) == ("auth_failed", texts[-1])
        assert not chat.plugin.chat.system.sessions.secrets(client.id)
        chat.clock.advance(301)
        assert (await client.ask(type="auth", token="the-good-token"))["type"] == "auth_configured"


@pytest.mark.requirement("chat.verification")
async def test_an_endpoint_that_does_not_answer_says_nothing_of_a_credential() -> None:
    async with live(auth_verification_endpoint="http://127.0.0.1:1/me") as chat:
        client = await chat.open()
        for number in range(attempts.MOST):
            frame = await client.ask(type="auth", token=f"token-number-{number}")
            assert frame["message"] == "Could not connect to verification endpoint"
        chat.clock.advance(attempts.PERIOD)
        frame = await client.ask(type="auth", token="token-number")
        assert frame["message"] == "Could not connect to verification endpoint"


@pytest.mark.requirement("d15.approval", "W-06")
async def test_a_yes_is_for_the_credentials_of_the_moment_of_the_question() -> None:
    app, sent = FastAPI(), []

    @app.delete("/items", operation_id="remove", openapi_extra={"x-requires-approval": True})
    async def remove(request: Request) -> None:
        sent.append(request.headers.get("authorization"))

    async with live(app) as chat:
        client = await chat.open()
        chat.model.pieces = [ToolCall(id="1", tool="remove", arguments={})]
        await client.send(type="chat", message="remove them")
        asked = await client.until("approval_required")
        chat.model.pieces = ["Done."]
        await client.send(type="auth", token=SECRET)
        await client.send(type="approve", approval_id=asked["approval_id"], decision="yes")
        await client.until("error")
        while (progress := await client.until("tool_progress"))["status"] != "failed":
            pass
        assert progress["error"] == CHANGED
        assert sent == []


@pytest.mark.requirement("fault.logout-residue")
@pytest.mark.parametrize("way", ["logout", "close"])
async def test_afterwards_the_credential_is_in_no_memory_of_the_socket(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Conversation] = []
    init = Conversation.__init__

    def noted(self: Conversation, *args: object) -> None:
        made.append(self)
        init(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Conversation, "__init__", noted)
    async with live() as chat:
        client = await chat.open()
        await client.ask(type="auth", token=SECRET)
        assert made[0]._scrubber[0]
        if way == "logout":
            await client.ask(type="logout")
        else:
            await client.wire.close()
            await chat.gone(client.id)
        known, scrubber = made[0]._scrubber
        assert not known
        assert not scrubber.needles
