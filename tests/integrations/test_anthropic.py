"""Anthropic's own client, against its Messages API on this machine."""

from typing import Any

import pytest
from anthropic import AsyncAnthropic
from anthropic.types import ToolUseBlock

from tests.integrations import kit
from tests.models.fake_bedrock import say, use
from tests.models.fake_services import FakeServices
from valetkey.integrations.anthropic import PocketAnthropic


@pytest.mark.requirement("seed000.frameworks")
async def test_a_model_uses_a_tool_for_the_owner_that_the_program_names(slack):
    with FakeServices() as services, PocketAnthropic(tools=kit.TOOLS) as pocket:
        specs = pocket.get_anthropic_tool_specs()
        assert [spec["name"] for spec in specs] == kit.NAMES
        services.script(
            use("read_messages", {"channel": "general"}), use("read_messages", {"channel": "general"}), say("done")
        )
        messages: list[Any] = [{"role": "user", "content": "read"}]
        async with AsyncAnthropic(api_key="k-anthropic", base_url=services.url, max_retries=0) as client:
            while True:
                answer = await client.messages.create(model="m", max_tokens=99, tools=specs, messages=messages)
                messages.append({"role": "assistant", "content": answer.content})
                blocks = [block for block in answer.content if block.type == "tool_use"]
                if not blocks:
                    break
                results = [await pocket.ainvoke(block, thread_id="ann") for block in blocks]
                messages.append({"role": "user", "content": results})
                if not kit.USED:
                    asked = str(results[0]["content"])
                    assert asked.startswith(kit.ASKED)
                    assert asked.endswith(kit.RESUME)
                    await kit.connect(slack, kit.link(asked))
        assert kit.used("ann", slack)
        assert [message["role"] for message in messages] == ["user", "assistant"] * 3
        assert "***" in str(services.asked[-1].body["messages"])
        kit.schemas_are_clean([tool["input_schema"] for tool in services.asked[0].body["tools"]])
        kit.unseen(slack, [messages, *(asked.body for asked in services.asked)])


@pytest.mark.requirement("F.frameworks-arguments")
async def test_a_call_works_in_a_loop_without_await_too_and_failures_are_marked():
    with PocketAnthropic(tools=kit.TOOLS) as pocket:
        block = ToolUseBlock(id="t1", name="echo", type="tool_use", input=dict(kit.COLLIDING))
        expected = {"type": "tool_result", "tool_use_id": "t1", "content": kit.COLLIDED, "is_error": False}
        assert pocket.invoke(block) == expected
        wrong = pocket.invoke(ToolUseBlock(id="t2", name="add", type="tool_use", input={}))
        assert wrong["is_error"]
        assert "a is missing" in str(wrong["content"])
