"""PocketGemini: the tools of a Pocket for Google's Gemini API."""

# ruff: noqa: FBT001  # the contract has use_profile as a positional argument

from __future__ import annotations

from valetkey.entrypoints.pocket.running import run
from valetkey.integrations.framework import THREAD, FrameworkPocket, not_there
from valetkey.model.connections import DEFAULT_PROFILE

try:
    from google.genai.types import FunctionCall, FunctionDeclaration, FunctionResponse, Part, Tool
except ImportError as error:
    raise not_there("gemini", error) from error


class PocketGemini(FrameworkPocket):
    """A Pocket that tells Gemini of its tools, and answers its function calls.

    A missing account is told as a link; the same call works once the person has connected it.
    """

    def get_gemini_tool_specs(self, use_profile: bool | None = None, *, thread_id: str = THREAD) -> list[Tool]:
        """What ``GenerateContentConfig(tools=…)`` takes: one tool that declares all functions, in their order.

        Args:
            use_profile: whether a model may choose between the owner's own profiles; None: as the Pocket is made.
            thread_id: whose profiles the model is told of, where it may choose.
        """
        declared = [
            FunctionDeclaration(
                name=told["name"], description=told["description"], parameters_json_schema=told["parameters"]
            )
            for told in self.describe(use_profile, thread_id)
        ]
        return [Tool(function_declarations=declared)] if declared else []

    async def ainvoke(  # type: ignore[override]  # the contract's signature: a function call, not a name and a body
        self, function_call: FunctionCall, thread_id: str = THREAD, profile: str = DEFAULT_PROFILE
    ) -> Part:
        """Make a function call for that owner; the part that answers it: ``{"result": …}`` or ``{"error": …}``."""
        name = function_call.name or ""
        outcome = await self.outcome(name, function_call.args or {}, thread_id, profile)
        response = {"error" if outcome.failed else "result": outcome.text}
        return Part(function_response=FunctionResponse(id=function_call.id, name=name, response=response))

    def invoke(  # type: ignore[override]  # as above
        self, function_call: FunctionCall, thread_id: str = THREAD, profile: str = DEFAULT_PROFILE
    ) -> Part:
        """The same for synchronous code; works inside a running loop, too, which it blocks meanwhile."""
        return run(lambda: self.ainvoke(function_call, thread_id, profile))
