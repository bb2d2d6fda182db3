"""LangChain: a chat model calls a Pocket's tools."""

from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool

from tests.integrations import kit
from valetkey import Pocket
from valetkey.integrations.langchain import PocketLangchain


class Model(GenericFakeChatModel):
    """LangChain's fake model, which remembers what it was told."""

    told: list[Any]
    heard: list[Any]

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, AIMessage]:
        self.told.extend(convert_to_openai_tool(tool) for tool in tools)
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        self.heard.append(messages)
        return super()._generate(messages, *args, **kwargs)


def calling(*calls: tuple[str, dict[str, Any]]) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": n, "args": a, "id": f"c{i}"} for i, (n, a) in enumerate(calls)])


@pytest.mark.requirement("seed000.frameworks")
async def test_a_model_calls_a_tool_for_the_thread_that_the_program_names(slack):
    with PocketLangchain(tools=kit.TOOLS) as pocket:
        tools = pocket.get_tools()
        ask = calling(("read_messages", {"channel": "general"}))
        model = Model(messages=iter([ask, ask, AIMessage("done")]), told=[], heard=[])
        bound = model.bind_tools(tools)
        config: Any = {"configurable": {"thread_id": "ann"}}
        messages: list[BaseMessage] = [HumanMessage("read")]
        for _ in range(2):
            answer = await bound.ainvoke(messages)
            messages += [answer, await tools[0].ainvoke(answer.tool_calls[0], config)]
            if not kit.USED:
                asked = messages[-1]
                assert isinstance(asked, ToolMessage)
                assert asked.text.startswith(kit.ASKED)
                assert asked.text.endswith(kit.RESUME)
                await kit.connect(slack, kit.link(asked.text))
        messages.append(await bound.ainvoke(messages))
        assert kit.used("ann", slack)
        assert messages[-2].text == '{"channel":"general","token":"***","n":3}'
        assert [one["function"]["name"] for one in model.told] == kit.NAMES
        kit.schemas_are_clean([one["function"]["parameters"] for one in model.told])
        kit.unseen(slack, [messages, model.heard, model.told])
        # Another thread has an account of its own, or none; the model cannot say that it is another.
        other = await tools[0].ainvoke({"channel": "general"}, {"configurable": {"thread_id": "bob"}})
        assert other.startswith(kit.ASKED)
        posing = await tools[0].ainvoke({"channel": "general", "thread_id": "ann"})
        assert "thread_id is not a parameter" in posing


@pytest.mark.requirement("F.frameworks-arguments")
def test_tools_work_without_a_loop_and_their_parameters_may_have_any_name(slack):
    with PocketLangchain(tools=kit.TOOLS) as pocket:
        read, echo, add = pocket.get_tools()
        assert echo.invoke(kit.COLLIDING) == kit.COLLIDED
        assert add.invoke({"a": 1}) == "3"
        config: Any = {"configurable": {"thread_id": "ann"}}
        kit.connect_now(slack, kit.link(read.invoke({"channel": "general"}, config)))
        assert "***" in read.invoke({"channel": "general"}, config)
        assert kit.used("ann", slack)


async def test_what_a_model_did_wrong_is_told_to_it():
    with PocketLangchain(tools=kit.TOOLS) as pocket:
        read, _, add = pocket.get_tools()
        assert "a is missing" in await add.ainvoke({})
        assert "a: " in add.invoke({"a": "one"})
        pocket.remove_tool("read_messages")
        assert "no tool 'read_messages'" in await read.ainvoke({"channel": "general"})


@pytest.mark.requirement("F.frameworks-arguments")
async def test_a_model_chooses_among_the_owners_own_profiles_where_the_program_lets_it(slack):
    with PocketLangchain(tools=kit.TOOLS) as pocket:
        await kit.two_profiles(slack, pocket, "ann")
        assert "profile" not in str(pocket.get_tools()[0].args_schema)
        read, *_ = pocket.get_tools(use_profile=True, thread_id="ann")
        schema: Any = read.args_schema
        assert schema["properties"]["profile"]["enum"] == ["home", "work"]
        config: Any = {"configurable": {"thread_id": "ann"}}
        assert "***" in await read.ainvoke({"channel": "general", "profile": "home"}, config)
        assert kit.USED[-1] == ("ann", slack.issued[2])
        assert "profile has to be one of" in await read.ainvoke({"channel": "general", "profile": "bobs"}, config)
        # The program may name one, too; and where nobody does, the model is told which there are.
        named: Any = {"configurable": {"thread_id": "ann", "profile": "work"}}
        await read.ainvoke({"channel": "general"}, named)
        assert kit.USED[-1] == ("ann", slack.issued[0])
        assert "home" in await read.ainvoke({"channel": "general"}, config)


async def test_an_owner_that_is_none_is_the_programs_mistake():
    from valetkey import Unauthenticated

    with PocketLangchain(tools=kit.TOOLS) as pocket:
        _, _, add = pocket.get_tools()
        with pytest.raises(Unauthenticated):
            await add.ainvoke({"a": 1}, {"configurable": {"thread_id": ""}})


def test_it_is_a_pocket():
    with PocketLangchain(tools=kit.TOOLS) as pocket:
        assert isinstance(pocket, Pocket)
        assert pocket.invoke("add", {"a": 1}) == "3"
