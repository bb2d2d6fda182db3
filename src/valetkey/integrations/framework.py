"""What the frameworks' Pockets share: tools as they are told, calls that a model made, and accounts asked for first."""

# ruff: noqa: FBT001  # the contract has use_profile as a positional argument

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from valetkey.entrypoints.pocket import profiles
from valetkey.entrypoints.pocket.pocket import Pocket
from valetkey.entrypoints.pocket.prompt import AuthPrompt
from valetkey.entrypoints.pocket.text import text_of
from valetkey.errors import (
    AmbiguousConnection,
    ApprovalRequired,
    AuthRequired,
    Denied,
    InvalidArguments,
    NotFound,
    ProviderUnavailable,
    RateLimited,
    RefreshFailed,
    UnknownTool,
)
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import DEFAULT_PROFILE
from valetkey.tools.tool import Tool

THREAD = "default"

RESUME = "\n\nThe tool execution interrupted. Please talk to me to resume."
"""What a model is told after the link, so that it tells the person and waits."""

TOLD = (
    AmbiguousConnection,
    Denied,
    InvalidArguments,
    NotFound,
    ProviderUnavailable,
    RateLimited,
    RefreshFailed,
    UnknownTool,
)
"""Errors that a model hears: it named the tool and the arguments, and may do better. Others are the program's."""

Asked = tuple[str, Mapping[str, Any]]
"""A tool call of a model: the name and the arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a model's call ended.

    Attributes:
        text: the result, the reason or the invitation with the link; scrubbed.
        waits: whether a person has to answer first.
        failed: whether it is the reason why there is no result.
    """

    text: str
    waits: bool = False
    failed: bool = False

    @property
    def told(self) -> str:
        """The text, and how to go on where a person has to answer first."""
        return self.text + RESUME if self.waits else self.text


class FrameworkPocket(Pocket):
    """A Pocket whose calls are made by a model, through a framework; see :class:`Pocket` for its arguments.

    Whose accounts are used is never the model's to say: it comes from the host program, as the framework hands it on.
    """

    def describe(self, use_profile: bool | None, thread_id: str) -> list[dict[str, Any]]:
        """What a model is told of each tool, in their order: name, description, parameters."""
        self._choose(use_profile)
        return self.describe_tools(thread_id)

    def describe_tool(self, tool: Tool, thread_id: str = THREAD) -> dict[str, Any]:
        """The same of one tool."""
        if not self.use_profile:
            return profiles.described(tool, None)
        system, owner = self.system, owner_of(thread_id)
        return profiles.described(tool, system.home.block(lambda: profiles.of_tool(system, tool, owner)))

    def _choose(self, use_profile: bool | None) -> None:
        if use_profile is not None:
            self.use_profile = use_profile

    async def outcome(self, name: str, arguments: Any, thread_id: str, profile: str) -> Outcome:
        """Make a model's call; what the model did wrong is told to it, and what the program did wrong is raised.

        Raises:
            MissingSetting: a setting is needed that is not there.
            Unauthenticated: ``thread_id`` is no owner.
        """
        try:
            result = await self.travel(name, arguments, thread_id, profile, render=text_of)
        except AuthRequired as required:
            await self._remember_all(owner_of(thread_id))
            return Outcome(text=str(required), waits=True)
        except ApprovalRequired as required:
            return Outcome(text=f"{required} {required.url}", waits=True)
        except TOLD as error:
            return Outcome(text=str(error), failed=True)
        return Outcome(text=str(result.value), failed=result.failed)

    async def missing(self, calls: Sequence[Asked], thread_id: str, profile: str) -> list[AuthPrompt | None]:
        """Begin for all of a turn's calls together, before one of them runs: the link that each waits for, or None.

        Calls that need the same account get one link, for the scopes of all.
        """
        chosen = [await self._profile_of(name, arguments, thread_id, profile) for name, arguments in calls]
        prompts: dict[tuple[str, str], AuthPrompt] = {}
        for one in dict.fromkeys(chosen):
            names = [name for (name, _), other in zip(calls, chosen, strict=True) if other == one]
            try:
                for need in self._needs([name for name in dict.fromkeys(names) if name in self.tools]):
                    interaction = await self._begin(need, thread_id, one)
                    if interaction is not None:
                        provider = self._provider_of(need)
                        prompts[one, provider] = AuthPrompt.of(provider, self.system.connecting.invitation(interaction))
            except TOLD:
                continue  # the call itself tells the model
        return [self._first(prompts, name, one) for (name, _), one in zip(calls, chosen, strict=True)]

    def _first(self, prompts: Mapping[tuple[str, str], AuthPrompt], name: str, profile: str) -> AuthPrompt | None:
        needs = self._needs([name]) if name in self.tools else []
        asked = (prompts.get((profile, self._provider_of(need))) for need in needs)
        return next((prompt for prompt in asked if prompt is not None), None)

    async def _profile_of(self, name: str, arguments: Mapping[str, Any], thread_id: str, profile: str) -> str:
        tool = self.tools.get(name)
        if tool is None or not self.use_profile or not profiles.takes_profile(tool):
            return profile
        try:
            named = await profiles.chosen(self.system, tool, owner_of(thread_id), arguments.get("profile"))
        except InvalidArguments:
            return profile  # as above
        return named or profile


class Arguments(BaseModel):
    """Arguments as the model sent them: the tool itself judges them, by the schema that the model was told."""

    model_config = ConfigDict(extra="allow")


def model_of(described: Mapping[str, Any]) -> type[BaseModel]:
    """A class for frameworks that want one: it takes all arguments, and its JSON schema is the tool's own."""
    schema = {"type": "object", **described["parameters"]}

    class Told(Arguments):
        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ARG003  # as pydantic has it
            return deepcopy(schema)  # frameworks change what they get

    Told.__name__ = Told.__qualname__ = f"{described['name']}_arguments"
    return Told


def not_there(extra: str, error: ImportError) -> ImportError:
    """What to raise where a framework is not installed."""
    return ImportError(f"{error.name} is not installed. Run: pip install 'valetkey[{extra}]'", name=error.name)


def who(configurable: Mapping[str, Any] | None) -> tuple[Any, str]:
    """Whose call it is and by which profile, by what the host program put into ``configurable``.

    ``user`` is a ``UserInfo`` of somebody who signed in; without one it is ``thread_id``.
    """
    given = configurable or {}
    thread_id = given.get("user") if given.get("user") is not None else given.get("thread_id", THREAD)
    return thread_id, given.get("profile") or DEFAULT_PROFILE
