"""PocketLangchain: the tools of a Pocket for LangChain."""

# ruff: noqa: FBT001  # the contract has use_profile as a positional argument

from __future__ import annotations

from typing import Any

from valetkey.entrypoints.pocket.running import run
from valetkey.integrations.framework import THREAD, FrameworkPocket, not_there, who
from valetkey.tools.tool import Tool

try:
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import BaseTool, StructuredTool
except ImportError as error:
    raise not_there("langchain", error) from error


class PocketTool(StructuredTool):
    """A tool whose arguments travel as one value: none is taken for something of the framework's, whatever its name."""

    def _to_args_and_kwargs(
        self, tool_input: str | dict[str, Any], tool_call_id: str | None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        return (), {"arguments": self._parse_input(tool_input, tool_call_id)}


class PocketLangchain(FrameworkPocket):
    """A Pocket that gives LangChain its tools.

    Whose accounts they use stands in ``config["configurable"]`` of the call: ``thread_id``, or ``user``, the
    ``UserInfo`` of somebody who signed in; and ``profile``. A missing account is told as a link; the same call works
    once the person has connected it.
    """

    def get_tools(self, use_profile: bool | None = None, *, thread_id: str = THREAD) -> list[BaseTool]:
        """All tools, in their order.

        Args:
            use_profile: whether a model may choose between the owner's own profiles; None: as the Pocket is made.
            thread_id: whose profiles the model is told of, where it may choose.
        """
        self._choose(use_profile)
        return [self.get_tool(tool, thread_id=thread_id) for tool in self.tools.values()]

    def get_tool(self, tool: Tool, *, thread_id: str = THREAD) -> BaseTool:
        """One tool, sync and async."""
        described = self.describe_tool(tool, thread_id)

        async def call(arguments: dict[str, Any], config: RunnableConfig) -> str:
            outcome = await self.outcome(tool.name, arguments, *who(config.get("configurable")))
            return outcome.told

        def call_and_wait(arguments: dict[str, Any], config: RunnableConfig) -> str:
            return run(lambda: call(arguments, config))

        return PocketTool(
            name=tool.name,
            description=tool.description,
            args_schema=described["parameters"],
            func=call_and_wait,
            coroutine=call,
        )
