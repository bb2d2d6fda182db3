"""LlamaIndex: a function agent calls a Pocket's tools, with LlamaIndex's own fake model."""

from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM

from tests.integrations import kit
from valetkey.integrations.llamaindex import PocketLlamaindex


@pytest.mark.requirement("seed000.frameworks")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # LlamaIndex looks at itself
async def test_an_agent_calls_a_tool_for_the_owner_that_the_program_names(slack):
    heard: list[list[ChatMessage]] = []

    def answer(messages: Sequence[ChatMessage], **kwargs: Any) -> ChatMessage:
        heard.append(list(messages))
        if messages[-1].role == "tool":
            return ChatMessage(role="assistant", blocks=[TextBlock(text="done")])
        call = ToolCallBlock(tool_call_id="c1", tool_name="read_messages", tool_kwargs={"channel": "general"})
        return ChatMessage(role="assistant", blocks=[call])

    with PocketLlamaindex(tools=kit.TOOLS) as pocket:
        tools = pocket.get_tools(thread_id="ann")
        llm = MockFunctionCallingLLM(response_generator=answer)
        agent = FunctionAgent(tools=[*tools], llm=llm, streaming=False)
        first: Any = await agent.run("read")
        assert str(first) == "done"
        asked = first.tool_calls[0].tool_output.content
        assert asked.startswith(kit.ASKED)
        assert asked.endswith(kit.RESUME)
        await kit.connect(slack, kit.link(asked))
        last: Any = await agent.run("I did", chat_history=heard[-1])
        assert last.tool_calls[0].tool_output.content == '{"channel":"general","token":"***","n":3}'
        assert kit.used("ann", slack)
        assert [tool.metadata.name for tool in tools] == kit.NAMES
        told = [tool.metadata.to_openai_tool()["function"] for tool in tools]
        kit.schemas_are_clean([one["parameters"] for one in told])
        kit.unseen(slack, [heard, first, last])


@pytest.mark.requirement("F.frameworks-arguments")
async def test_tools_work_with_and_without_await(slack):
    with PocketLlamaindex(tools=kit.TOOLS) as pocket:
        read, echo, add = pocket.get_tools(thread_id="ann")
        assert echo.call(**kit.COLLIDING).content == kit.COLLIDED
        assert (await add.acall(a=1)).content == "3"
        assert "a is missing" in add.call().content
        kit.connect_now(slack, kit.link(read.call(channel="x").content))
        assert "***" in read.call(channel="x").content
        (bobs, *_) = pocket.get_tools(thread_id="bob")
        assert bobs.call(channel="x").content.startswith(kit.ASKED)
