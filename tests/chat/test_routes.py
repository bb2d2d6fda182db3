"""The chat's pages for operators: health, stats, tools."""

from __future__ import annotations

import httpx2
import pytest
from fastapi import FastAPI

from tests.chat.live import Live, live
from tests.chat.test_handshake import token_of

FAR = {"x_forwarded_for": "203.0.113.7"}


def api() -> FastAPI:
    app = FastAPI()

    @app.get("/items")
    async def items() -> list[str]:
        """All items."""
        return []

    return app


@pytest.mark.requirement("fault.health", "d17.health", "W-16")
async def test_health_is_told_to_everybody_and_asks_no_model() -> None:
    async with live(api()) as chat:
        for about in ({}, FAR):
            answer = await chat.get("/bedrock-chat/health", **about)
            assert answer.status_code == 200
            assert list(answer.json()) == ["status", "model", "checks"]
            assert answer.json()["status"] == "healthy"
            assert answer.json()["model"] == "scripted"
            assert "access-control-allow-origin" not in answer.headers
        assert chat.model.seen == []


@pytest.mark.requirement("d17.health")
async def test_health_says_when_the_apps_document_cannot_be_made() -> None:
    app = FastAPI()

    def broken() -> dict[str, object]:
        raise RuntimeError("no document, and a secret")

    app.openapi = broken  # type: ignore[method-assign]
    async with live(app) as chat:
        answer = await chat.get("/bedrock-chat/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
        assert answer.json()["checks"]["tools"] == "failed"
        assert "secret" not in answer.text


async def closed_to(chat: Live, **headers: str) -> bool:
    found = {(await chat.get(f"/bedrock-chat/{name}", **headers)).status_code for name in ("stats", "tools")}
    assert len(found) == 1, found
    return found == {403}


@pytest.mark.requirement("fault.health", "d17.stats")
async def test_stats_and_tools_are_for_the_signed_in_and_for_this_machine() -> None:
    async with live(api()) as chat:
        token = await token_of(chat)
        assert not await closed_to(chat)
        assert await closed_to(chat, **FAR)
        assert await closed_to(chat, **FAR, authorization=f"Bearer {token}x")
        assert not await closed_to(chat, **FAR, authorization=f"Bearer {token}")
        assert await closed_to(chat, sec_fetch_site="cross-site")
        assert (await chat.get("/bedrock-chat/stats", host="evil.example")).status_code == 421


@pytest.mark.requirement("d17.stats")
async def test_where_the_app_says_who_somebody_is_it_says_so_here() -> None:
    async with live(api(), auth_dependency=lambda: None) as chat:
        assert await closed_to(chat, **FAR)
    async with live(api(), auth_dependency=lambda: "ada") as chat:
        assert not await closed_to(chat, **FAR)


@pytest.mark.requirement("d17.stats")
async def test_what_they_tell() -> None:
    async with live(api(), excluded_paths="/internal", max_sessions=7) as chat:
        await chat.open()
        stats = (await chat.get("/bedrock-chat/stats")).json()
        assert list(stats) == ["websocket", "sessions", "tools"]
        assert stats["sessions"]["active_sessions"] == 1
        assert stats["sessions"]["max_sessions"] == 7
        assert stats["tools"]["total_tools"] == 1
        assert stats["tools"]["excluded_paths"] == ["/internal"]
        tools = (await chat.get("/bedrock-chat/tools")).json()
        assert list(tools) == ["tools_description", "tools_metadata", "statistics"]
        (function,) = tools["tools_description"]["functions"]
        assert tools["tools_metadata"][function["name"]]["path"] == "/items"


@pytest.mark.requirement("d17.stats")
async def test_they_tell_of_functions_too() -> None:
    def half(number: int) -> float:
        """Half of a number."""
        return number / 2

    async with live(api(), excluded_paths="/internal", tools=[half]) as chat:
        stats = (await chat.get("/bedrock-chat/stats")).json()["tools"]
        assert (stats["total_tools"], stats["functions"]) == (2, 1)
        tools = (await chat.get("/bedrock-chat/tools")).json()
        assert tools["statistics"]["total_tools"] == 2
        described = tools["tools_description"]["functions"][-1]
        assert (described["name"], list(described["parameters"]["properties"])) == ("half", ["number"])
        assert tools["tools_metadata"]["half"]["function_desc"] == described


@pytest.mark.requirement("d17.stats", "W-13")
async def test_they_can_only_be_read() -> None:
    async with live(api()) as chat, httpx2.AsyncClient(trust_env=False) as client:
        for method in ("POST", "DELETE", "OPTIONS"):
            answer = await client.request(method, f"{chat.url}/bedrock-chat/stats")
            assert answer.status_code in {404, 405}
            assert "access-control-allow-origin" not in answer.headers
