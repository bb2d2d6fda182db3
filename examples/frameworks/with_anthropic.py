"""Anthropic's Messages API. Set ANTHROPIC_API_KEY; see github_tool.py for the account.

pip install 'valetkey[anthropic]'
"""

import asyncio

from anthropic import AsyncAnthropic
from github_tool import list_repositories

from valetkey.integrations.anthropic import PocketAnthropic


async def main():
    async with PocketAnthropic(tools=[list_repositories]) as pocket, AsyncAnthropic() as client:
        for prompt in await pocket.initialize_tool_auth("ann"):
            print(prompt)  # in advance: the person opens the link
        await pocket.wait_tool_auth("ann")
        messages = [{"role": "user", "content": "What do I work on?"}]
        while True:
            answer = await client.messages.create(
                model="claude-sonnet-5-5",
                max_tokens=1000,
                tools=pocket.get_anthropic_tool_specs(),
                messages=messages,
            )
            messages.append({"role": "assistant", "content": answer.content})
            uses = [block for block in answer.content if block.type == "tool_use"]
            if not uses:
                break
            results = [await pocket.ainvoke(block, thread_id="ann") for block in uses]
            messages.append({"role": "user", "content": results})
        print(answer.content[0].text)


asyncio.run(main())
