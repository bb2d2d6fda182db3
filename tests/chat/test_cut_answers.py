"""What is cut short is cut after it was scrubbed: no half of a secret is told."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse

from tests.chat.kit import Script, call
from tests.chat.test_turn_app import Here
from valetkey.entrypoints.chat.plugin import add_bedrock_chat

TOKEN = "canary-8f3a9c1e5b2d7f40aa11"
TOLD = TOKEN[:12]


def echoing() -> FastAPI:
    app = FastAPI()

    @app.get("/refused", operation_id="refused")
    async def refused(request: Request, pad: int) -> None:
        raise HTTPException(400, "x" * pad + request.headers.get("authorization", ""))

    @app.get("/large", operation_id="large")
    async def large(request: Request, pad: int) -> PlainTextResponse:
        return PlainTextResponse("x" * pad + request.headers.get("authorization", "") + "y" * 100)

    @app.get("/slow", operation_id="slow")
    async def slow(request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield request.headers["authorization"][:-1]
            await asyncio.sleep(30)

        return StreamingResponse(pieces(), media_type="text/plain")

    @app.get("/moved", operation_id="moved")
    async def moved(request: Request, pad: int) -> RedirectResponse:
        return RedirectResponse(f"/{'x' * pad}{request.headers['authorization'].removeprefix('Bearer ')}/there")

    @app.get("/wide", operation_id="wide")
    async def wide(request: Request) -> Response:
        return Response(request.headers["authorization"].encode("utf-16-le"), media_type="text/plain")

    return app


CAP = 1_048_576  # bytes of an answer that are read
CUTS = {
    "refused": {"pad": 300 - len("Bearer ") - len(TOKEN) + 2},  # the detail of an error has 300 characters
    "large": {"pad": CAP - len("Bearer ") - len(TOKEN) + 1},
    "slow": {},
    "moved": {"pad": 180},
}


@pytest.mark.parametrize("tool", CUTS)
async def test_what_is_cut_holds_no_part_of_a_secret(tool):
    app = echoing()
    plugin = add_bedrock_chat(app, model_id="offline", timeout=1, max_message_size=2_000_000)
    async with app.router.lifespan_context(app):
        here = Here(plugin, Script(call(tool, **CUTS[tool]), "Done."))
        here.give(TOKEN)
        await here.say("go")
    told = str(here.frames) + "".join(asked.text for asked in here.model.asked)
    assert TOLD not in told, told[max(0, told.find(TOLD) - 40) :][:100]


async def test_text_of_another_width_is_not_told_character_by_character():
    app = echoing()
    plugin = add_bedrock_chat(app, model_id="offline")
    async with app.router.lifespan_context(app):
        here = Here(plugin, Script(call("wide"), "Done."))
        here.give(TOKEN)
        answer = await here.say("go")
    assert TOLD not in answer["tool_results"][0]["result"].replace("\0", "")
