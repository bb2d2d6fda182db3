"""PocketLanggraph: a tool node that interrupts its graph where a person has to connect an account first."""

# ruff: noqa: FBT001, FBT002  # the contract has use_profile as a positional argument

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from valetkey.entrypoints.pocket.prompt import AuthPrompt
from valetkey.entrypoints.pocket.running import run
from valetkey.integrations.framework import RESUME, not_there, who
from valetkey.integrations.langchain import PocketLangchain

try:
    from langchain_core.messages import AIMessage, ToolCall, ToolMessage
    from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
    from langgraph.graph import MessagesState
    from langgraph.types import interrupt
except ImportError as error:
    raise not_there("langgraph", error) from error

READY = "prepare done. This call was not made: another one waits for a person. Make both again afterwards."


class PocketLanggraphBaseState(MessagesState):
    """The state that the tool node reads and writes: ``messages``."""


class PocketLanggraph(PocketLangchain):
    """A Pocket that gives LangGraph its tools and a node that calls them.

    Whose accounts they use stands in ``config["configurable"]``: ``thread_id``, or ``user`` as for
    :class:`PocketLangchain`; and ``profile``.
    """

    def get_tool_node(
        self, should_interrupt: bool = False, use_profile: bool | None = None
    ) -> Runnable[Any, dict[str, list[ToolMessage]]]:
        """A node that makes the calls of the last message; sync and async.

        The accounts of all calls are looked for before one is made, so that none is made twice. Where one is missing:

        Args:
            should_interrupt: the graph is interrupted, with ``{"message": …, "connect": [{"provider", "url", …}, …]}``,
                and ``Command(resume=…)`` goes on once the person has connected it: in another process, too, where the
                checkpointer keeps its state. Otherwise no call is made, and the link is the tools' answer.
            use_profile: whether the model may choose between the owner's own profiles; None: as the Pocket is made.
        """
        self._choose(use_profile)

        def node(state: dict[str, Any], config: RunnableConfig) -> dict[str, list[ToolMessage]]:
            calls = _calls(state)
            asked = run(lambda: self._asked_first(calls, config))
            while should_interrupt and any(asked):
                interrupt(_question(asked))  # raises, until it is resumed
                asked = run(lambda: self._asked_first(calls, config))
            return run(lambda: self._answers(calls, asked, config))

        async def anode(state: dict[str, Any], config: RunnableConfig) -> dict[str, list[ToolMessage]]:
            calls = _calls(state)
            asked = await self._asked_first(calls, config)
            while should_interrupt and any(asked):
                interrupt(_question(asked))
                asked = await self._asked_first(calls, config)
            return await self._answers(calls, asked, config)

        return RunnableLambda(node, anode, name="tools")

    async def _asked_first(self, calls: Sequence[ToolCall], config: RunnableConfig) -> list[AuthPrompt | None]:
        named = [(call["name"], call["args"]) for call in calls]
        return await self.missing(named, *who(config.get("configurable")))

    async def _answers(
        self, calls: Sequence[ToolCall], asked: Sequence[AuthPrompt | None], config: RunnableConfig
    ) -> dict[str, list[ToolMessage]]:
        if any(asked):
            texts = [READY if prompt is None else f"{prompt}{RESUME}" for prompt in asked]
            return {"messages": [_message(call, text) for call, text in zip(calls, texts, strict=True)]}
        made = await asyncio.gather(*(self._answer(call, config) for call in calls))
        return {"messages": list(made)}

    async def _answer(self, call: ToolCall, config: RunnableConfig) -> ToolMessage:
        outcome = await self.outcome(call["name"], call["args"], *who(config.get("configurable")))
        return _message(call, outcome.told, failed=outcome.failed)


def _calls(state: dict[str, Any]) -> list[ToolCall]:
    last = state["messages"][-1]
    return last.tool_calls if isinstance(last, AIMessage) else []


def _question(asked: Sequence[AuthPrompt | None]) -> dict[str, Any]:
    prompts = list(dict.fromkeys(prompt for prompt in asked if prompt is not None))
    connect = [
        {name: getattr(prompt, name) for name in ("provider", "url", "user_code", "verification_uri")}
        for prompt in prompts
    ]
    return {"message": "\n".join(prompts), "connect": connect}


def _message(call: ToolCall, text: str, *, failed: bool = False) -> ToolMessage:
    status = "error" if failed else "success"
    return ToolMessage(content=text, name=call["name"], tool_call_id=call["id"] or "", status=status)
