"""OpenAI's own client against chat completions on this machine, and OpenAI Agents with a model of its interface."""

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat.chat_completion_message_custom_tool_call import ChatCompletionMessageCustomToolCall, Custom
from openai.types.chat.chat_completion_message_function_tool_call import ChatCompletionMessageFunctionToolCall, Function

from tests.integrations import kit
from tests.models.fake_bedrock import say, use
from tests.models.fake_services import FakeServices
from valetkey import ModelError
from valetkey.integrations import openai as integration
from valetkey.integrations.openai import PocketOpenAI, handle_tool_call, handle_tool_call_async

READ = use("read_messages", {"channel": "general"})


def call(name: str, arguments: str) -> ChatCompletionMessageFunctionToolCall:
    return ChatCompletionMessageFunctionToolCall(
        id="c1", type="function", function=Function(name=name, arguments=arguments)
    )


@pytest.mark.requirement("seed000.frameworks")
async def test_a_conversation_goes_on_until_the_model_answers(slack):
    with FakeServices() as services, PocketOpenAI(tools=kit.TOOLS) as pocket:
        specs = pocket.get_open_ai_tool_specs()
        messages: list[Any] = [{"role": "user", "content": "read"}]
        async with AsyncOpenAI(api_key="k-openai", base_url=f"{services.url}/v1", max_retries=0) as llm:
            services.script(READ, say("Please open the link."))
            said = await handle_tool_call_async(llm, pocket, "m", specs, messages, thread_id="ann")
            assert said == "Please open the link."
            asked = messages[2]["content"]
            assert asked == f"{kit.ASKED}{kit.link(asked)}"
            await kit.connect(slack, kit.link(asked))
            services.script(READ, say("done"))
            messages.append({"role": "user", "content": "I did"})
            assert await handle_tool_call_async(llm, pocket, "m", specs, messages, thread_id="ann") == "done"
        assert kit.used("ann", slack)
        assert messages[-2]["content"] == '{"channel":"general","token":"***","n":3}'
        assert messages[-2]["tool_call_id"] == messages[-3]["tool_calls"][0]["id"]
        told = [tool["function"] for tool in services.asked[0].body["tools"]]
        assert [one["name"] for one in told] == kit.NAMES
        assert [set(one) for one in told] == [{"name", "description", "parameters"}] * 3, "strictness is left as it is"
        kit.schemas_are_clean([one["parameters"] for one in told])
        kit.unseen(slack, [messages, *(request.body for request in services.asked)])


@pytest.mark.requirement("F.frameworks-arguments")
async def test_a_conversation_without_await_works_inside_a_loop_and_has_an_end(monkeypatch):
    with FakeServices() as services, PocketOpenAI(tools=kit.TOOLS) as pocket:
        llm = OpenAI(api_key="k-openai", base_url=f"{services.url}/v1", max_retries=0)
        services.script(use("add", {"a": 1}), say("It is 3."))
        messages: list[Any] = []
        assert handle_tool_call(llm, pocket, "m", pocket.get_open_ai_tool_specs(), messages) == "It is 3."
        assert messages[1]["content"] == "3"
        monkeypatch.setattr(integration, "ROUNDS", 2)
        services.script(use("add", {"a": 1}), use("add", {"a": 1}))
        with pytest.raises(ModelError, match="2 answers in a row"):
            handle_tool_call(llm, pocket, "m", pocket.get_open_ai_tool_specs(), messages)
        llm.close()


@pytest.mark.requirement("F.frameworks-arguments")
async def test_calls_of_every_kind_are_answered(slack):
    with PocketOpenAI(tools=kit.TOOLS) as pocket:
        assert pocket.invoke(call("echo", json.dumps(kit.COLLIDING)))["content"] == kit.COLLIDED
        assert "a is missing" in pocket.invoke(call("add", ""))["content"]
        assert "no JSON" in (await pocket.ainvoke(call("add", "{")))["content"]
        assert "no tool 'nobodys'" in (await pocket.ainvoke(call("nobodys", "{}")))["content"]
        odd = ChatCompletionMessageCustomToolCall(id="c2", type="custom", custom=Custom(name="add", input="1"))
        assert pocket.invoke(odd)["content"].startswith("There is no custom tool here")
        asked = pocket.invoke(call("read_messages", '{"channel": "x"}'), thread_id="ann")["content"]
        await kit.connect(slack, kit.link(asked))
        assert "***" in pocket.invoke(call("read_messages", '{"channel": "x"}'), thread_id="ann")["content"]
        assert pocket.invoke(call("read_messages", '{"channel": "x"}'))["content"].startswith(kit.ASKED), "not ann's"
        tool = pocket.tools["add"]
        assert pocket.get_open_ai_tool_spec(tool) == pocket.get_open_ai_tool_specs()[2]


async def test_accounts_are_connected_in_advance(slack, monkeypatch):
    said: asyncio.Queue[str] = asyncio.Queue()
    monkeypatch.setattr(integration, "print", lambda text, flush: said.put_nowait(text), raising=False)
    with PocketOpenAI(tools=kit.TOOLS) as pocket:
        waiting = asyncio.create_task(pocket.init_auth_async("ann"))
        await kit.connect(slack, kit.link(await said.get()))
        await waiting
        await pocket.init_auth_async("ann")
        assert said.empty(), "it is there already"
        assert "***" in pocket.invoke(call("read_messages", '{"channel": "x"}'), thread_id="ann")["content"]


def scripted(*answers: str) -> Any:
    """A model for OpenAI Agents: the name of a tool is a call of it, anything else is said."""
    from agents import Model, ModelResponse, Usage
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

    class Scripted(Model):
        def __init__(self) -> None:
            self.heard: list[Any] = []
            self.left = list(answers)

        async def get_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> ModelResponse:  # noqa: A002
            self.heard.append((input, [tool.params_json_schema for tool in kwargs["tools"]]))
            said = self.left.pop(0)
            item: Any
            if said == "read_messages":
                call_id = f"call_{len(self.heard)}"
                item = ResponseFunctionToolCall(
                    type="function_call", call_id=call_id, name=said, arguments='{"channel": "general"}'
                )
            else:
                text = ResponseOutputText(type="output_text", text=said, annotations=[])
                item = ResponseOutputMessage(
                    id="m1", type="message", role="assistant", status="completed", content=[text]
                )
            return ModelResponse(output=[item], usage=Usage(), response_id=None)

        def stream_response(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

    return Scripted()


@pytest.mark.requirement("seed000.frameworks")
async def test_an_agent_is_told_the_link_and_then_the_result(slack):
    from agents import Agent, Runner

    with PocketOpenAI(tools=kit.TOOLS) as pocket:
        model = scripted("read_messages", "Please open it.", "read_messages", "done")
        agent = Agent(name="a", model=model, tools=[*pocket.get_openai_agents_tools(thread_id="ann")])
        first = await Runner.run(agent, "read")
        assert first.final_output == "Please open it."
        asked = next(item["output"] for item in model.heard[1][0] if item.get("type") == "function_call_output")
        await kit.connect(slack, kit.link(asked))
        last = await Runner.run(agent, [*first.to_input_list(), {"role": "user", "content": "I did"}])
        assert last.final_output == "done"
        assert kit.used("ann", slack)
        kit.schemas_are_clean(model.heard[0][1])
        kit.unseen(slack, [model.heard, last.to_input_list()])


@pytest.mark.requirement("F.frameworks-resume")
async def test_an_agents_run_is_interrupted_and_goes_on_from_its_written_state(slack):
    from agents import Agent, Runner, RunState

    with PocketOpenAI(tools=kit.TOOLS) as pocket:

        def agent(*answers: str) -> Any:
            tools = pocket.get_openai_agents_tools(thread_id="ann", should_interrupt=True)
            return Agent(name="a", model=scripted(*answers), tools=[*tools])

        first = await Runner.run(agent("read_messages"), "read")
        (waits,) = first.interruptions
        asked = await pocket.prepare_auth(str(waits.name), "ann")
        assert asked is not None
        await kit.connect(slack, kit.link(asked))
        written = first.to_state().to_string()
        again = agent("done")
        state: Any = await RunState.from_string(again, written)
        for one in state.get_interruptions():
            state.approve(one)
        last = await Runner.run(again, state)
        assert last.final_output == "done"
        assert kit.used("ann", slack)
        # The account is there: nothing interrupts the next run.
        more = await Runner.run(agent("read_messages", "again"), "read")
        assert more.interruptions == []
        assert more.final_output == "again"
        kit.unseen(slack, [written, last.to_input_list(), more.to_input_list()])
