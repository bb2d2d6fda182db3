"""LangGraph: a graph stops where a person has to connect an account, and goes on, in another process, too."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from tests.integrations import kit
from tests.integrations.graph_program import graph, saved
from valetkey.integrations.langgraph import READY, PocketLanggraph
from valetkey.wiring import build

ROOT = Path(__file__).resolve().parent.parent.parent
ANN: Any = {"configurable": {"thread_id": "ann"}}
HUMAN = {"messages": [("human", "Read, and add.")]}


def texts(state: dict[str, Any]) -> list[str]:
    return [message.text for message in state["messages"] if message.type == "tool"]


@pytest.mark.requirement("seed000.frameworks", "F.frameworks-resume")
async def test_a_graph_is_interrupted_until_the_account_is_there_and_no_call_is_made_twice(slack):
    with PocketLanggraph(tools=kit.TOOLS) as pocket:
        run = graph(pocket, InMemorySaver())
        state = await run.ainvoke(HUMAN, ANN)
        (interrupt,) = state["__interrupt__"]
        (one,) = interrupt.value["connect"]
        assert one["provider"] == "slack"
        assert interrupt.value["message"] == f"{kit.ASKED}{one['url']}"
        assert texts(state) == [], "all is looked for before one is called"
        # Resumed too early: it asks again, with the same link.
        state = await run.ainvoke(Command(resume="I did"), ANN)
        assert state["__interrupt__"][0].value["connect"][0]["url"] == one["url"]
        await kit.connect(slack, one["url"])
        state = await run.ainvoke(Command(resume="now I did"), ANN)
        assert texts(state) == ["42", '{"channel":"general","token":"***","n":3}']
        assert state["messages"][-1].text == "I read it."
        assert kit.used("ann", slack)
        kit.unseen(slack, [state, list(run.checkpointer.list(ANN))])


@pytest.mark.requirement("F.frameworks-resume")
def test_another_process_resumes_the_graph(slack, tmp_path):
    file = tmp_path / "graph.db"
    with PocketLanggraph(tools=kit.TOOLS) as pocket:
        state = graph(pocket, saved(file)).invoke(HUMAN, ANN)
        assert texts(state) == []
        kit.connect_now(slack, state["__interrupt__"][0].value["connect"][0]["url"])
    build.use(None)
    last = program(file, "ann")
    added, read = [text for kind, text in last["messages"] if kind == "tool"]
    assert (added, read) == ("42", '{"channel":"general","token":"***","n":3}')
    assert last["messages"][-1] == ["ai", "I read it."]
    assert last["used"] == [["ann", slack.issued[0]]]
    with sqlite3.connect(file) as rows:
        kit.unseen(slack, [rows.execute("select * from checkpoints, writes").fetchall(), last["messages"]])


@pytest.mark.requirement("F.frameworks-resume")
def test_without_interrupting_the_link_is_the_answer_and_nothing_runs(slack):
    with PocketLanggraph(tools=kit.TOOLS) as pocket:
        run = graph(pocket, InMemorySaver(), should_interrupt=False)
        ready, asked = texts(run.invoke(HUMAN, ANN))
        assert ready == READY
        assert asked.startswith(kit.ASKED)
        assert asked.endswith(kit.RESUME)
        kit.connect_now(slack, kit.link(asked))
        assert texts(run.invoke(HUMAN, ANN))[2:] == ["42", '{"channel":"general","token":"***","n":3}']


async def test_calls_of_several_providers_accounts_and_none_are_asked_for_once_each(slack):
    from valetkey import AuthProvider, function_tool

    @function_tool(auth_provider=AuthProvider.SLACK)
    def write(**kwargs: Any) -> str:
        """Write."""
        return "written"

    with PocketLanggraph(tools=[*kit.TOOLS, write]) as pocket:
        node = pocket.get_tool_node()
        names = ["write", "read_messages", "nobodys", "write"]
        calls: Any = [{"name": n, "args": {"channel": "x"}, "id": f"c{i}"} for i, n in enumerate(names)]
        messages = (await node.ainvoke({"messages": [AIMessage("", tool_calls=calls)]}, ANN))["messages"]
        links = {kit.link(message.text) for message in messages if message.text != READY}
        assert len(links) == 1
        await kit.connect(slack, links.pop())
        calls = [{"name": n, "args": {}, "id": f"c{i}"} for i, n in enumerate(names)]
        messages = (await node.ainvoke({"messages": [AIMessage("", tool_calls=calls)]}, ANN))["messages"]
        assert [message.tool_call_id for message in messages] == ["c0", "c1", "c2", "c3"]
        assert [message.status for message in messages] == ["success", "error", "error", "success"]
        assert "channel is missing" in messages[1].text
        assert "no tool 'nobodys'" in messages[2].text
        assert (await node.ainvoke({"messages": [HumanMessage("hello")]}, ANN)) == {"messages": []}


def program(*arguments: object) -> Any:
    """What the program prints, in a process of its own."""
    command = [sys.executable, "-m", "tests.integrations.graph_program", *(str(one) for one in arguments)]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=50, env=surroundings)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)
