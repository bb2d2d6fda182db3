"""PocketPydanticAI: the tools of a Pocket for Pydantic AI, as a toolset."""

# ruff: noqa: FBT001  # the contract has use_profile as a positional argument

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import SchemaValidator, core_schema

from valetkey.identity.verifiers.vouched import owner_of
from valetkey.integrations.framework import THREAD, FrameworkPocket, not_there
from valetkey.model.connections import DEFAULT_PROFILE

try:
    from pydantic_ai import RunContext
    from pydantic_ai.exceptions import ApprovalRequired
    from pydantic_ai.tools import ToolDefinition
    from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
except ImportError as error:
    raise not_there("pydantic-ai", error) from error

Whose = str | Callable[[RunContext[Any]], Any]
"""A ``thread_id``; or what finds it, or a ``UserInfo``, in the ``deps`` of a run."""

AS_SENT = SchemaValidator(core_schema.dict_schema(core_schema.str_schema()))
"""The tool itself judges its arguments."""


@dataclass(kw_only=True)
class PocketToolset(AbstractToolset[Any]):
    """The tools of a Pocket, for one owner or for whomever a run is for.

    Attributes:
        pocket: whose tools they are.
        whose: whose accounts they use.
        profile: which of them, where there are several at one provider.
        should_interrupt: whether a missing account defers the call instead of answering it with the link.
    """

    pocket: PocketPydanticAI
    whose: Whose
    profile: str
    should_interrupt: bool

    @property
    def id(self) -> str | None:
        """No name: durable execution would run the tools where their accounts are not."""
        return None

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        """The tools as this run's owner may use them, in their order."""
        told = await self.pocket.describe_for(self._owner(ctx))
        return {
            one["name"]: ToolsetTool(
                toolset=self,
                tool_def=ToolDefinition(
                    name=one["name"], description=one["description"], parameters_json_schema=one["parameters"]
                ),
                max_retries=1,
                args_validator=AS_SENT,
            )
            for one in told
        }

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> str:
        """Make a call for this run's owner.

        Raises:
            ApprovalRequired: an account is missing, and the call is deferred; the link is in its metadata.
        """
        owner = self._owner(ctx)
        if self.should_interrupt:
            (prompt,) = await self.pocket.missing([(name, tool_args)], owner, self.profile)
            if prompt is not None:
                raise ApprovalRequired({"message": str(prompt), "provider": prompt.provider, "url": prompt.url})
        return (await self.pocket.outcome(name, tool_args, owner, self.profile)).told

    def _owner(self, ctx: RunContext[Any]) -> Any:
        return self.whose(ctx) if callable(self.whose) else self.whose


class PocketPydanticAI(FrameworkPocket):
    """A Pocket that gives Pydantic AI its tools."""

    def get_toolset(
        self,
        use_profile: bool | None = None,
        *,
        thread_id: Whose = THREAD,
        profile: str = DEFAULT_PROFILE,
        should_interrupt: bool = False,
    ) -> PocketToolset:
        """The tools for ``Agent(toolsets=[…])`` or for one run.

        Args:
            use_profile: whether a model may choose between the owner's own profiles; None: as the Pocket is made.
            thread_id: whose accounts the tools use; or a function of the run's context, for an agent that serves
                many: ``lambda ctx: ctx.deps.user``.
            profile: which of them, where there are several at one provider.
            should_interrupt: a call whose account is missing ends the run with ``DeferredToolRequests`` (name it
                among the agent's output types), whose ``metadata`` has the link. Approve the call in
                ``deferred_tool_results`` once the person has connected the account, in another process, too.
                Otherwise the link is the tool's answer.
        """
        self._choose(use_profile)
        return PocketToolset(pocket=self, whose=thread_id, profile=profile, should_interrupt=should_interrupt)

    async def describe_for(self, thread_id: Any) -> list[dict[str, Any]]:
        """What a model is told of each tool, with the profiles of that owner where it may choose."""
        if not self.use_profile:
            return self.describe_tools()
        return await self._describe_with_profiles(owner_of(thread_id))
