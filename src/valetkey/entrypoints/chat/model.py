"""The model of a chat: asked again where that may help, then another one; and what the person is told at the end."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from valetkey.errors import ModelError
from valetkey.ports.agents import ChatModel, Message, ModelFault, ToolCall
from valetkey.ports.world import Clock, Entropy

LONGEST_WAIT = 30.0
"""Seconds between two tries, at most."""

ANSWERED: ContextVar[str] = ContextVar("valetkey_answered", default="")
"""The name of the model that answered last in this task; a chat may have two."""

_PASSING = frozenset({ModelFault.BUSY, ModelFault.UNAVAILABLE, ModelFault.TIMEOUT})

_log = logging.getLogger("valetkey")


class Resilient:
    """A ChatModel over one or two others.

    Busy, unavailable and late may pass: then the model is asked again, after a wait that doubles. When that is of no
    use, or the fault does not pass by itself, the fallback is asked, whatever the fault: it may be of another size, of
    another account, or take what the first does not. Once a piece has come, nothing is asked again: the person has
    seen the beginning.
    """

    def __init__(
        self,
        primary: ChatModel,
        fallback: ChatModel | None = None,
        *,
        retries: int,
        delay: float,
        exponential: bool,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        """Wrap models.

        Args:
            primary: asked first.
            fallback: asked last.
            retries: how often each is asked again.
            delay: seconds before it is asked again; up to half of them are left off by chance, so that many
                sessions do not come at one moment.
            exponential: whether the delay doubles from one time to the next, up to :data:`LONGEST_WAIT`.
            clock: waits.
            entropy: what chance is made of.
        """
        self._primary = primary
        self._fallback = fallback
        self._retries = retries
        self._delay = delay
        self._exponential = exponential
        self._clock = clock
        self._entropy = entropy

    @property
    def model_id(self) -> str:
        """The name of the one that is asked first."""
        return self._primary.model_id

    async def answer(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, system: str, stream: bool
    ) -> AsyncIterator[str | ToolCall]:
        """The answer of the first that gives one.

        Raises:
            ModelError: none did; the error of the last.
        """
        models = [self._primary] if self._fallback is None else [self._primary, self._fallback]
        failure: ModelError | None = None
        for model in models:
            if failure is not None:
                _log.warning("the chat asks %s: its first model failed (%s)", model.model_id, failure.fault)
            for tried in range(self._retries + 1):
                if tried:
                    await self._clock.sleep(self._wait(tried))
                began = False
                pieces = model.answer(messages, tools, system=system, stream=stream)
                try:
                    async for piece in pieces:
                        began = True
                        ANSWERED.set(model.model_id)
                        yield piece
                except ModelError as error:
                    failure = error
                else:
                    return
                finally:
                    await _close(pieces)
                if began:
                    raise failure
                if failure.fault not in _PASSING:
                    break
        raise failure or ModelError("There is no model to ask.", fault=ModelFault.INVALID)

    async def close(self) -> None:
        """Let go of what is open in each."""
        try:
            await self._primary.close()
        finally:
            if self._fallback is not None:
                await self._fallback.close()

    def _wait(self, tried: int) -> float:
        whole = self._delay * (2 ** min(tried - 1, 30) if self._exponential else 1)
        chance = int.from_bytes(self._entropy.bytes(2)) / 0x1_0000
        return min(whole, LONGEST_WAIT) * (1 - chance / 2)


async def _close(pieces: AsyncIterator[str | ToolCall]) -> None:
    """Give up what is left of an answer, at once and not when it is collected."""
    closing = getattr(pieces, "aclose", None)
    if closing is not None:
        await closing()


class Degrading(Protocol):
    """The one setting that decides how a failure is told."""

    @property
    def graceful_degradation(self) -> bool:
        """Whether the person is told in their own words, instead of the operator's."""
        ...


_APOLOGIES = {
    ModelFault.BUSY: "I'm receiving too many requests right now. Please wait a moment and try again.",
    ModelFault.UNAVAILABLE: (
        "I'm experiencing technical difficulties: the AI model does not answer. Please try again in a moment."
    ),
    ModelFault.TIMEOUT: (
        "I'm taking longer than usual to respond. Please try again in a moment, or ask for less at once."
    ),
    ModelFault.TOO_LONG: (
        "I'm sorry, I'm having trouble processing your request right now. The conversation may be too long or complex. "
        "Please clear the history and try again, or ask for less at once."
    ),
    ModelFault.REFUSED: (
        "I don't have access to that model or service right now. Please tell whoever runs this chat: "
        "the model's name, region or credentials need to be checked."
    ),
    ModelFault.INVALID: (
        "I'm having trouble with the AI model: it could not work with that request. "
        "Please try to say it differently, or clear the history and try again."
    ),
}


def apology(error: ModelError, config: Degrading) -> str:
    """What the person is told instead of an answer, and what they can do.

    Without ``graceful_degradation`` it is the error's own text, which says what the operator can do; that one is
    public too.
    """
    return _APOLOGIES[ModelFault(error.fault)] if config.graceful_degradation else error.message
