"""What an agent and a language model say to each other: messages, tool calls, their results; and services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from valetkey.model.caller import Caller
from valetkey.model.services import Registered
from valetkey.secret import Secret


class ServiceFailed(Exception):
    """A function of a registered service raised; the text is its own."""


class ServiceCalls(Protocol):
    """Registered services, for tools; from any loop. The caller goes along: what they may not see is not there."""

    async def find(self, query: str, caller: Caller) -> Registered:
        """A service by ``workspace/id``, or its full id.

        Raises:
            NotFound: there is none.
            Denied: there is, and not for this caller.
        """
        ...

    async def call(
        self,
        query: str,
        path: Sequence[str],
        arguments: Mapping[str, Any],
        caller: Caller,
        *,
        deadline: float,
    ) -> object:
        """Call one of its functions; what a generator gives comes as a list.

        Raises:
            NotFound, Denied: as ``find`` does, or it has no such function.
            ServiceFailed: the function raised (``services/failures.py``).
            AuthRequired, ApprovalRequired: it asks for an account of the caller's, and a person has to answer first.
            TimeoutError: it did not end in time.
        """
        ...


class ServiceSwitch:
    """The services of a system, put in place by whoever opens a server over it; until then there are none.

    Attributes:
        calls: the way to them.
    """

    def __init__(self) -> None:
        self.calls: ServiceCalls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model asks for a tool to be called. ``id`` is unique in its conversation.

    Attributes:
        broken: whether what the model wrote for arguments is no JSON object; such a call is answered, and not made.
    """

    id: str
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    broken: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Which language model, and how it is asked.

    Attributes:
        model_id: ``offline``; a Bedrock model or inference profile, bare or as ``bedrock:…``; ``anthropic:…``,
            ``openai:…``, ``google:…``.
        max_tokens: of one answer; always sent.
        temperature, top_p: sent only where they were set.
        timeout: seconds for one answer.
        region, access_key_id, secret_access_key, session_token: of AWS; None: as boto3 finds them.
        base_url, api_key: of an OpenAI-compatible server; None: as the provider's own library finds them.
    """

    model_id: str
    max_tokens: int = 4096
    temperature: float | None = None
    top_p: float | None = None
    timeout: float = 120.0
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    base_url: str | None = None
    api_key: Secret | None = None


class ModelFault(StrEnum):
    """Why a language model did not answer; the first three may pass by themselves."""

    BUSY = "busy"
    """It asks to be called less often."""
    UNAVAILABLE = "unavailable"
    """It does not answer now."""
    TIMEOUT = "timeout"
    """It did not answer in time."""
    TOO_LONG = "too_long"
    """The conversation is longer than it takes."""
    REFUSED = "refused"
    """We may not use it: credentials, region or access."""
    INVALID = "invalid"
    """It does not take what it was asked, or answered what cannot be read."""


class ChatModel(Protocol):
    """A language model behind a network, asked from any loop."""

    @property
    def model_id(self) -> str:
        """Its name, as settings have it."""
        ...

    def answer(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, system: str, stream: bool
    ) -> AsyncIterator[str | ToolCall]:
        """The answer to a conversation in pieces: of text, then whole calls. Closing the iterator gives it up.

        Args:
            messages: whole turns, oldest first; the last one is the person's, or results.
            tools: what may be called: name, description, parameters (JSON schema).
            system: what it is told of its task.
            stream: whether it is asked for pieces; else the text comes as one.

        Raises:
            ModelError: it did not answer; the text says what to do, and holds no internals.
        """
        ...

    async def close(self) -> None:
        """Let go of what is open."""
        ...
