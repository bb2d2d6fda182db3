"""LangGraph: the graph is interrupted where the account is missing, and resumed. Its model is made up: needs no key.

    pip install 'valetkey[langgraph]' langgraph-checkpoint-sqlite

The graph's state is in graph.db: end the program while it waits, and start it again, and it goes on where it was.
"""

import asyncio
import sqlite3

from github_tool import list_repositories
from langchain_core.messages import AIMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command

from valetkey.integrations.langgraph import PocketLanggraph, PocketLanggraphBaseState

pocket = PocketLanggraph(tools=[list_repositories])


def model(state):
    """Where a real one would be asked."""
    if state["messages"][-1].type == "tool":
        return {"messages": [AIMessage("These are yours.")]}
    return {"messages": [AIMessage("", tool_calls=[{"name": "list_repositories", "args": {}, "id": "1"}])]}


builder = StateGraph(PocketLanggraphBaseState)
builder.add_node("model", model)
builder.add_node("tools", pocket.get_tool_node(should_interrupt=True))
builder.add_edge(START, "model")
builder.add_conditional_edges("model", lambda state: "tools" if state["messages"][-1].tool_calls else "__end__")
builder.add_edge("tools", "model")
graph = builder.compile(checkpointer=SqliteSaver(sqlite3.connect("graph.db", check_same_thread=False)))

config = {"configurable": {"thread_id": "ann"}}
waits = graph.get_state(config).interrupts
state = graph.invoke(Command(resume=True) if waits else {"messages": [("human", "What do I work on?")]}, config)
while waits := state.get("__interrupt__"):
    print(waits[0].value["message"])
    asyncio.run(pocket.wait_tool_auth("ann"))  # the person opens the link
    state = graph.invoke(Command(resume=True), config)
for message in state["messages"]:
    message.pretty_print()
pocket.teardown()
