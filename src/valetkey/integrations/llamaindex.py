"""PocketLlamaindex: the tools of a Pocket for LlamaIndex."""

# ruff: noqa: FBT001  # the contract has use_profile as a positional argument

from __future__ import annotations

from typing import Any

from valetkey.entrypoints.pocket.running import run
from valetkey.integrations.framework import THREAD, FrameworkPocket, model_of, not_there
from valetkey.model.connections import DEFAULT_PROFILE
from valetkey.tools.tool import Tool

try:
    from llama_index.core.tools import FunctionTool, ToolMetadata
except ImportError as error:
    raise not_there("llamaindex", error) from error


class PocketLlamaindex(FrameworkPocket):
    """A Pocket that gives LlamaIndex its tools.

    A missing account is told as a link; the same call works once the person has connected it.
    """

    def get_tools(
        self, use_profile: bool | None = None, *, thread_id: str = THREAD, profile: str = DEFAULT_PROFILE
    ) -> list[FunctionTool]:
        """All tools, in their order, for that owner.

        Args:
            use_profile: whether a model may choose between the owner's own profiles; None: as the Pocket is made.
            thread_id: whose accounts the tools use.
            profile: which of them, where there are several at one provider.
        """
        self._choose(use_profile)
        return [self.get_tool(tool, thread_id=thread_id, profile=profile) for tool in self.tools.values()]

    def get_tool(self, tool: Tool, *, thread_id: str = THREAD, profile: str = DEFAULT_PROFILE) -> FunctionTool:
        """One tool, sync and async."""
        described = self.describe_tool(tool, thread_id)

        async def call(**arguments: Any) -> str:
            return (await self.outcome(tool.name, arguments, thread_id, profile)).told

        def call_and_wait(**arguments: Any) -> str:
            return run(lambda: call(**arguments))

        metadata = ToolMetadata(name=tool.name, description=tool.description, fn_schema=model_of(described))
        return FunctionTool(fn=call_and_wait, async_fn=call, metadata=metadata)
