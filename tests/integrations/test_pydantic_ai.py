"""Pydantic AI: an agent with a Pocket's toolset, and its own function model."""

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.integrations import kit
from valetkey.integrations.pydantic_ai import PocketPydanticAI


@dataclass
class Deps:
    user: str


class Model:
    """Calls one tool, and says "done" when it has its answer; remembers what it was told."""

    def __init__(self, name: str = "read_messages", /, **arguments: Any) -> None:
        self.call = ToolCallPart(name, arguments or {"channel": "general"})
        self.heard: list[Any] = []

    def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.heard.append((messages, [tool.parameters_json_schema for tool in info.function_tools]))
        parts = messages[-1].parts
        answered = any(part.part_kind == "tool-return" for part in parts)
        return ModelResponse([TextPart("done") if answered else self.call])


def answers(messages: list[ModelMessage]) -> list[str]:
    return [str(part.content) for message in messages for part in message.parts if part.part_kind == "tool-return"]


@pytest.mark.requirement("seed000.frameworks")
async def test_an_agent_is_told_the_link_and_then_the_result_for_whomever_it_serves(slack):
    with PocketPydanticAI(tools=kit.TOOLS) as pocket:
        model = Model()
        agent = Agent(
            FunctionModel(model), deps_type=Deps, toolsets=[pocket.get_toolset(thread_id=lambda ctx: ctx.deps.user)]
        )
        first = await agent.run("read", deps=Deps("ann"))
        (asked,) = answers(first.new_messages())
        assert asked.startswith(kit.ASKED)
        assert asked.endswith(kit.RESUME)
        await kit.connect(slack, kit.link(asked))
        last = await agent.run("I did", deps=Deps("ann"), message_history=first.all_messages())
        assert answers(last.new_messages()) == ['{"channel":"general","token":"***","n":3}']
        assert last.output == "done"
        assert kit.used("ann", slack)
        other = await agent.run("read", deps=Deps("bob"))
        assert answers(other.new_messages())[0].startswith(kit.ASKED)
        kit.schemas_are_clean(model.heard[0][1])
        kit.unseen(slack, [model.heard, last.all_messages_json()])


@pytest.mark.requirement("F.frameworks-resume")
async def test_a_call_is_deferred_until_the_account_is_there_and_goes_on_from_written_messages(slack):
    with PocketPydanticAI(tools=kit.TOOLS) as pocket:
        toolset = pocket.get_toolset(thread_id="ann", should_interrupt=True)
        agent = Agent(FunctionModel(Model()), toolsets=[toolset], output_type=[str, DeferredToolRequests])
        first = await agent.run("read")
        waits = first.output
        assert isinstance(waits, DeferredToolRequests)
        (call,) = waits.approvals
        asked = waits.metadata[call.tool_call_id]
        assert asked["message"] == f"{kit.ASKED}{asked['url']}"
        assert asked["provider"] == "slack"
        written = first.all_messages_json()
        yes = DeferredToolResults(approvals={call.tool_call_id: True})
        early = await agent.run(
            message_history=ModelMessagesTypeAdapter.validate_json(written), deferred_tool_results=yes
        )
        assert isinstance(early.output, DeferredToolRequests), "approved too early: it is asked again"
        await kit.connect(slack, asked["url"])
        last = await agent.run(
            message_history=ModelMessagesTypeAdapter.validate_json(written), deferred_tool_results=yes
        )
        assert last.output == "done"
        assert answers(last.new_messages()) == ['{"channel":"general","token":"***","n":3}']
        assert kit.used("ann", slack)
        kit.unseen(slack, [written, last.all_messages_json()])


@pytest.mark.requirement("F.frameworks-arguments")
async def test_parameters_may_have_any_name_and_mistakes_are_told(slack):
    with PocketPydanticAI(tools=kit.TOOLS) as pocket:
        for model, expected in [
            (Model("echo", **kit.COLLIDING), kit.COLLIDED),
            (Model("add", a=1), "3"),
            (Model("add", b=1), "add: a is missing. It takes a, b."),
        ]:
            done = await Agent(FunctionModel(model), toolsets=[pocket.get_toolset()]).run("go")
            assert answers(done.new_messages()) == [expected]
        await kit.two_profiles(slack, pocket, "ann")
        choosing = Model("read_messages", channel="x", profile="home")
        toolset = pocket.get_toolset(use_profile=True, thread_id="ann")
        done = await Agent(FunctionModel(choosing), toolsets=[toolset]).run("go")
        assert choosing.heard[0][1][0]["properties"]["profile"]["enum"] == ["home", "work"]
        assert kit.USED[-1] == ("ann", slack.issued[2])
