"""What Bedrock refuses in a Converse request, after its API reference."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
TOOL_USE_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")


def faults(body: Mapping[str, Any]) -> list[str]:
    """What Bedrock would refuse in a request, after the API reference of Converse."""
    return [*_turn_faults(body), *_tool_faults(body), *_other_faults(body)]


def _turn_faults(body: Mapping[str, Any]) -> Iterator[str]:
    messages = body.get("messages") or []
    if not messages or messages[-1]["role"] != "user":
        yield "A conversation must start and end with a user message."
    waiting: list[str] = []
    for number, message in enumerate(messages):
        if message["role"] != ("user", "assistant")[number % 2]:
            yield f"messages.{number}: roles must alternate between user and assistant, and begin with user"
        if not message["content"]:
            yield f"messages.{number}: the content is empty"
        yield from (f"messages.{number}: {fault}" for block in message["content"] for fault in _block_faults(block))
        answered = _ids(message, "toolResult")
        if sorted(answered) != sorted(waiting):
            yield f"messages.{number}: toolResult blocks {answered} do not answer the toolUse blocks {waiting}"
        waiting = _ids(message, "toolUse")
        if waiting and message["role"] != "assistant":
            yield f"messages.{number}: a user has no toolUse"
    used = [each for message in messages for each in _ids(message, "toolUse")]
    if len(set(used)) != len(used):
        yield "toolUse ids must be unique"


def _ids(message: Mapping[str, Any], kind: str) -> list[str]:
    return [block[kind]["toolUseId"] for block in message["content"] if kind in block]


def _block_faults(block: Mapping[str, Any]) -> Iterator[str]:
    if "text" in block and not block["text"].strip():
        yield "text content blocks must be non-empty"
    if "toolUse" in block:
        yield from _use_faults(block["toolUse"])
    if "toolResult" in block:
        content = block["toolResult"]["content"]
        if not content or any("text" in each and not each["text"].strip() for each in content):
            yield "a toolResult without content"


def _use_faults(tool: Mapping[str, Any]) -> Iterator[str]:
    if not TOOL_NAME.fullmatch(tool["name"]):
        yield f"toolUse.name {tool['name']!r} is not {TOOL_NAME.pattern}"
    if not TOOL_USE_ID.fullmatch(tool["toolUseId"]):
        yield f"toolUse.toolUseId {tool['toolUseId']!r} is not {TOOL_USE_ID.pattern}"
    if not isinstance(tool["input"], dict):
        yield "toolUse.input is no object"


def _tool_faults(body: Mapping[str, Any]) -> Iterator[str]:
    specs = [tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", [])]
    blocks = [block for message in body.get("messages", ()) for block in message["content"]]
    if not specs and any("toolUse" in block or "toolResult" in block for block in blocks):
        yield "The toolConfig field must be defined when using toolUse and toolResult content blocks."
    if "toolConfig" in body and not specs:
        yield "toolConfig.tools must have at least one item"
    names = [spec["name"] for spec in specs]
    if len(set(names)) != len(names):
        yield "toolConfig.tools: duplicate names"
    for spec in specs:
        if not TOOL_NAME.fullmatch(spec["name"]):
            yield f"toolSpec.name {spec['name']!r} is not {TOOL_NAME.pattern}"
        if "description" in spec and not spec["description"]:
            yield f"toolSpec {spec['name']}: an empty description"
        schema = spec["inputSchema"]["json"]
        if schema.get("type") != "object":
            yield f"toolSpec {spec['name']}: inputSchema.json.type must be object"
        for pointer in _pointers(schema):
            if not _leads_somewhere(pointer, schema):
                yield f"toolSpec {spec['name']}: $ref {pointer} leads nowhere"


def _other_faults(body: Mapping[str, Any]) -> Iterator[str]:
    if "maxTokens" not in body.get("inferenceConfig", {}):
        yield "inferenceConfig.maxTokens is missing"
    for block in body.get("system", ()):
        if not block.get("text", "").strip():
            yield "system: an empty text block"


def _pointers(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from _pointers(each)
    elif isinstance(value, list):
        for each in value:
            yield from _pointers(each)


def _leads_somewhere(pointer: str, schema: Any) -> bool:
    if not pointer.startswith("#"):
        return False
    for part in pointer[1:].split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if not isinstance(schema, dict) or name not in schema:
            return False
        schema = schema[name]
    return True
