"""Pocket: tools, the accounts they need, and the road between them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from valetkey.entrypoints.pocket import folders, profiles
from valetkey.entrypoints.pocket.auth import PocketAuth
from valetkey.entrypoints.pocket.decorators import from_func
from valetkey.entrypoints.pocket.grouping import merge_needs
from valetkey.entrypoints.pocket.prompt import AuthPrompt
from valetkey.entrypoints.pocket.running import run
from valetkey.entrypoints.pocket.services import TakesServices
from valetkey.entrypoints.pocket.text import text_of
from valetkey.errors import AuthRequired, DuplicateTool, InvalidArguments, UnknownTool
from valetkey.identity.verifiers.vouched import HOST, named, owner_of
from valetkey.model.caller import Owner
from valetkey.model.calls import Call, Presented, ToolResult
from valetkey.model.connections import DEFAULT_PROFILE
from valetkey.model.interactions import Interaction, InteractionKind
from valetkey.model.needs import Need
from valetkey.providers.names import nearest
from valetkey.tools.function import FunctionTool
from valetkey.tools.tool import Tool

if TYPE_CHECKING:
    from valetkey.pipeline import Render
    from valetkey.wiring.system import System

ToolLike = Tool | Callable[..., Any] | folders.FolderLike

ASKED = 10_000
"""Flows that were begun and not waited for yet, of which a refusal is told as one."""


class Pocket(TakesServices):
    """Holds tools, and calls them with the accounts of whoever ``thread_id`` stands for.

    That is a thread of your program's own; or somebody who signed in, where it is the ``UserInfo`` that
    ``current_user`` gives.

    Args:
        tools: functions, or what ``function_tool`` and ``tool`` made of them.
        auth: how accounts are connected; by default a :class:`PocketAuth`.
        use_profile: whether a model may choose between the owner's own profiles of a provider.
    """

    def __init__(
        self,
        tools: Sequence[ToolLike] | None = None,
        auth: PocketAuth | None = None,
        use_profile: bool = False,  # the contract's signature
    ) -> None:
        self.auth = auth or PocketAuth()
        self.use_profile = use_profile
        self.tools: dict[str, Tool] = {}
        self._asked: dict[tuple[Owner, str, str], Interaction] = {}
        self._system: System | None = None
        self.load_tools(tools or [])

    # Tools ----------------------------------------------------------------------------------------------------------

    def load_tools(self, tools: Sequence[ToolLike] | ToolLike) -> list[Tool]:
        """Add tools, in their order; all or none.

        Raises:
            DuplicateTool: a name is taken.
            InvalidArguments: something is no tool, no function and no folder.
            InvalidSetting, Denied: a folder holds no tool that can be run; code from elsewhere is not approved.
        """
        given = [tools] if folders.is_one(tools) or not isinstance(tools, Sequence) else list(tools)
        loaded = [folders.load(self.system, one) if folders.is_folder(one) else _as_tool(one) for one in given]
        names = [*self.tools, *(tool.name for tool in loaded)]
        for name in names:
            if names.count(name) > 1:
                raise DuplicateTool(f"{name} already exists. duplicated tool name.")
        for tool in loaded:
            if isinstance(tool, FunctionTool) and tool.inline is not None:
                self.system.add_inline(tool.inline)
        self.tools.update({tool.name: tool for tool in loaded})
        return loaded

    def remove_tool(self, tool_name: str) -> bool:
        """Take a tool out; False when there is none of that name."""
        return self.tools.pop(tool_name, None) is not None

    def grouping_tool_by_auth_provider(self) -> dict[str, list[Tool]]:
        """The tools that need an account, by their provider's name in upper case."""
        groups: dict[str, list[Tool]] = {}
        for tool in self.tools.values():
            for need in tool.needs.alternatives[0]:
                groups.setdefault(self._provider_of(need).upper(), []).append(tool)
        return groups

    def describe_tools(self, thread_id: str = "default") -> list[dict[str, Any]]:
        """What a model is told: name, description and parameters (JSON schema) of each tool, and no credential."""
        if not self.use_profile:
            return [profiles.described(tool, None) for tool in self.tools.values()]
        return self.system.home.block(lambda: self._describe_with_profiles(owner_of(thread_id)))

    async def _describe_with_profiles(self, owner: Owner) -> list[dict[str, Any]]:
        tools = self.tools.values()
        return [profiles.described(tool, await profiles.of_tool(self.system, tool, owner)) for tool in tools]

    # Calls ----------------------------------------------------------------------------------------------------------

    async def ainvoke(
        self,
        tool_name: str,
        body: Any,
        thread_id: str = "default",
        profile: str = DEFAULT_PROFILE,
        *args: Any,
        **kwargs: Any,
    ) -> str:
        """Call a tool, and give its result as text; the text of the link, where an account is needed first.

        Raises:
            UnknownTool: this Pocket has no such tool.
            InvalidArguments: ``body`` does not fit the tool.
            MissingSetting: a setting is needed that is not there.
            AmbiguousConnection: several of the person's accounts fit, and ``profile`` names none.
            ProviderUnavailable: a token has ended, and cannot be renewed now.
        """
        return (await self.ainvoke_with_state(tool_name, body, thread_id, profile))[0]

    async def ainvoke_with_state(
        self,
        tool_name: str,
        body: Any,
        thread_id: str = "default",
        profile: str = DEFAULT_PROFILE,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[str, bool]:
        """The same, and whether the call waits for a person (True) or was done (False)."""
        try:
            result = await self.travel(tool_name, body, thread_id, profile, render=text_of)
        except AuthRequired as required:
            await self._remember_all(owner_of(thread_id))
            return str(required), True
        return str(result.value), False

    acall = ainvoke_with_state

    def invoke(
        self,
        tool_name: str,
        body: Any,
        thread_id: str = "default",
        profile: str = DEFAULT_PROFILE,
        *args: Any,
        **kwargs: Any,
    ) -> str:
        """:meth:`ainvoke` for synchronous code; inside a running loop it blocks that loop meanwhile."""
        return run(lambda: self.ainvoke(tool_name, body, thread_id, profile))

    def invoke_with_state(
        self,
        tool_name: str,
        body: Any,
        thread_id: str = "default",
        profile: str = DEFAULT_PROFILE,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[str, bool]:
        """:meth:`ainvoke_with_state` for synchronous code."""
        return run(lambda: self.ainvoke_with_state(tool_name, body, thread_id, profile))

    async def tool_call(
        self,
        tool_name: str,
        body: Any,
        thread_id: str = "default",
        profile: str = DEFAULT_PROFILE,
        *args: Any,
        **kwargs: Any,
    ) -> str:
        """Call a tool whose account is connected; what it gives, as text. After its deadline: ``timeout tool call…``.

        Raises:
            AuthRequired: the account is not connected.
        """
        return str((await self.travel(tool_name, body, thread_id, profile, render=text_of)).value)

    async def travel(
        self, tool_name: str, body: Any, thread_id: str, profile: str, *, render: Render | None = None
    ) -> ToolResult:
        """Take one call down the road, for the tool's own value, or what is rendered of it."""
        tool = self._tool(tool_name)
        if isinstance(tool, FunctionTool) and tool.tool_vars:
            tool = tool.configured(self.system.config.general.tool_vars)
        arguments = _arguments(body)
        chosen, owner = profiles.named(profile), owner_of(thread_id)
        if self.use_profile and "profile" in arguments and profiles.takes_profile(tool):
            chosen = await profiles.chosen(self.system, tool, owner, arguments.pop("profile")) or chosen
        call = Call(
            tool=tool_name,
            needs=tool.needs,
            arguments=arguments,
            profile=chosen,
            entrance="pocket",
            conversation=f"{owner.issuer}\0{owner.subject}",
            deadline=tool.deadline,
        )
        presented = Presented(scheme=HOST, value=named(thread_id))
        return await self.system.road.travel(presented, tool, call, render=render)

    # Accounts -------------------------------------------------------------------------------------------------------

    async def initialize_tool_auth(
        self, thread_id: str = "default", profile: str = DEFAULT_PROFILE
    ) -> list[AuthPrompt]:
        """Begin, for every provider of the tools whose account is not there: one link each, for all scopes together.

        Raises:
            AmbiguousConnection: several accounts are there, and ``profile`` names none.
        """
        prompts = []
        for need in self._needs(list(self.tools)):
            interaction = await self._begin(need, thread_id, profile)
            if interaction is not None:
                asked = self.system.connecting.invitation(interaction)
                prompts.append(AuthPrompt.of(self._provider_of(need), asked))
        return prompts

    async def wait_tool_auth(self, thread_id: str = "default", profile: str = DEFAULT_PROFILE) -> bool:
        """Wait until every account of the tools is connected: True.

        Raises:
            AuthRefused: a person said no; at once.
            AuthExpired: somebody did not answer within 300 s.
            InvalidAuthState: an account is missing and was not begun.
            AmbiguousConnection: several accounts are there, and ``profile`` names none.
        """
        needs = self._needs(list(self.tools))
        tasks = [asyncio.ensure_future(self._authenticated(need, thread_id, profile)) for need in needs]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return True

    async def prepare_auth(
        self,
        tool_name: str | list[str],
        thread_id: str = "default",
        profile: str = DEFAULT_PROFILE,
        **kwargs: Any,
    ) -> str | None:
        """Begin for one tool or several: the text with the link; None when no person is needed."""
        names = [tool_name] if isinstance(tool_name, str) else tool_name
        for need in self._needs(names):
            interaction = await self._begin(need, thread_id, profile)
            if interaction is not None:
                return self.system.connecting.invitation(interaction).text
        return None

    async def authenticate(
        self, tool_name: str, thread_id: str = "default", profile: str = DEFAULT_PROFILE, **kwargs: Any
    ) -> dict[str, str]:
        """Wait for the tool's accounts; their credentials by variable name, for the host program."""
        variables: dict[str, str] = {}
        for need in self._needs([tool_name]):
            connection = await self._authenticated(need, thread_id, profile)
            handler = self.system.handling.find(connection.handler, connection.provider)
            credential = self.system.sealer.open_credential(connection)
            variables.update(handler.context(credential, connection).to_dict())
        return variables

    async def _begin(self, need: Need, thread_id: str, profile: str) -> Interaction | None:
        if profiles.named(profile) is None and await self.system.connector.usual(owner_of(thread_id), need) is not None:
            return None
        interaction = await self.auth.begin(need, thread_id, profile)
        if interaction is not None:
            self._remember(owner_of(thread_id), profile, self._provider_of(need), interaction)
        return interaction

    async def _remember_all(self, owner: Owner) -> None:
        """Whoever waits next hears a refusal as one, even when it came before."""
        for flow in await self.system.interactions.of_owner(owner, InteractionKind.CONNECT):
            self._remember(owner, str(flow.about["profile"]), str(flow.about["provider"]), flow)

    def _remember(self, owner: Owner, profile: str, provider: str, interaction: Interaction) -> None:
        self._asked[owner, profile, provider] = interaction
        if len(self._asked) > ASKED:
            self._asked.pop(next(iter(self._asked)))  # nobody waits for the oldest any more

    async def _authenticated(self, need: Need, thread_id: str, profile: str) -> Any:
        system, owner = self.system, owner_of(thread_id)
        asked = self._asked.get((owner, profile, self._provider_of(need)))
        usual = await system.connector.usual(owner, need) if profiles.named(profile) is None else None
        held = profile if usual is None else usual.profile
        try:
            return await system.connecting.authenticate(owner, need, held, asked=asked)
        finally:
            self._asked.pop((owner, profile, self._provider_of(need)), None)

    def _needs(self, names: Sequence[str]) -> list[Need]:
        return merge_needs([(name, self._tool(name).needs) for name in names], self._provider_of)

    def _provider_of(self, need: Need) -> str:
        return need.provider or self.system.handling.find(need.handler, None).provider.name

    def _tool(self, tool_name: str) -> Tool:
        tool = self.tools.get(tool_name) if isinstance(tool_name, str) else None
        if tool is None:
            raise UnknownTool(
                f"This Pocket has no tool {tool_name!r}.{nearest(tool_name, self.tools)} "
                f"It has: {', '.join(self.tools) or 'none'}."
            )
        return tool

    # Life -----------------------------------------------------------------------------------------------------------

    @property
    def system(self) -> System:
        """The parts that this works with; made at first need, and anew after a fork or ``mount_valetkey``."""
        if self._system is None or not self._system.ours:
            self._system = self.auth.system
            self._system.links.hold(self)
            for tool in self.tools.values():
                if isinstance(tool, FunctionTool) and tool.inline is not None:
                    self._system.add_inline(tool.inline)
        return self._system

    def teardown(self) -> None:
        """Stop the callback server, unless another Pocket still uses it. Nothing that waits is lost."""
        if self._system is not None:
            self._system.links.let_go(self)
            self._system = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.teardown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.teardown)


def _as_tool(one: object) -> Tool:
    if isinstance(one, Tool):
        return one
    if callable(one):
        return from_func(one)
    kind = type(one).__name__
    raise InvalidArguments(f"A tool is a function, or what function_tool or tool made of one; this is {kind}.")


def _arguments(body: Any) -> dict[str, Any]:
    if body is None:
        return {}
    if isinstance(body, str):
        try:
            body = json.loads(body or "{}")
        except (ValueError, RecursionError):
            raise InvalidArguments("The body is text and no JSON. Give an object of arguments.") from None
    if hasattr(body, "model_dump"):
        body = body.model_dump(exclude_unset=True)
    if not isinstance(body, Mapping):
        kind = type(body).__name__
        raise InvalidArguments(f"The body has to be an object of arguments; this is {kind}.")
    return dict(body)
