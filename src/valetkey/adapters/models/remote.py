"""A model behind a network, asked from any loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from valetkey.adapters.home import HomeLoop
from valetkey.adapters.models.ids import read_id
from valetkey.errors import ModelError
from valetkey.logs import speaking
from valetkey.ports.agents import Message, ModelChoice, ModelFault, ToolCall
from valetkey.scrub import Scrubber

_log = logging.getLogger("valetkey")

Piece = str | ToolCall


class Opened(Protocol):
    """A model whose libraries are loaded and whose connections belong to one loop."""

    def answer(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, system: str, stream: bool
    ) -> AsyncGenerator[Piece, None]:
        """The answer, on that loop."""
        ...

    async def close(self) -> None:
        """Let go of what is open, on that loop."""
        ...


class RemoteModel:
    """A ChatModel with a loop of its own, on a daemon thread.

    So the app's loop waits for nothing that blocks: not the import of a provider's library, not boto3's threads, which
    moreover are not taken from those that serve the app's own requests. An answer that is given up is given up at once,
    and never holds up the end of the process.
    """

    def __init__(self, choice: ModelChoice, opener: Callable[[ModelChoice], Awaitable[Opened]]) -> None:
        """Nothing is loaded or opened before the first answer.

        Args:
            choice: which model.
            opener: loads and opens it; called on the model's own loop.
        """
        self._choice = choice
        self._secrets = [
            secret for secret in (choice.secret_access_key, choice.session_token, choice.api_key) if secret is not None
        ]
        self._shown = read_id(choice.model_id).shown
        self._opener = opener
        self._home = HomeLoop()
        self._opened: tuple[asyncio.AbstractEventLoop, asyncio.Task[Opened]] | None = None

    @property
    def model_id(self) -> str:
        """Its name, as settings have it."""
        return self._choice.model_id

    async def answer(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, system: str, stream: bool
    ) -> AsyncGenerator[Piece, None]:
        """The answer in pieces; closing the iterator gives it up.

        Raises:
            ModelError: it did not answer.
        """
        here = asyncio.get_running_loop()
        arrived: asyncio.Queue[Piece | ModelError | None] = asyncio.Queue()
        asked = list(messages), list(tools)
        flight = _Flight()

        def hand_over(item: Piece | ModelError | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop that asked has ended
                here.call_soon_threadsafe(arrived.put_nowait, item)

        async def fly() -> None:
            if not flight.begin():
                return
            outcome: ModelError | None = _closing()
            try:
                outcome = await self._work(hand_over, *asked, system=system, stream=stream)
            finally:  # whoever still waits when the loop is closed is told
                hand_over(outcome)

        try:
            self._home.spawn(fly)
        except RuntimeError:
            raise _closing() from None
        try:
            while (item := await arrived.get()) is not None:
                if isinstance(item, ModelError):
                    raise item
                yield item
        finally:
            flight.give_up()

    async def close(self) -> None:
        """Give up what is under way, and let go of what is open; a later answer opens it again."""
        if self._opened is not None:
            with contextlib.suppress(RuntimeError):  # that loop has ended, as after a fork
                await self._home.run(self._let_go)
        await asyncio.to_thread(self._home.close)

    async def _work(
        self,
        hand_over: Callable[[Piece], None],
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        *,
        system: str,
        stream: bool,
    ) -> ModelError | None:
        """Hand over every piece; what went wrong, if anything. On the model's own loop."""
        try:
            with speaking(Scrubber(self._secrets)):
                opened = await self._open()
                async with aclosing(opened.answer(messages, tools, system=system, stream=stream)) as pieces:
                    async for piece in pieces:
                        hand_over(piece)
        except ModelError as error:
            return ModelError(error.message, fault=error.fault)  # one of its own for each who waits
        except ImportError:
            _log.warning("the libraries of the model %s cannot be loaded", self._shown)
            text = f"The libraries of the model {self._shown} cannot be loaded. Run `pip install -U 'valetkey[all]'`."
        except Exception as error:  # noqa: BLE001  # what a library may raise is without end; its text is not for others
            _log.warning("the model %s did not answer: %s", self._shown, type(error).__name__)
            text = f"The model {self._shown} cannot be asked. Check model_id and its settings."
        else:
            return None
        return ModelError(text, fault=ModelFault.INVALID)

    async def _open(self) -> Opened:
        loop = asyncio.get_running_loop()
        if self._opened is None or self._opened[0] is not loop or _failed(self._opened[1]):
            self._opened = loop, loop.create_task(_told(self._opener(self._choice)))
        # The first to ask may give up; the others go on waiting for the same opening.
        return await asyncio.shield(self._opened[1])

    async def _let_go(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None and opened[0] is asyncio.get_running_loop() and not _failed(opened[1]):
            await (await opened[1]).close()


class _Flight:
    """One answer under way, which another thread may give up; before it began, too."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._given_up = False

    def begin(self) -> bool:
        self._task = asyncio.current_task()
        return not self._given_up

    def give_up(self) -> None:
        self._given_up = True
        task = self._task
        if task is not None and not task.done():
            with contextlib.suppress(RuntimeError):  # that loop has ended
                task.get_loop().call_soon_threadsafe(task.cancel)


def _closing() -> ModelError:
    return ModelError("The chat is closing. Try again when it runs.", fault=ModelFault.UNAVAILABLE)


async def _told(opening: Awaitable[Opened]) -> Opened:
    try:
        return await opening
    except ModelError as error:
        _log.warning("%s", error.message)  # what the operator can do; the person is told another text
        raise


def _failed(opening: asyncio.Task[Opened]) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)
