"""Tools and a person for the frameworks' tests: an account at an OAuth server on this machine, connected by a link."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.road.support import get
from valetkey import AuthProvider, Pocket, function_tool
from valetkey.testing import canary
from valetkey.testing.oauth_server import OAuthServer

LINK = re.compile(r"https?://\S+")
ASKED = "User needs to authenticate using the following URL: "
RESUME = "\n\nThe tool execution interrupted. Please talk to me to resume."
SECOND = "The second sentence."


@function_tool(auth_provider=AuthProvider.SLACK)
def read_messages(channel: str, GOOGLE: int = 3, **kwargs) -> dict[str, Any]:  # noqa: N803
    """Read the messages of a channel.

    Args:
        channel: which one
        GOOGLE: a parameter with a default
    """
    token = kwargs["SLACK_BOT_TOKEN"]
    USED.append((kwargs["thread_id"], token))
    return {"channel": channel, "token": token, "n": GOOGLE}


@function_tool
def echo(body: str, tool_name: str, config: str = "", run_manager: str = "", name: str = "") -> str:
    """Say it again: its parameters have the names that frameworks use themselves."""
    return f"{body}/{tool_name}/{config}/{run_manager}/{name}"


COLLIDING = {"body": "b", "tool_name": "t", "config": "c", "run_manager": "r", "name": "n"}
COLLIDED = "b/t/c/r/n"


@function_tool
def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


USED: list[tuple[str, str]] = []
"""Each loan of the account: to which thread's call, and the token itself."""

TOOLS = [read_messages, echo, add]
NAMES = ["read_messages", "echo", "add"]


def link(text: str) -> str:
    """The link in what a model or a program was told."""
    found = LINK.search(text)
    assert found is not None, text
    return found[0]


async def connect(server: OAuthServer, url: str) -> None:
    """The person opens the link and agrees."""
    page = await asyncio.to_thread(get, server.approve(url))
    assert page.status == 200, page.body


def connect_now(server: OAuthServer, url: str) -> None:
    """The same for synchronous code."""
    page = get(server.approve(url))
    assert page.status == 200, page.body


def used(thread_id: str, server: OAuthServer) -> bool:
    """Whether the tool ran once, for that thread, with the account's own token."""
    (use,) = USED
    return use == (thread_id, server.issued[0])


def unseen(server: OAuthServer, seen: Mapping[str, object] | Sequence[object]) -> None:
    """Nothing that a model or a state holds has a token in it."""
    assert server.issued, "a token was issued that could be seen"
    assert canary.find({"seen": repr(seen)}, server.issued) == []


def schemas_are_clean(schemas: list[Mapping[str, Any]]) -> None:
    """What a model is told of `TOOLS`: its own parameters, and none that name an owner or a credential."""
    assert [sorted(schema["properties"]) for schema in schemas] == [
        ["GOOGLE", "channel"],
        ["body", "config", "name", "run_manager", "tool_name"],
        ["a", "b"],
    ]
    assert schemas[0]["required"] == ["channel"]
    assert schemas[0]["properties"]["channel"]["description"] == "which one"


async def two_profiles(server: OAuthServer, pocket: Pocket, thread_id: str) -> None:
    """That thread connects two accounts."""
    for profile in ("work", "home"):
        asked = await pocket.prepare_auth("read_messages", thread_id, profile)
        assert asked is not None
        await connect(server, link(asked))
        await pocket.authenticate("read_messages", thread_id, profile)
