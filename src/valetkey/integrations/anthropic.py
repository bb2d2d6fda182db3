"""PocketAnthropic: the tools of a Pocket for Anthropic's Messages API."""

# ruff: noqa: FBT001  # the contract has use_profile as a positional argument

from __future__ import annotations

from valetkey.entrypoints.pocket.running import run
from valetkey.integrations.framework import THREAD, FrameworkPocket, not_there
from valetkey.model.connections import DEFAULT_PROFILE

try:
    from anthropic.types import ToolParam, ToolResultBlockParam, ToolUseBlock
except ImportError as error:
    raise not_there("anthropic", error) from error


class PocketAnthropic(FrameworkPocket):
    """A Pocket that tells Claude of its tools, and answers the blocks with which it uses them.

    A missing account is told as a link; the same call works once the person has connected it.
    """

    def get_anthropic_tool_specs(self, use_profile: bool | None = None, *, thread_id: str = THREAD) -> list[ToolParam]:
        """What ``messages.create(tools=…)`` takes, in the order of the tools.

        Args:
            use_profile: whether a model may choose between the owner's own profiles; None: as the Pocket is made.
            thread_id: whose profiles the model is told of, where it may choose.
        """
        return [
            ToolParam(name=told["name"], description=told["description"], input_schema=told["parameters"])
            for told in self.describe(use_profile, thread_id)
        ]

    async def ainvoke(  # type: ignore[override]  # the contract's signature: a block, not a name and a body
        self, tool_use_block: ToolUseBlock, thread_id: str = THREAD, profile: str = DEFAULT_PROFILE
    ) -> ToolResultBlockParam:
        """Make the call of a ``tool_use`` block for that owner; the block that answers it."""
        outcome = await self.outcome(tool_use_block.name, tool_use_block.input, thread_id, profile)
        return ToolResultBlockParam(
            type="tool_result", tool_use_id=tool_use_block.id, content=outcome.told, is_error=outcome.failed
        )

    def invoke(  # type: ignore[override]  # as above
        self, tool_use_block: ToolUseBlock, thread_id: str = THREAD, profile: str = DEFAULT_PROFILE
    ) -> ToolResultBlockParam:
        """The same for synchronous code; works inside a running loop, too, which it blocks meanwhile."""
        return run(lambda: self.ainvoke(tool_use_block, thread_id, profile))
