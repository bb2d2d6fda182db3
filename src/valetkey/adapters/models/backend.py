"""One answer of one model through pydantic-ai, whole or in pieces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, nullcontext
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import (
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ToolCallPart,
)
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings

from valetkey.adapters.models.faults import model_error, told
from valetkey.adapters.models.history import Names, in_order
from valetkey.adapters.models.ids import ModelId
from valetkey.adapters.models.thoughts import Thoughts
from valetkey.adapters.models.translate import to_messages, to_parameters
from valetkey.errors import ModelError
from valetkey.ports.agents import Message, ModelChoice, ModelFault, ToolCall

Piece = str | ToolCall

_log = logging.getLogger("valetkey")


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A model of pydantic-ai, opened. All of it belongs to one loop.

    Attributes:
        closing: lets go of its connections.
        hanging_up: around the wait for an answer, where a library has to be helped to give it up.
    """

    id: ModelId
    choice: ModelChoice
    model: Model[Any]
    closing: Callable[[], Awaitable[None]]
    hanging_up: Callable[[], AbstractContextManager[None]] = nullcontext
    _thoughts: Thoughts = field(default_factory=Thoughts, init=False)

    async def answer(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, system: str, stream: bool
    ) -> AsyncGenerator[Piece, None]:
        """The answer in pieces. ``timeout`` counts for the whole of it, or for each wait in a stream.

        Raises:
            ModelError: there is none.
        """
        ordered = in_order(messages)
        if not ordered or ordered[-1].role == "assistant":
            raise ModelError(
                "There is nothing to answer: the conversation ends with an answer.", fault=ModelFault.INVALID
            )
        names = Names(tools, ordered)
        request: dict[str, Any] = {
            "model": self.model,
            "messages": to_messages(ordered, names, self._thoughts),
            "model_settings": self._settings(),
            "model_request_parameters": to_parameters(tools, ordered, names, system=system),
            "instrument": False,  # what was said is in no trace
        }
        failure: ModelError | None = None
        try:
            async with aclosing(self._streamed(request, names) if stream else self._whole(request, names)) as pieces:
                async for piece in pieces:
                    yield piece
        except Exception as error:  # noqa: BLE001  # what the libraries may raise is without end
            failure = model_error(error, self.id)
            _log.warning("the model %s did not answer: %s (%s)", self.id.shown, failure.fault, told(error))
        if failure is not None:  # raised out here, it does not drag the service's own words along
            raise failure

    async def close(self) -> None:
        """Let go of what is open."""
        await self.closing()

    def _settings(self) -> ModelSettings:
        settings = ModelSettings(max_tokens=self.choice.max_tokens)
        if self.choice.temperature is not None:
            settings["temperature"] = self.choice.temperature
        if self.choice.top_p is not None:
            settings["top_p"] = self.choice.top_p
        return settings

    async def _whole(self, request: Mapping[str, Any], names: Names) -> AsyncGenerator[Piece, None]:
        async with asyncio.timeout(self.choice.timeout):
            with self.hanging_up():
                response = await model_request(**request)
        text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
        if text:
            yield text
        for piece in self._rest(response, names, said=bool(text.strip())):
            yield piece

    async def _streamed(self, request: Mapping[str, Any], names: Names) -> AsyncGenerator[Piece, None]:
        said = False
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self.choice.timeout):
                with self.hanging_up():
                    stream = await stack.enter_async_context(model_request_stream(**request))
            events = aiter(stream)
            while True:
                async with asyncio.timeout(self.choice.timeout):
                    event = await anext(events, None)
                if event is None:
                    break
                text = ""
                match event:
                    case (
                        PartStartEvent(part=TextPart(content=text))
                        | PartDeltaEvent(delta=TextPartDelta(content_delta=text))
                    ):
                        pass
                if text:
                    said = said or bool(text.strip())
                    yield text
            response = stream.get()
        for piece in self._rest(response, names, said=said):
            yield piece

    def _rest(self, response: ModelResponse, names: Names, *, said: bool) -> list[Piece]:
        """The calls; where there are none, why the text ends, unless the model simply ended it."""
        calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
        note = ""
        match response.finish_reason:
            case "length":
                calls = calls[:-1] if calls and response.parts[-1] is calls[-1] else calls  # it may be cut in two
                note = f"[Note: The answer was cut off at max_tokens={self.choice.max_tokens}. Ask for the rest.]"
            case "content_filter":
                calls = []
                note = "[Note: The model's provider held back this answer. Please ask in another way.]"
            case "error":
                raise ModelError(
                    f"The answer of the model {self.id.shown} cannot be read.", fault=ModelFault.UNAVAILABLE
                )
        if calls:
            self._thoughts.keep(response, calls)
            return [_called(call, names.meant(call.tool_name)) for call in calls]
        return [f"\n\n{note}" if said else note] if note else []


def _called(call: ToolCallPart, tool: str) -> ToolCall:
    """The call; what was written for its arguments is dropped where it is no JSON object."""
    try:
        arguments = call.args_as_dict(raise_if_invalid=True)
    except (ValueError, AssertionError):
        return ToolCall(id=call.tool_call_id, tool=tool, broken=True)
    return ToolCall(id=call.tool_call_id, tool=tool, arguments=arguments)
