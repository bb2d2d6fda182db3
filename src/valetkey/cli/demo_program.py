"""The program that the demo shows: a tool that needs an account, and an agent that calls it.

Started as a program of its own (``python -m valetkey.cli.demo_program``, its setup as JSON on standard input), it is
the second run: it finds the account that the first one connected.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection  # noqa: TID251  # a tool is somebody's own code, with a client of their choice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from valetkey.ports.agents import LanguageModel, Message, Reply, ToolCall, ToolText

if TYPE_CHECKING:
    from valetkey import FunctionTool, Pocket
    from valetkey.wiring.system import System

QUESTION = "What are the 2 newest messages in my mailbox?"
PROVIDER = "acme_mail"
SCOPE = "mail.read"
_API_TIMEOUT = 5.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What both runs of the program are told.

    Attributes:
        folder: the data folder.
        port: where the program serves its own pages, on loopback.
        api_url: the mailbox.
    """

    folder: str
    port: int
    authorize_url: str
    token_url: str
    issuer: str
    api_url: str
    client_id: str
    client_secret: str = field(repr=False)


def open_system(data: str, port: int) -> System:
    """Make this process's system of the demo's own settings, and of nothing else that may be set here.

    Args:
        data: the data folder.
        port: where the program serves its own pages, on loopback.
    """
    from valetkey.settings.pocket import Config
    from valetkey.wiring import build

    folder = Path(data)
    # Plain http on loopback: the browser has no certificate to warn of.
    config = Config.load(
        folder,
        {},
        internal_server_port=port,
        public_server_port=port,
        public_server_protocol="http",
        enable_local_callback_proxy=False,
    )
    system = build.build(config, folder=folder, environ={})
    build.use(system)
    return system


def close_system() -> None:
    """Close this process's system."""
    from valetkey.wiring import build

    build.use(None)


def mail_tool(setup: Setup) -> FunctionTool:
    """The tool, written as anyone would write it."""
    from valetkey import OAuthHandler, tool

    @tool(
        auth=OAuthHandler(
            name=PROVIDER,
            client_id=setup.client_id,
            client_secret=setup.client_secret,
            scopes=[SCOPE],
            auth_url=setup.authorize_url,
            token_url=setup.token_url,
            issuer=setup.issuer,
        )
    )
    def list_messages(limit: int = 3, **kwargs: str) -> Any:  # noqa: D417  # the token is no argument: models are not told
        """List the newest messages in the mailbox.

        Args:
            limit: how many, at most.
        """
        return _get_json(f"{setup.api_url}?limit={limit}", kwargs["ACME_MAIL_TOKEN"])

    return list_messages


def _get_json(url: str, token: str) -> Any:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_API_TIMEOUT)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != HTTPStatus.OK:
        raise RuntimeError(f"the mail API answered with HTTP status {response.status}")
    return json.loads(body)


class Agent:
    """A model and a Pocket, in conversation with a person. ``messages`` and ``tools`` are all that the model sees."""

    def __init__(self, pocket: Pocket, model: LanguageModel) -> None:
        self._pocket = pocket
        self._model = model
        self.tools = pocket.describe_tools()
        self.messages: list[Message] = []

    def hear(self, text: str) -> None:
        """Take what a person says."""
        self.messages.append(Message(role="user", text=text))

    def think(self) -> Reply:
        """Let the model answer."""
        reply = self._model.reply(self.messages, self.tools)
        self.messages.append(Message(role="assistant", text=reply.text, calls=reply.calls))
        return reply

    async def act(self, calls: Sequence[ToolCall]) -> bool:
        """Make the calls; whether one of them waits for a person."""
        results, waits = [], False
        for call in calls:
            text, waiting = await self._pocket.ainvoke_with_state(call.tool, dict(call.arguments))
            results.append(ToolText(id=call.id, tool=call.tool, text=text))
            waits = waits or waiting
        self.messages.append(Message(role="tool", results=tuple(results)))
        return waits

    @property
    def seen(self) -> str:
        """All that the model saw, as one JSON text."""
        return json.dumps({"tools": self.tools, "messages": [asdict(message) for message in self.messages]})


async def second_run(setup: Setup) -> dict[str, Any]:
    """Ask the same once more, in a new process: ``waited`` tells whether an account was asked for again."""
    from valetkey import Pocket
    from valetkey.wiring.models import language_model

    open_system(setup.folder, setup.port)
    try:
        async with Pocket([mail_tool(setup)]) as pocket:
            agent = Agent(pocket, language_model())
            agent.hear(QUESTION)
            waited = await agent.act(agent.think().calls)
            answer = agent.think().text
            return {"waited": waited, "answer": answer, "seen": agent.seen}
    finally:
        close_system()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(second_run(Setup(**json.load(sys.stdin))))))
