"""Pydantic AI: a call is deferred where the account is missing, and goes on. Its model is made up: needs no key.

pip install 'valetkey[pydantic-ai]'
"""

import asyncio

from github_tool import list_repositories
from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel

from valetkey.integrations.pydantic_ai import PocketPydanticAI


def answer(messages, info):
    """Where a real model would be asked."""
    for part in messages[-1].parts:
        if part.part_kind == "tool-return":
            return ModelResponse([TextPart(f"I was told: {part.content}")])
    return ModelResponse([ToolCallPart("list_repositories", {})])


async def main():
    async with PocketPydanticAI(tools=[list_repositories]) as pocket:
        agent = Agent(
            FunctionModel(answer),
            deps_type=str,
            toolsets=[pocket.get_toolset(thread_id=lambda ctx: ctx.deps, should_interrupt=True)],
            output_type=[str, DeferredToolRequests],
        )
        result = await agent.run("What do I work on?", deps="ann")
        while isinstance(waits := result.output, DeferredToolRequests):
            for asked in waits.metadata.values():
                print(asked["message"])
            await pocket.wait_tool_auth("ann")  # the person opens the link
            result = await agent.run(
                deps="ann",
                message_history=result.all_messages(),
                deferred_tool_results=waits.build_results(approve_all=True),
            )
        print(result.output)


asyncio.run(main())
