"""Turns over a real app: its operations in process, the whole road, the session's credential, approvals."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from tests.chat.kit import Script, call, strict
from valetkey.connections.session import SessionCredential, SessionKind
from valetkey.entrypoints.chat.plugin import BedrockChatPlugin, add_bedrock_chat
from valetkey.entrypoints.chat.session import ChatSession
from valetkey.entrypoints.chat.turn import run_turn
from valetkey.entrypoints.chat.waiting import answer_approval
from valetkey.identity.verifiers.vouched import CHAT, in_chat
from valetkey.ports.world import Visit
from valetkey.secret import Secret
from valetkey.testing import canary

TOKEN = "app-canary-51c0ffee7d1a"
Bearer = Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]


def orders() -> FastAPI:
    app = FastAPI()

    @app.get("/me", operation_id="me")
    async def me(bearer: Bearer) -> dict[str, str]:
        if bearer.credentials != TOKEN:
            raise HTTPException(401, f"not {bearer.credentials}")
        return {"you are": "ännchen", "sent": bearer.credentials}

    @app.delete("/orders/{order}", operation_id="drop", openapi_extra={"x-requires-approval": True})
    async def drop(order: int) -> dict[str, int]:
        app.state.dropped = [*getattr(app.state, "dropped", ()), order]
        return {"dropped": order}

    return app


class Here:
    def __init__(self, plugin: BedrockChatPlugin, model: Script) -> None:
        self.plugin = plugin
        self.chat = plugin.chat
        self.chat.model = self.model = model
        self.frames: list[dict[str, Any]] = []
        self.news = asyncio.Event()
        who = in_chat("6f2f6c1e", workspace=CHAT)
        visit = Visit(host="127.0.0.1:8000", scheme="http", client=("127.0.0.1", 4711))
        self.session = ChatSession(id="6f2f6c1e", who=who, visit=visit)

    async def send(self, frame: Any) -> None:
        self.frames.append(dict(frame))
        self.news.set()

    async def say(self, text: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            await run_turn(self.chat, self.session, text, self.send)
        return self.frames[-1]

    def give(self, token: str) -> None:
        credential = SessionCredential(kind=SessionKind.BEARER_TOKEN, fields={"token": Secret(token)})
        self.chat.system.sessions.put(self.session.id, self.session.owner, credential)


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    app = orders()
    plugin = add_bedrock_chat(app, model_id="offline")
    async with app.router.lifespan_context(app):
        yield Here(plugin, Script())


@pytest.mark.requirement("seed003.one-call", "seed003.applied", "seed003.trouble-401", "d14.api-401")
async def test_an_operation_gets_the_sessions_token_and_the_model_never_does(here):
    here.model.answers = [call("me"), "Not yet.", call("me"), "No.", call("me"), "Yes."]
    answer = await here.say("who am I?")
    assert answer["tool_results"][0]["error"].startswith("HTTP 40")
    here.give("wrong-token-7f3a9c1e")
    answer = await here.say("and now?")
    assert answer["tool_results"][0]["error"] == "HTTP 401 Unauthorized: not ***"
    failed = [frame for frame in here.frames if frame.get("status") == "failed"][-1]
    assert (failed["error"], failed["account"]) == ("HTTP 401 Unauthorized: not ***", "bearer_token")
    here.give(TOKEN)
    answer = await here.say("and now?")
    assert answer["tool_results"][0]["result"] == {"you are": "ännchen", "sent": "***"}
    seen = f"{here.frames} {[each.text for each in here.model.asked]} {here.session.turns} {here.session.said}"
    assert canary.find({"all": seen}, [TOKEN, "wrong-token-7f3a9c1e"]) == []
    strict(here.model.asked[-1].messages)


@pytest.mark.requirement("d15.approval")
async def test_an_operation_that_is_marked_waits_for_a_yes(here):
    here.model.answers = [call("drop", order=7), "Dropped."]
    turn = asyncio.create_task(here.say("drop 7"))
    async with asyncio.timeout(10):
        while not (asked := [frame for frame in here.frames if frame["type"] == "approval_required"]):
            here.news.clear()
            await here.news.wait()
    assert not hasattr(here.plugin.app.state, "dropped")
    assert asked[0]["arguments"] == {"order": 7}
    assert await answer_approval(here.chat, here.session, asked[0]["approval_id"], yes=True) is None
    assert (await turn)["tool_results"][0]["result"] == {"dropped": 7}
    assert here.plugin.app.state.dropped == [7]
