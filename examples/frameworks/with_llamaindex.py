"""LlamaIndex, with its own fake model in place of a real one: needs no key. See github_tool.py for the account.

pip install 'valetkey[llamaindex]'
"""

import asyncio

from github_tool import list_repositories
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM

from valetkey.integrations.llamaindex import PocketLlamaindex


def answer(messages, **kwargs):
    """Where a real model would be asked."""
    if messages[-1].role == "tool":
        return ChatMessage(role="assistant", blocks=[TextBlock(text=f"I was told: {messages[-1].content}")])
    call = ToolCallBlock(tool_call_id="1", tool_name="list_repositories", tool_kwargs={})
    return ChatMessage(role="assistant", blocks=[call])


async def main():
    async with PocketLlamaindex(tools=[list_repositories]) as pocket:
        llm = MockFunctionCallingLLM(response_generator=answer)
        agent = FunctionAgent(tools=pocket.get_tools(thread_id="ann"), llm=llm, streaming=False)
        print(await agent.run("What do I work on?"))  # the link: the person opens it
        await pocket.wait_tool_auth("ann")
        print(await agent.run("I have connected my account."))


asyncio.run(main())
