"""The calls of one round: in parallel, each down the whole road; what came of each, for model and client."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from valetkey.connections.session import SESSION
from valetkey.entrypoints.chat.rooms import OFFERED, Chat
from valetkey.entrypoints.chat.session import ChatSession
from valetkey.entrypoints.chat.sizes import fitted, sized
from valetkey.entrypoints.chat.voice import Voice
from valetkey.entrypoints.chat.waiting import Questions
from valetkey.entrypoints.pocket.text import text_of
from valetkey.errors import (
    AmbiguousConnection,
    ApprovalRequired,
    AuthRequired,
    InvalidArguments,
    ToolFailed,
    ValetkeyError,
)
from valetkey.logs import log_call
from valetkey.model.calls import Call, Lent, ToolResult
from valetkey.model.connections import Connection
from valetkey.model.needs import Needs
from valetkey.ports.agents import ToolCall
from valetkey.ports.world import VISIT
from valetkey.scrub import Scrubber
from valetkey.tools.openapi.tool import OpenApiTool
from valetkey.tools.tool import Tool

AT_ONCE = 16
"""Calls of one turn that run at the same time; those that wait for a person do not count."""

ATTEMPTS = 6
"""How often one call sets out: after each account and each approval it goes on where it stood."""

LINGER = 2.0
"""Seconds that a call which was given up has for its own end."""

DEEPEST = 64
"""Levels of nesting in arguments and results; a client gets what is deeper as text."""

INTERRUPTED = "Interrupted: the person stopped this before the result was there."
UNDONE = "Interrupted: the person stopped this before it was called."
EMPTY = "(nothing)"

_FAILED = "There was an error while executing the tool: "
_TIMED_OUT = "timeout tool call: "
_TIMEOUT = "Request timeout"

_log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one call; scrubbed.

    Attributes:
        text: what the model is told.
        shown: the same for clients: the value, where it is JSON.
    """

    call: ToolCall
    text: str
    shown: Any
    failed: bool

    def frame(self) -> dict[str, Any]:
        """An entry of ``tool_results``."""
        about = {"tool_call_id": self.call.id, "name": self.call.tool}
        return {**about, ("error" if self.failed else "result"): self.shown}


class Calls:
    """The calls of one turn; each is answered, whatever becomes of it.

    Attributes:
        services: what this turn's person is offered besides, by name.
    """

    def __init__(self, chat: Chat, session: ChatSession, voice: Voice, questions: Questions) -> None:
        self._chat = chat
        self._session = session
        self._voice = voice
        self._questions = questions
        self.services: Mapping[str, Tool] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._ended: dict[str, Outcome] = {}
        self._begun: set[str] = set()

    async def round(self, calls: Sequence[ToolCall]) -> list[Outcome]:
        """Run them; those past ``max_tool_calls`` are answered by an error."""
        most = self._chat.config.max_tool_calls
        made = [call for call in calls[:most] if call.id not in self._ended]
        tasks = [asyncio.create_task(self._one(call, f"({number}/{len(made)})")) for number, call in enumerate(made, 1)]
        for call in calls[most:]:
            self.refuse(call, f"Not called: one round has at most {most} tool calls. Call it in the next round.")
        if not tasks:
            return [self.outcome(call) for call in calls]
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=LINGER)
            broken = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        for error in filter(None, broken):
            raise error
        return [self.outcome(call) for call in calls]

    def refuse(self, call: ToolCall, why: str) -> Outcome:
        """Answer a call that is not made."""
        outcome = self._ended[call.id] = Outcome(call=call, text=why, shown=why, failed=True)
        return outcome

    def outcome(self, call: ToolCall) -> Outcome:
        """What came of it; one without an end was interrupted."""
        return self._ended.get(call.id) or self.refuse(call, INTERRUPTED if call.id in self._begun else UNDONE)

    async def _one(self, call: ToolCall, place: str) -> None:
        clock, began = self._chat.system.clock, self._chat.system.clock.monotonic()
        tool = self._chat.offer.tools().get(call.tool) or self.services.get(call.tool)
        seen = None if tool is None else _Seen(tool, self._reached(call))
        about = {
            "call_id": call.id,
            "tool": call.tool,
            "arguments": self._voice.scrubber.value(dict(call.arguments)),
        }
        await self._voice.say("tool_progress", f"Calling {call.tool}... {place}", **about, status="running")
        if seen is None:
            result, kind = ToolResult(value=f"Unknown tool: {call.tool}", failed=True), "unknown_tool"
        else:
            result, kind = await self._called(call, seen, about)
        scrubber = await self._voice.renew()
        text = scrubber.text(str(result.value))
        told = sized(text, self._chat.config)
        outcome = Outcome(
            call=call,
            text=told if told.strip() else EMPTY,
            shown=fitted([told if result.failed or told is not text else _value(text)])[0],
            failed=result.failed,
        )
        self._ended[call.id] = outcome
        seconds = round(clock.monotonic() - began, 3)
        lent = () if seen is None else seen.lent
        log_call(
            session=self._session.id,
            operation=call.tool,
            outcome=kind,
            seconds=seconds,
            credential=", ".join(dict.fromkeys(_kind_of(each) for each in lent)),
            loud=self._chat.config.log_api_calls,
        )
        await self._voice.say(
            "tool_progress",
            f"{call.tool} finished {place}",
            **about,
            status="failed" if outcome.failed else "done",
            **{("error" if outcome.failed else "result"): outcome.shown},
            seconds=seconds,
            account=account_of(lent),
        )

    async def _called(self, call: ToolCall, tool: _Seen, about: Mapping[str, Any]) -> tuple[ToolResult, str]:
        """The call's result, after as many questions as it takes; a failure is a text, too. And what the log says."""
        asked = Call(
            tool=call.tool,
            needs=tool.needs,
            arguments=call.arguments,
            entrance="chat",
            conversation=self._session.id,
            deadline=float(self._chat.config.timeout),
        )
        for _ in range(ATTEMPTS):
            try:
                result = await self._travelled(tool, asked)
                if isinstance(result, ToolResult):
                    told = replace(result, value=_plain(str(result.value))) if result.failed else result
                    return told, tool.outcome(told)
                kind = result.code
                await self._voice.say("tool_progress", f"{call.tool} waits for you", **about, status="waiting")
                why = await self._questions.answered(result, call)
            except Exception as error:  # noqa: BLE001 - whatever broke, the model is told, and the chat goes on
                why = self._told(call, error)
                kind = error.code if isinstance(error, ValetkeyError) else type(error).__name__
            if why:
                return ToolResult(value=why, failed=True), kind
            await self._voice.say("tool_progress", f"{call.tool} goes on", **about, status="running")
        endless = "This call asks for one account or approval after the other. Stop it."
        return ToolResult(value=endless, failed=True), kind

    async def _travelled(self, tool: _Seen, asked: Call) -> ToolResult | AuthRequired | ApprovalRequired:
        try:
            async with self._slots:
                VISIT.set(self._session.visit)  # of this call's own task
                OFFERED.set(self.services.keys())
                return await self._chat.road.travel(self._session.presented, tool, asked, render=text_of)
        except (AuthRequired, ApprovalRequired) as required:
            return required

    def _told(self, call: ToolCall, error: Exception) -> str:
        if isinstance(error, InvalidArguments):
            return f"Invalid arguments: {error}"
        if isinstance(error, AmbiguousConnection):
            return (
                f"Several {error.provider} accounts fit, and which one is meant cannot be told: "
                f"{', '.join(error.profiles)}. The person has to make one of them the default one first."
            )
        if isinstance(error, ValetkeyError):
            return error.message
        _log.error("the tool %s could not be called: %s", call.tool, type(error).__name__)
        return "The tool could not be called. Try again later, or tell who runs this program."

    def _reached(self, call: ToolCall) -> Callable[[], Awaitable[None]]:
        async def reached() -> None:
            if self._voice.given_up:
                await asyncio.Event().wait()  # what cancels this call is on its way: no request goes out before it
            self._begun.add(call.id)

        return reached


def results_of(outcomes: Sequence[Outcome], scrubber: Scrubber) -> tuple[dict[str, Any], ...]:
    """``tool_results`` of one answer, as long together as a frame may be."""
    shown: Any = scrubber.value([outcome.shown for outcome in outcomes])
    return tuple(replace(outcome, shown=value).frame() for outcome, value in zip(outcomes, fitted(shown), strict=True))


class _Seen:
    """A tool, watched: whether it was reached, what it was lent, which HTTP status it met."""

    def __init__(self, tool: Tool, reached: Callable[[], Awaitable[None]]) -> None:
        self._tool = tool
        self._reached = reached
        self.lent: tuple[Connection, ...] = ()
        self._status: int | None = None
        self.name = tool.name
        self.description = tool.description
        self.schema = tool.schema
        self.needs: Needs = tool.needs
        self.deadline = tool.deadline
        self.bind = tool.bind

    async def run(self, lent: Lent, arguments: Mapping[str, object]) -> object:
        self.lent, self._status = lent.connected.connections, None
        await self._reached()
        if isinstance(self._tool, OpenApiTool):
            return await self._tool.run(lent, arguments, heard=self._heard)
        return await self._tool.run(lent, arguments)

    def _heard(self, status: int) -> None:
        self._status = status

    def outcome(self, result: ToolResult) -> str:
        """For the log: the status, where there was one, else the kind of error."""
        if self._status is not None and (not result.failed or self._status >= HTTPStatus.BAD_REQUEST):
            return str(self._status)
        if not result.failed:
            return "ok"
        return "timeout" if str(result.value).startswith(_TIMEOUT) else ToolFailed.code


def account_of(lent: Sequence[Connection]) -> Any:
    """What a call acted with, for clients: an account, the type of the session's credential, or several of them."""
    found = [
        _kind_of(each)
        if each.provider == SESSION
        else {"provider": each.provider, "profile": each.profile, "account": each.account}
        for each in lent
    ]
    return found[0] if len(found) == 1 else found or None


def _kind_of(connection: Connection) -> str:
    return connection.handler.removeprefix(f"{SESSION}-") if connection.provider == SESSION else connection.provider


def _plain(text: str) -> str:
    """A failure without the road's own words for it."""
    if text.startswith(_TIMED_OUT):
        return _TIMEOUT
    return text.removeprefix(_FAILED) or "The tool failed."


def _value(text: str) -> Any:
    """The value that a text stands for, where it is an object or a list of JSON."""
    if text[:1] not in ("{", "["):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if is_shallow(value) else text


def is_shallow(value: object) -> bool:
    """Whether anybody can read it as JSON, and write it."""
    level = [value]
    for _ in range(DEEPEST):
        level = [part for each in level for part in _parts(each)]
        if not level:
            return True
    return False


def _parts(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
