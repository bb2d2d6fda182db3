"""What the tests of models say, and how they listen."""

from collections.abc import Sequence
from typing import Any, Protocol

from valetkey.ports.agents import ChatModel, Message, ModelChoice, ToolCall, ToolText

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

ITEM: dict[str, Any] = {
    "name": "get_item",
    "description": "Get one item. (HTTP GET /items/{item_id})",
    "parameters": {
        "type": "object",
        "title": "Arguments",
        "properties": {
            "item_id": {"anyOf": [{"type": "integer", "minimum": 1}, {"$ref": "#/$defs/Code"}]},
            "price": {"type": "number", "exclusiveMinimum": 0, "default": 1.5},
        },
        "required": ["item_id"],
        "additionalProperties": False,
        "$defs": {"Code": {"type": "string", "pattern": "^[A-Z]{3}$", "title": "Code"}},
    },
}
ASKED = (Message(role="user", text="Which item is number one?"),)


class Open(Protocol):
    def __call__(self, choice: ModelChoice | str, **settings: object) -> ChatModel: ...


async def pieces(
    model: ChatModel,
    messages: Sequence[Message] = ASKED,
    *,
    tools: Sequence[dict[str, Any]] = (ITEM,),
    system: str = "Be brief.",
    stream: bool = False,
) -> list[str | ToolCall]:
    """The whole answer, piece by piece."""
    return [piece async for piece in model.answer(messages, tools, system=system, stream=stream)]


def person(text: str) -> Message:
    return Message(role="user", text=text)


def model_says(text: str = "", *calls: ToolCall) -> Message:
    return Message(role="assistant", text=text, calls=calls)


def call(number: int = 1, *, tool: str = "get_item", **arguments: Any) -> ToolCall:
    return ToolCall(id=f"c{number}", tool=tool, arguments=arguments or {"item_id": number})


def results(*calls: ToolCall, text: str = '{"name": "hammer"}') -> Message:
    return Message(role="tool", results=tuple(ToolText(id=each.id, tool=each.tool, text=text) for each in calls))
