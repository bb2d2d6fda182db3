"""What an agent and a language model say to each other: messages, tool calls, their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model asks for a tool to be called. ``id`` is unique in its conversation."""

    id: str
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolText:
    """What the call of that id gave, as text for the model."""

    id: str
    tool: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: ``user``: a person's ``text``; ``assistant``: the model's ``text`` and ``calls``; ``tool``: ``results``.
    """

    role: Literal["user", "assistant", "tool"]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolText, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model answers: text for the person, or calls whose results it wants first."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()


class LanguageModel(Protocol):
    """Whoever decides what is called. It sees what it is given, and nothing else."""

    def reply(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Reply:
        """The answer to a conversation.

        Args:
            messages: all of it, oldest first.
            tools: what may be called, as ``Pocket.describe_tools`` tells it: name, description, parameters.
        """
        ...

    def stream(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Iterator[str | ToolCall]:
        """The same answer in pieces: of text, then whole calls."""
        ...
