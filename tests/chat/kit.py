"""A chat in one process: memory stores, a clock wound by hand, a scripted model, tools of a few lines, no socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from valetkey.connections.session import SESSION, SessionCredential, SessionKind, handler_name
from valetkey.entrypoints.chat.rooms import Chat
from valetkey.entrypoints.chat.session import ChatSession, Frame
from valetkey.entrypoints.chat.turn import run_turn
from valetkey.errors import InvalidArguments
from valetkey.identity.verifiers.vouched import CHAT, in_chat
from valetkey.model.calls import Lent
from valetkey.model.needs import PUBLIC, Need, Needs
from valetkey.ports.agents import Message, ToolCall
from valetkey.ports.world import Visit
from valetkey.secret import Secret
from valetkey.settings.bedrock import ChatConfig
from valetkey.settings.pocket import Config
from valetkey.settings.server import load_server
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build
from valetkey.wiring.identity import open_identity
from valetkey.wiring.system import System

Piece = str | ToolCall
Answer = str | ToolCall | BaseException | Sequence[Piece] | Callable[[Sequence[Message]], Any]

OWN = Needs(((Need(provider=SESSION, handler=handler_name(SessionKind.BEARER_TOKEN)),), ()))
"""The session's bearer token, where it has one."""


def call(tool: str, id: str = "", /, **arguments: Any) -> ToolCall:  # noqa: A002 - it is the call's
    return ToolCall(id=id, tool=tool, arguments=arguments)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the model was shown."""

    messages: list[Message]
    tools: list[Mapping[str, Any]]
    system: str
    stream: bool

    @property
    def text(self) -> str:
        """All of it, as one text to look for secrets in."""
        return f"{self.messages!r} {self.tools!r} {self.system}"


class Script:
    """A ChatModel that says what it was told to, in this order; at the end it says ``Done.``

    An answer is a text, a call, a list of pieces, an error to raise, or a function of the messages that gives one; a
    coroutine function is waited for.
    """

    model_id = "scripted"

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.closed = 0

    async def answer(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, system: str, stream: bool
    ) -> AsyncIterator[Piece]:
        self.asked.append(Asked(messages=list(messages), tools=list(tools), system=system, stream=stream))
        answer: Any = self.answers.pop(0) if self.answers else "Done."
        try:
            if callable(answer):
                answer = answer(messages)
                answer = await answer if isinstance(answer, Awaitable) else answer
            if isinstance(answer, BaseException):
                raise answer
            for piece in [answer] if isinstance(answer, str | ToolCall) else answer:
                await asyncio.sleep(0)
                yield piece
        finally:
            self.closed += 1

    async def close(self) -> None:
        pass


@dataclass(kw_only=True)
class Probe:
    """A tool of a few lines: ``act(lent, arguments)`` is what it does."""

    name: str
    act: Callable[[Lent, Mapping[str, Any]], Any]
    needs: Needs = PUBLIC
    description: str = "A tool of a test."
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    deadline: float = 180.0
    takes: Container[str] | None = None

    def bind(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        wrong = [name for name in arguments if self.takes is not None and name not in self.takes]
        if wrong:
            raise InvalidArguments(f"{self.name} takes no {wrong[0]}.")
        return arguments

    async def run(self, lent: Lent, arguments: Mapping[str, object]) -> object:
        value = self.act(lent, arguments)
        return await value if isinstance(value, Awaitable) else value


class Offered:
    """The tools of the chat."""

    def __init__(self) -> None:
        self._tools: dict[str, Any] = {}
        self.marked: set[str] = set()

    def tools(self) -> Mapping[str, Any]:
        return self._tools


class Room:
    """One chat with one session, and every frame that it was sent."""

    def __init__(self, system: System, clock: ManualClock, model: Any = None, **config: Any) -> None:
        self.system = system
        self.clock = clock
        self.model = model or Script()
        self.frames: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        settings = load_server(Path.cwd(), {}, keywords={})
        identity = open_identity(system, settings.identity, base_url="https://valet.test")
        mounted = SimpleNamespace(system=system, identity=identity, base_url="https://valet.test", prefix="")
        self.offer = Offered()
        self.chat = Chat(
            config=ChatConfig(**{"model_id": "test-model", **config}),
            mounted=cast("Any", mounted),
            offer=self.offer,
            model=self.model,
        )
        self.identity = identity
        self.session = self.another("session-1")

    def another(self, session_id: str, who: Any = None) -> ChatSession:
        visit = Visit(host="app.test", scheme="https", client=("127.0.0.1", 4711))
        return ChatSession(id=session_id, who=who or in_chat(session_id, workspace=CHAT), visit=visit)

    def tool(
        self, name: str, act: Callable[[Lent, Mapping[str, Any]], Any], needs: Needs = PUBLIC, **more: Any
    ) -> None:
        self.offer.tools()[name] = Probe(name=name, act=act, needs=needs, **more)  # type: ignore[index]

    def give(self, token: str, session: ChatSession | None = None) -> None:
        """A bearer token, as an ``auth`` frame brings it."""
        credential = SessionCredential(kind=SessionKind.BEARER_TOKEN, fields={"token": Secret(token)})
        whose = session or self.session
        self.system.sessions.put(whose.id, whose.owner, credential)

    async def send(self, frame: Frame) -> None:
        self.frames.append(json.loads(json.dumps(frame)))
        self._news.set()
        await asyncio.sleep(0)

    def start(self, text: str, session: ChatSession | None = None) -> asyncio.Task[None]:
        whose = session or self.session
        whose.turn = asyncio.create_task(run_turn(self.chat, whose, text, self.send))
        return whose.turn

    async def say(self, text: str) -> dict[str, Any]:
        """One whole turn; its last frame."""
        async with asyncio.timeout(10):
            await self.start(text)
        return self.frames[-1]

    async def frame(self, kind: str, count: int = 1, /, **fields: Any) -> dict[str, Any]:
        """The frame of that type, as soon as so many of them came."""
        async with asyncio.timeout(10):
            while len(found := self.of(kind, **fields)) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    def of(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        return [each for each in self.frames if each["type"] == kind and fields.items() <= each.items()]

    @property
    def history(self) -> list[Message]:
        return [message for turn in self.session.turns for message in turn]

    @property
    def everything(self) -> str:
        """All that a secret must not be in: frames, what the model saw, what is remembered."""
        asked = " ".join(each.text for each in self.model.asked)
        pieces = "".join(frame["text"] for frame in self.of("delta"))  # as a client puts them together
        frames = json.dumps(self.frames, ensure_ascii=False)
        return f"{frames} {pieces} {asked} {self.session.turns!r} {self.session.said!r}"


@contextmanager
def room(model: Any = None, *, clock: ManualClock | None = None, **config: Any) -> Iterator[Room]:
    """A room whose rows end with it; ``valetkey.toml`` of the current folder is read."""
    clock = clock or ManualClock()
    settings = Config.load(Path.cwd(), {}, **{"session.session_type": "in_memory"})
    system = build.build(settings, clock=clock, folder=Path.cwd() / "home", environ={})
    try:
        yield Room(system, clock, model, **config)
    finally:
        system.close()


def token_of(lent: Lent) -> str:
    """What a tool was lent, in the clear."""
    (loan,) = lent.loans
    assert loan.token is not None
    return loan.token.reveal()


async def come_back(room: Room, callback: str, provider: str = "google") -> None:
    """A browser comes back from the provider."""
    await room.system.answering.answered(provider, parse_qsl(urlsplit(callback).query))


def strict(messages: Sequence[Message]) -> None:
    """What a strict Messages API demands: the person first, roles in turn, each call answered right after, once."""
    assert messages
    assert messages[0].role == "user"
    seen: set[str] = set()
    for before, message in zip([None, *messages], messages, strict=False):
        if before is not None:
            assert (before.role == "assistant") != (message.role == "assistant"), "two of one side after each other"
        asked = [each.id for each in before.calls] if before is not None else []
        assert [each.id for each in message.results] == asked, "each call is answered right after, in order"
        assert message.text or message.calls or message.results, "an empty message"
        for each in message.calls:
            assert each.id not in seen, "an id twice"
            seen.add(each.id)
    assert not messages[-1].calls
