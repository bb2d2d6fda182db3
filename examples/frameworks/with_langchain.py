"""LangChain, with its own fake model in place of a real one: needs no key. See github_tool.py for the account.

pip install 'valetkey[langchain]'
"""

import asyncio

from github_tool import list_repositories
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage

from valetkey.integrations.langchain import PocketLangchain

CALL = {"name": "list_repositories", "args": {"limit": 3}, "id": "1"}
model = GenericFakeChatModel(messages=iter([AIMessage("", tool_calls=[CALL]), AIMessage("These are yours.")]))


async def main():
    async with PocketLangchain(tools=[list_repositories]) as pocket:
        (tool,) = pocket.get_tools()  # a real model: model.bind_tools([tool])
        config = {"configurable": {"thread_id": "ann"}}  # whose accounts: your program says it, never the model
        messages = [HumanMessage("What do I work on?")]
        messages.append(await model.ainvoke(messages))
        result = await tool.ainvoke(messages[-1].tool_calls[0], config)
        if result.text.startswith("User needs to authenticate"):
            print(result.text)
            await pocket.wait_tool_auth("ann")  # the person opens the link
            result = await tool.ainvoke(messages[-1].tool_calls[0], config)
        messages.append(result)
        print(result.text)
        print((await model.ainvoke(messages)).text)


asyncio.run(main())
