"""What a model thought before it called tools: some want it back with the results, signed as they gave it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from pydantic_ai.messages import ModelResponse, ModelResponsePart, TextPart, ThinkingPart, ToolCallPart

KEPT = 256
"""Answers of the newest rounds; a turn that is older goes on without its thoughts."""


class Thoughts:
    """Answers with calls, by the ids of their calls, as long as their turn may go on.

    Only what cannot be told otherwise is taken from them: thoughts and signatures. Text and calls are those of the
    conversation, which was scrubbed.
    """

    def __init__(self) -> None:
        self._answers: OrderedDict[str, ModelResponse] = OrderedDict()

    def keep(self, response: ModelResponse, calls: Sequence[ToolCallPart]) -> None:
        """Keep an answer, if there is more in it than text and calls."""
        thought = any(isinstance(part, ThinkingPart) for part in response.parts)
        if calls and (thought or any(call.provider_details for call in calls)):
            self._answers[calls[0].tool_call_id] = response
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)

    def woven(self, plain: ModelResponse) -> ModelResponse:
        """The same answer with its thoughts, where they are known."""
        calls = [part for part in plain.parts if isinstance(part, ToolCallPart)]
        kept = self._answers.get(calls[0].tool_call_id) if calls else None
        if kept is None:
            return plain
        given = {part.tool_call_id: part for part in kept.parts if isinstance(part, ToolCallPart)}
        if any(call.tool_call_id not in given or not _same(call, given[call.tool_call_id]) for call in calls):
            return plain
        parts: list[ModelResponsePart] = [part for part in kept.parts if isinstance(part, ThinkingPart)]
        parts += [part for part in plain.parts if isinstance(part, TextPart)]
        parts += [
            replace(call, id=given[call.tool_call_id].id, provider_details=given[call.tool_call_id].provider_details)
            for call in calls
        ]
        return replace(kept, parts=parts)


def _same(one: ToolCallPart, other: ToolCallPart) -> bool:
    return one.tool_name == other.tool_name and one.args_as_dict() == other.args_as_dict()
