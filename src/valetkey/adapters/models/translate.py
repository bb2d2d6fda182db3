"""A conversation in pydantic-ai's words."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic_ai.messages import (
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from valetkey.adapters.models.history import Names
from valetkey.adapters.models.thoughts import Thoughts
from valetkey.ports.agents import Message

_EMPTY = "(nothing)"
_GONE = "This tool is not offered any more."


def to_messages(messages: Sequence[Message], names: Names, thoughts: Thoughts) -> list[ModelMessage]:
    """An ordered conversation (:func:`valetkey.adapters.models.history.in_order`), its last turn with its thoughts."""
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=0)
    told = [_one(message, names) for message in messages]
    return [
        thoughts.woven(each) if at > last and isinstance(each, ModelResponse) else each for at, each in enumerate(told)
    ]


def _one(message: Message, names: Names) -> ModelMessage:
    match message.role:
        case "user":
            return ModelRequest(parts=[UserPromptPart(content=message.text)])
        case "tool":
            return ModelRequest(
                parts=[
                    # No service takes an empty block of text.
                    ToolReturnPart(
                        tool_name=names.sent(each.tool),
                        content=each.text if each.text.strip() else _EMPTY,
                        tool_call_id=each.id,
                    )
                    for each in message.results
                ]
            )
        case "assistant":
            said = [TextPart(content=message.text)] if message.text else []
            calls = [
                ToolCallPart(
                    tool_name=names.sent(call.tool), args=copy.deepcopy(dict(call.arguments)), tool_call_id=call.id
                )
                for call in message.calls
            ]
            return ModelResponse(parts=[*said, *calls])


def to_parameters(
    tools: Sequence[Mapping[str, Any]], messages: Sequence[Message], names: Names, *, system: str
) -> ModelRequestParameters:
    """Tools with their schemas as given, and the task."""
    return ModelRequestParameters(
        function_tools=list(_definitions(tools, messages, names)),
        instruction_parts=[InstructionPart(content=system)] if system.strip() else [],
    )


def _definitions(
    tools: Sequence[Mapping[str, Any]], messages: Sequence[Message], names: Names
) -> Iterator[ToolDefinition]:
    for tool in tools:
        schema = copy.deepcopy(dict(tool.get("parameters") or {}))
        yield ToolDefinition(
            name=names.sent(str(tool["name"])),
            description=str(tool.get("description") or "").strip() or None,
            parameters_json_schema={"type": "object", "properties": {}} | schema,
            strict=False,
        )
    if not tools:
        # A conversation that tells of calls is refused where no tool is declared.
        for name in dict.fromkeys(call.tool for message in messages for call in message.calls):
            yield ToolDefinition(
                name=names.sent(name),
                description=_GONE,
                parameters_json_schema={"type": "object", "properties": {}},
                strict=False,
            )
