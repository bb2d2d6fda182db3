"""PocketOpenAI: the tools of a Pocket for OpenAI's chat completions and for OpenAI Agents."""

# ruff: noqa: FBT001  # the contract has use_profile as a positional argument

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from valetkey.entrypoints.pocket.running import run
from valetkey.errors import ModelError
from valetkey.integrations.framework import THREAD, FrameworkPocket, not_there
from valetkey.model.connections import DEFAULT_PROFILE
from valetkey.tools.tool import Tool

try:
    from openai import AsyncOpenAI, OpenAI
    from openai.types.chat import ChatCompletionMessage, ChatCompletionMessageToolCallUnion
except ImportError as error:
    raise not_there("openai", error) from error

if TYPE_CHECKING:
    from agents import FunctionTool, RunContextWrapper
    from agents.tool_context import ToolContext

ROUNDS = 50
"""Answers in a row in which a model asks for tools, before :func:`handle_tool_call` gives up."""

Runs = Callable[["ToolContext[Any]", str], Awaitable[str]]


class PocketOpenAI(FrameworkPocket):
    """A Pocket that tells OpenAI's models of its tools, and answers their calls.

    A missing account is told as a link; the same call works once the person has connected it.
    """

    def get_open_ai_tool_specs(
        self, use_profile: bool | None = None, *, thread_id: str = THREAD
    ) -> list[dict[str, Any]]:
        """What ``chat.completions.create(tools=…)`` takes, in the order of the tools.

        Args:
            use_profile: whether a model may choose between the owner's own profiles; None: as the Pocket is made.
            thread_id: whose profiles the model is told of, where it may choose.
        """
        return [_spec(told) for told in self.describe(use_profile, thread_id)]

    def get_open_ai_tool_spec(self, tool: Tool, *, thread_id: str = THREAD) -> dict[str, Any]:
        """The same of one tool."""
        return _spec(self.describe_tool(tool, thread_id))

    async def ainvoke(  # type: ignore[override]  # the contract's signature: a call, not a name and a body
        self,
        tool_call: ChatCompletionMessageToolCallUnion,
        thread_id: str | None = None,
        profile: str | None = None,
    ) -> dict[str, str]:
        """Make a model's call for that owner; the message that answers it."""
        if tool_call.type == "function":
            name, arguments = tool_call.function.name, tool_call.function.arguments
            text = await self._called(name, arguments, thread_id or THREAD, profile or DEFAULT_PROFILE)
        else:
            text = f"There is no custom tool here: {', '.join(self.tools)} are functions."
        return {"role": "tool", "content": text, "tool_call_id": tool_call.id}

    def invoke(  # type: ignore[override]  # as above
        self,
        tool_call: ChatCompletionMessageToolCallUnion,
        thread_id: str | None = None,
        profile: str | None = None,
    ) -> dict[str, str]:
        """The same for synchronous code; works inside a running loop, too, which it blocks meanwhile."""
        return run(lambda: self.ainvoke(tool_call, thread_id, profile))

    async def init_auth_async(self, thread_id: str = THREAD, profile: str = DEFAULT_PROFILE) -> None:
        """Connect all accounts in advance: print the links, and wait for the person up to 300 s.

        Raises:
            AuthRefused: a person said no; at once.
            AuthExpired: somebody did not answer in time.
        """
        for prompt in await self.initialize_tool_auth(thread_id, profile):
            print(prompt, flush=True)  # noqa: T201  # as the contract has it: this is for a person at a terminal
        await self.wait_tool_auth(thread_id, profile)

    def get_openai_agents_tools(
        self,
        use_profile: bool | None = None,
        *,
        thread_id: str = THREAD,
        profile: str = DEFAULT_PROFILE,
        should_interrupt: bool = False,
    ) -> list[FunctionTool]:
        """The tools for an ``Agent(tools=…)`` of OpenAI Agents, in their order, for that owner.

        Args:
            use_profile: whether a model may choose between the owner's own profiles; None: as the Pocket is made.
            thread_id: whose accounts the tools use.
            profile: which of them, where there are several at one provider.
            should_interrupt: a call whose account is missing interrupts the run: it is among
                ``result.interruptions``, :meth:`prepare_auth` has its link, and ``state.approve(…)`` goes on once the
                person has connected it. Otherwise the link is the tool's answer.
        """
        try:
            from agents import FunctionTool
        except ImportError as error:
            raise not_there("openai", error) from error
        return [
            FunctionTool(
                name=told["name"],
                description=told["description"],
                params_json_schema=told["parameters"],
                on_invoke_tool=self.create_run_function(_spec(told), thread_id=thread_id, profile=profile),
                strict_json_schema=False,  # a strict schema makes every argument required: defaults would be lost
                needs_approval=self._waiting(told["name"], thread_id, profile) if should_interrupt else False,
            )
            for told in self.describe(use_profile, thread_id)
        ]

    def create_run_function(
        self, spec: Mapping[str, Any], *, thread_id: str = THREAD, profile: str = DEFAULT_PROFILE
    ) -> Runs:
        """What OpenAI Agents call for the tool of that spec, with the arguments as JSON."""
        name = str(spec["function"]["name"])

        async def run_function(_context: ToolContext[Any], arguments: str) -> str:
            return await self._called(name, arguments, thread_id, profile)

        return run_function

    def _waiting(
        self, name: str, thread_id: str, profile: str
    ) -> Callable[[RunContextWrapper[Any], dict[str, Any], str], Awaitable[bool]]:
        async def waits(_context: RunContextWrapper[Any], arguments: dict[str, Any], _call_id: str) -> bool:
            return any(await self.missing([(name, arguments)], thread_id, profile))

        return waits

    async def _called(self, name: str, arguments: str, thread_id: str, profile: str) -> str:
        return (await self.outcome(name, arguments, thread_id, profile)).text


def handle_tool_call(
    llm: OpenAI,
    pocket: PocketOpenAI,
    model: str,
    tool_specs: list[Any],
    messages: list[Any],
    *,
    thread_id: str = THREAD,
    profile: str = DEFAULT_PROFILE,
) -> str | None:
    """Ask the model, make the calls that it asks for, and go on until it answers; all is appended to ``messages``.

    Raises:
        ModelError: the model asks for tools without end.
    """
    for _ in range(ROUNDS):
        message = llm.chat.completions.create(model=model, messages=messages, tools=tool_specs).choices[0].message
        messages.append(_kept(message))
        if not message.tool_calls:
            return message.content
        messages.extend(pocket.invoke(call, thread_id, profile) for call in message.tool_calls)
    raise _endless(model)


async def handle_tool_call_async(
    llm: AsyncOpenAI,
    pocket: PocketOpenAI,
    model: str,
    tool_specs: list[Any],
    messages: list[Any],
    *,
    thread_id: str = THREAD,
    profile: str = DEFAULT_PROFILE,
) -> str | None:
    """:func:`handle_tool_call` for asynchronous code.

    Raises:
        ModelError: the model asks for tools without end.
    """
    for _ in range(ROUNDS):
        completion = await llm.chat.completions.create(model=model, messages=messages, tools=tool_specs)
        message = completion.choices[0].message
        messages.append(_kept(message))
        if not message.tool_calls:
            return message.content
        messages.extend([await pocket.ainvoke(call, thread_id, profile) for call in message.tool_calls])
    raise _endless(model)


def _spec(told: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": dict(told)}


def _kept(message: ChatCompletionMessage) -> dict[str, Any]:
    return message.model_dump(exclude_none=True)


def _endless(model: str) -> ModelError:
    return ModelError(f"{model} asked for tools in {ROUNDS} answers in a row, and gave none without.")
