"""A graph with a tool node, its state in SQLite; as a program it goes on with a graph that waits.

It prints one JSON object: the messages that there are, and what the tool was lent.
"""

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command

from tests.integrations import kit
from valetkey.integrations.langgraph import PocketLanggraph, PocketLanggraphBaseState

CALLS = [
    {"name": "add", "args": {"a": 40}, "id": "c0"},
    {"name": "read_messages", "args": {"channel": "general"}, "id": "c1"},
]


def graph(pocket: PocketLanggraph, saver: Any, *, should_interrupt: bool = True) -> Any:
    """model → tools → model, with a model that makes two calls and then says what it read."""

    def model(state: PocketLanggraphBaseState) -> dict[str, list[BaseMessage]]:
        last = state["messages"][-1]
        return {"messages": [AIMessage("", tool_calls=CALLS) if last.type == "human" else AIMessage("I read it.")]}

    def way(state: PocketLanggraphBaseState) -> str:
        last = state["messages"][-1]
        return "tools" if isinstance(last, AIMessage) and last.tool_calls else "__end__"

    builder = StateGraph(PocketLanggraphBaseState)
    builder.add_node("model", model)
    builder.add_node("tools", pocket.get_tool_node(should_interrupt=should_interrupt))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", way)
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=saver)


def saved(file: str | Path) -> SqliteSaver:
    """Keeps a graph's state in that file."""
    return SqliteSaver(sqlite3.connect(file, check_same_thread=False))


def main(file: str, thread_id: str) -> None:
    """Resume the graph of that thread."""
    with PocketLanggraph(tools=kit.TOOLS) as pocket:
        run = graph(pocket, saved(file))
        state = run.invoke(Command(resume=True), {"configurable": {"thread_id": thread_id}})
    messages = [[message.type, message.text] for message in state["messages"]]
    sys.stdout.write(json.dumps({"messages": messages, "used": kit.USED}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
