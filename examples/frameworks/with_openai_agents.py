"""OpenAI Agents: a run is interrupted where the account is missing, and resumed from its written state.

Set OPENAI_API_KEY; see github_tool.py for the account.

    pip install 'valetkey[openai]'
"""

import asyncio

from agents import Agent, Runner, RunState
from github_tool import list_repositories

from valetkey.integrations.openai import PocketOpenAI


async def main():
    async with PocketOpenAI(tools=[list_repositories]) as pocket:
        tools = pocket.get_openai_agents_tools(thread_id="ann", should_interrupt=True)
        agent = Agent(name="assistant", model="gpt-5.4-mini", tools=tools)
        result = await Runner.run(agent, "What do I work on?")
        while result.interruptions:
            print(await pocket.prepare_auth([item.name for item in result.interruptions], "ann"))
            written = result.to_state().to_string()  # another process may go on with it
            await pocket.wait_tool_auth("ann")  # the person opens the link
            state = await RunState.from_string(agent, written)
            for item in state.get_interruptions():
                state.approve(item)
            result = await Runner.run(agent, state)
        print(result.final_output)


asyncio.run(main())
