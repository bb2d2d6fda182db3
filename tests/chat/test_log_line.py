"""BEDROCK_LOG_LEVEL=DEBUG: the line of a call tells what went wrong (decision 18)."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.chat.kit import Script, call, room
from valetkey.errors import InvalidArguments


@pytest.mark.parametrize("why", ["timeout", "arguments", "unknown"])
async def test_the_line_of_a_failed_call_names_the_error(
    why: str, caplog: pytest.LogCaptureFixture, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG, logger="valetkey")
    with room(Script(call("probe"), "Done."), timeout=1) as chat:

        async def act(lent, arguments):
            await asyncio.Event().wait()

        if why != "unknown":
            chat.tool("probe", act, takes=None)
        if why == "arguments":

            def bind(arguments):
                raise InvalidArguments("probe takes nothing")

            chat.offer.tools()["probe"].bind = bind
        turn = chat.start("go")
        if why == "timeout":
            await chat.frame("tool_progress")
            for _ in range(50):
                await asyncio.sleep(0)
            chat.clock.advance(2)
        async with asyncio.timeout(10):
            await turn
    (line,) = [each.getMessage() for each in caplog.records if ": probe: " in each.getMessage()]
    kind = {"timeout": "timeout", "arguments": "invalid_arguments", "unknown": "unknown_tool"}[why]
    assert f": probe: {kind} in " in line
