"""A call, a stream and an answer of an app over HTTP end with the credential of whoever asked (contract 4.5)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.rpc.place import WAIT, Place
from tests.rpc.test_http_apps import APPS
from tests.rpc.test_http_calls import ADA, shared
from valetkey.entrypoints.rpc import answers, callers
from valetkey.entrypoints.rpc.callers import Callers

BOBS = {"visibility": "protected", "authorized_workspaces": ["ws-user-bob"]}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at callers more often than each second."""
    monkeypatch.setattr(answers, "LOOKED_AT", 0.05)
    monkeypatch.setattr(callers, "LOOKED_AT", 0.0)


async def read_to_its_end(here: Place, path: str) -> str:
    """What comes after its first line, once the reader's token was revoked."""
    token, row = await here.issue("bob")
    text = ""
    async with here.http(token) as bob, bob.stream("GET", path, timeout=20) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        await here.identity.tokens.end(row, by="bob", reason="lost")
        async with asyncio.timeout(WAIT):
            with contextlib.suppress(httpx2.HTTPError):
                async for line in lines:
                    text += f"{line}\n"
    return text


@pytest.mark.requirement("hypha.4.5")
async def test_a_stream_ends_with_the_token_of_its_reader_and_says_so() -> None:
    closed = asyncio.Event()

    async def ticks() -> AsyncIterator[str]:
        try:
            while True:
                yield "for bob alone"
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async with shared({"id": "feed", "config": BOBS, "ticks": ticks}) as (here, _, _http):
        text = await read_to_its_end(here, f"{ADA}/feed/ticks")
        assert "event: error" in text
        assert "revoked" in text.splitlines()[-2]
        async with asyncio.timeout(WAIT):
            await closed.wait()


@pytest.mark.requirement("hypha.4.5")
async def test_an_answer_of_an_app_ends_with_the_token_of_its_reader() -> None:
    async def serve(args: Any) -> None:
        await args["send"]({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await args["send"]({"type": "http.response.body", "body": b"for bob alone\n", "more_body": True})
            await asyncio.sleep(0.01)

    async with shared({"id": "web", "type": "asgi", "config": BOBS, "serve": serve}) as (here, _, _http):
        await read_to_its_end(here, f"{APPS}/web/")
        here.services.table.register({"id": "own", "type": "asgi", "config": BOBS, "serve": serve}, workspace="public")
        await read_to_its_end(here, "/public/apps/own/")


@pytest.mark.requirement("hypha.4.5")
async def test_what_was_asked_for_with_a_token_that_ended_meanwhile_is_not_handed_over() -> None:
    async with shared() as (here, client, _):
        ending: list[Any] = []

        async def slow(event: Any = None) -> Any:
            await here.identity.tokens.end(ending[-1], by="bob", reason="lost")
            return {"status": 200, "body": "for bob alone"}

        service = {"id": "slow", "config": {"visibility": "public"}, "slow": slow}
        await client.register_service({**service, "type": "functions"})
        here.services.table.register({**service, "type": "functions"}, workspace="public")
        for path in (f"{ADA}/slow/slow", f"{APPS}/slow/slow", "/public/services/slow/slow", "/public/apps/slow/slow"):
            token, row = await here.issue("bob")
            ending.append(row)
            async with here.http(token) as bob:
                answer = await bob.get(path)
            assert (answer.status_code, "for bob" in answer.text) == (401, False), path


@pytest.mark.requirement("hypha.4.5")
async def test_a_call_whose_token_ends_before_its_body_is_there_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    known, watch = asyncio.Event(), Callers.watch

    def noted(self: Callers, who: Any) -> Any:
        known.set()
        return watch(self, who)

    monkeypatch.setattr(Callers, "watch", noted)

    def pay(to: Any) -> None:
        called.append(to)

    service = {"id": "pay", "type": "functions", "config": {"visibility": "public"}, "pay": pay}
    async with shared() as (here, client, _):
        await client.register_service(service)
        here.services.table.register(service, workspace="public")
        for path in (f"{ADA}/pay/pay", f"{APPS}/pay/pay", "/public/services/pay/pay", "/public/apps/pay/pay"):
            token, row = await here.issue("bob")
            known.clear()
            reader, writer = await asyncio.open_connection("127.0.0.1", here.listener.port)
            host = f"Host: 127.0.0.1:{here.listener.port}\r\nAuthorization: Bearer {token}"
            kind = "Content-Type: application/json\r\nContent-Length: 12"
            writer.write(f'POST {path} HTTP/1.1\r\n{host}\r\n{kind}\r\n\r\n{{"to":'.encode())
            async with asyncio.timeout(WAIT):
                await known.wait()
                await here.identity.tokens.end(row, by="bob", reason="lost")
                writer.write(b'"eve"}')
                line = await reader.readline()
            writer.close()
            assert (called, line.split()[1]) == ([], b"401"), path
