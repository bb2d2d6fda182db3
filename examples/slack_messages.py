"""Seed 000, the first program's first half: a tool that reads Slack with the person's own account.

Before you start, register a Slack app and write its id and secret into valetkey.toml in the current folder:

    [auth.slack]
    client_id = "…"
    client_secret = "…"
"""

import asyncio

from slack_sdk import WebClient

from valetkey import AuthProvider, Pocket, function_tool


# Define a tool with OAuth authentication
@function_tool(
    auth_provider=AuthProvider.SLACK,
    scopes=[
        "channels:history",
        "im:history",
        "mpim:history",
        "groups:history",
        "reactions:read",
        "mpim:read",
        "im:read",
    ],
)
def get_slack_messages(channel: str, limit: int, **kwargs) -> list:
    """
    Fetch recent messages from a Slack channel.

    channel(str): slack channel name
    limit(int): message limit
    """
    token = kwargs["SLACK_BOT_TOKEN"]
    client = WebClient(token=token)

    # do something you need
    response = client.conversations_history(channel=channel, limit=limit)

    return list(response)


async def main() -> None:
    """Connect the account, and read a channel."""
    pocket = Pocket(tools=[get_slack_messages])
    for prompt in await pocket.initialize_tool_auth():
        print(prompt)
    await pocket.wait_tool_auth()
    print(await pocket.ainvoke("get_slack_messages", {"channel": "general", "limit": 10}))


if __name__ == "__main__":
    asyncio.run(main())
