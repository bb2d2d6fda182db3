"""PocketCrewAI: the tools of a Pocket for CrewAI."""

# ruff: noqa: FBT001  # the contract has use_profile as a positional argument

from __future__ import annotations

from typing import Any

from valetkey.entrypoints.pocket.running import run
from valetkey.integrations.framework import THREAD, FrameworkPocket, model_of, not_there
from valetkey.model.connections import DEFAULT_PROFILE
from valetkey.tools.tool import Tool

try:
    from crewai.tools import BaseTool  # type: ignore[import-not-found]  # it lives in an environment of its own
except ImportError as error:
    raise not_there("crewai", error) from error


class PocketTool(BaseTool):  # type: ignore[misc]  # as above
    """One tool of a Pocket, for one owner."""

    pocket: Any
    thread_id: Any = THREAD
    profile: str = DEFAULT_PROFILE

    def _run(self, **arguments: Any) -> str:
        return run(lambda: self._arun(**arguments))

    async def _arun(self, **arguments: Any) -> str:
        # CrewAI tells models that every argument is required: one that is left out comes as null.
        required = self.args_schema.model_json_schema().get("required", ())
        given = {name: value for name, value in arguments.items() if value is not None or name in required}
        outcome = await self.pocket.outcome(self.name, given, self.thread_id, self.profile)
        return str(outcome.told)


class PocketCrewAI(FrameworkPocket):
    """A Pocket that gives CrewAI its tools.

    A missing account is told as a link; the same call works once the person has connected it. A crew has nobody to
    talk to in the middle of its work, so :meth:`init` asks before it begins.
    """

    _who = (THREAD, DEFAULT_PROFILE)

    def init(self, thread_id: str = THREAD, profile: str = DEFAULT_PROFILE) -> None:
        """Connect all accounts in advance: print the links, and wait for the person up to 300 s.

        The tools are for that owner from then on.

        Raises:
            AuthRefused: a person said no; at once.
            AuthExpired: somebody did not answer in time.
        """
        self._who = (thread_id, profile)

        async def connected() -> None:
            for prompt in await self.initialize_tool_auth(thread_id, profile):
                print(prompt, flush=True)  # noqa: T201  # as the contract has it: this is for a person at a terminal
            await self.wait_tool_auth(thread_id, profile)

        run(connected)

    def get_tools(
        self, use_profile: bool | None = None, *, thread_id: str | None = None, profile: str | None = None
    ) -> list[BaseTool]:
        """All tools, in their order, for the owner that is named here or was in :meth:`init`.

        Args:
            use_profile: whether a model may choose between the owner's own profiles; None: as the Pocket is made.
            thread_id: whose accounts the tools use.
            profile: which of them, where there are several at one provider.
        """
        self._choose(use_profile)
        usual, by_default = self._who
        owner, which = usual if thread_id is None else thread_id, profile or by_default
        return [self.get_tool(tool, thread_id=owner, profile=which) for tool in self.tools.values()]

    def get_tool(self, tool: Tool, *, thread_id: str = THREAD, profile: str = DEFAULT_PROFILE) -> BaseTool:
        """One tool, sync and async."""
        return PocketTool(
            name=tool.name,
            description=tool.description,
            args_schema=model_of(self.describe_tool(tool, thread_id)),
            cache_function=_never,
            pocket=self,
            thread_id=thread_id,
            profile=profile,
        )


def _never(_arguments: Any = None, _result: Any = None) -> bool:
    """A link, or one person's data, is no answer to the next call."""
    return False
