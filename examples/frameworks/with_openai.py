"""OpenAI's chat completions. Set OPENAI_API_KEY; see github_tool.py for the account.

pip install 'valetkey[openai]'
"""

import asyncio

from github_tool import list_repositories
from openai import AsyncOpenAI

from valetkey.integrations.openai import PocketOpenAI, handle_tool_call_async


async def main():
    async with PocketOpenAI(tools=[list_repositories]) as pocket, AsyncOpenAI() as llm:
        specs = pocket.get_open_ai_tool_specs()
        messages = [{"role": "user", "content": "What do I work on?"}]
        print(await handle_tool_call_async(llm, pocket, "gpt-5.4-mini", specs, messages, thread_id="ann"))
        # The model has told the person to open the link; in a chat the person says when it is done.
        for message in messages:
            print(message.get("content") or message["tool_calls"])
        await pocket.wait_tool_auth("ann")
        messages.append({"role": "user", "content": "I have connected my account."})
        print(await handle_tool_call_async(llm, pocket, "gpt-5.4-mini", specs, messages, thread_id="ann"))


asyncio.run(main())
