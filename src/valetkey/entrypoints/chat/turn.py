"""One turn: the person's message, rounds of the model and of its calls, the answer."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from valetkey.entrypoints.chat import frames
from valetkey.entrypoints.chat.calls import Calls, Outcome, is_shallow, results_of
from valetkey.entrypoints.chat.history import all_scrubbed, at_ease, scrubbed, short, shown, trim, window
from valetkey.entrypoints.chat.model import ANSWERED, apology
from valetkey.entrypoints.chat.rooms import Chat
from valetkey.entrypoints.chat.services import services_of
from valetkey.entrypoints.chat.session import ChatSession, Said, Send
from valetkey.entrypoints.chat.sizes import MOST_PARTS, rationed, sized
from valetkey.entrypoints.chat.voice import Voice
from valetkey.entrypoints.chat.waiting import Questions
from valetkey.errors import BedrockChatError, ModelError, ValetkeyError
from valetkey.ports.agents import Message, ModelFault, ToolCall, ToolText
from valetkey.tools.tool import Tool

THINKING = "AI is thinking..."
CAP = "\n\n[Note: Reached maximum tool call limit of {} rounds]"
UNFINISHED = "I could not finish this within the tool calls that I may make."
OVER_CAP = "Not called: this answer has used up its {} rounds of tool calls. Tell what was found so far."
NOTHING_SAID = "I have no answer to that. Please ask in another way."
STOPPED = "Stopped."
BROKE = "Something went wrong on our side, and this message was not answered. Please try again."

_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 64
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PASSING = (ModelFault.BUSY, ModelFault.UNAVAILABLE, ModelFault.TIMEOUT)

_log = logging.getLogger("valetkey")


async def run_turn(chat: Chat, session: ChatSession, text: str, send: Send) -> None:
    """Answer one message; the socket goes on reading meanwhile.

    When it is cancelled it sends nothing more and starts no call more; what is remembered of it stays valid: each
    call that was begun has an answer. Whoever cancels waits for its end before they tell anybody that it ended.

    Args:
        chat: the chat.
        session: whose message it is; one turn at a time.
        text: the message, not empty.
        send: sends one frame.

    Raises:
        asyncio.CancelledError: it was cancelled.
    """
    turn = _Turn(chat, session, send)
    try:
        await turn.run(text)
    except asyncio.CancelledError:
        turn.stop()
        raise
    except BedrockChatError as error:
        _log.error("a turn of a chat failed: %s", error.message)
        await turn.broke(error.message)
    except Exception as error:  # noqa: BLE001 - a turn that breaks must not take the socket along
        _log.error("a turn of a chat failed with %s", type(error).__name__)
        await turn.broke(BROKE)
    finally:
        await turn.close()


class _Turn:
    """What one turn holds."""

    def __init__(self, chat: Chat, session: ChatSession, send: Send) -> None:
        self._chat = chat
        self._session = session
        self._began = chat.system.clock.monotonic()
        self._voice = Voice(chat, session, send)
        self._questions = Questions(chat, session, self._voice)
        self._calls = Calls(chat, session, self._voice, self._questions)
        self._messages: list[Message] = []
        self._outcomes: list[Outcome] = []
        self._rounds = 0
        self._left_out = 0
        self._id = ""

    async def run(self, text: str) -> None:
        """From the message to the answer."""
        scrubber = await self._voice.renew()
        clean = await at_ease(partial(scrubber.text, text), len(text))
        self._session.said.append(
            Said(role="user", content=shown(clean), at=self._voice.now, message_id=self._new_id())
        )
        self._messages.append(Message(role="user", text=sized(clean, self._chat.config)))
        self._session.turns.append(self._messages)
        trim(self._session, self._chat.config)
        await self._voice.say("typing", THINKING)
        try:
            await self._end(await self._rounds_of_calls())
        except ModelError as error:
            await self._failed(error)

    async def _rounds_of_calls(self) -> str:
        """The model's answer, after as many rounds as it needs and may have."""
        most = self._chat.config.max_tool_call_rounds
        while True:
            said, calls = await self._answer()
            if not calls:
                return said or NOTHING_SAID
            self._messages.append(Message(role="assistant", text=said, calls=self._clean(calls)))
            if self._rounds >= most:
                self._take([self._calls.refuse(call, OVER_CAP.format(most)) for call in calls])
                return (said or UNFINISHED) + CAP.format(most)
            self._rounds += 1
            if said:
                await self._voice.say("typing", said)
            self._take(await self._calls.round(calls))

    def _take(self, outcomes: list[Outcome]) -> None:
        """Each call's answer, in the order of the calls."""
        self._outcomes += outcomes
        before = sum(len(each.text) for message in self._messages for each in message.results)
        texts = rationed([each.text for each in outcomes], MOST_PARTS * self._chat.config.max_message_size - before)
        results = [
            ToolText(id=each.call.id, tool=each.call.tool, text=text)
            for each, text in zip(outcomes, texts, strict=True)
        ]
        self._messages.append(Message(role="tool", results=tuple(results)))

    async def _answer(self) -> tuple[str, list[ToolCall]]:
        """What the model says, scrubbed, and what it wants to be called."""
        turns = [turn for turn in self._session.turns if turn is not self._messages]
        while True:
            try:
                return await self._asked([*turns, self._messages])
            except ModelError as error:
                if error.fault is not ModelFault.TOO_LONG or not turns:
                    raise
                turns = turns[len(turns) // 2 + 1 :]  # with less of what was said before

    async def _asked(self, turns: list[list[Message]]) -> tuple[str, list[ToolCall]]:
        chat, config = self._chat, self._chat.config
        tools = await self._offered()
        scrubber = await self._voice.renew()
        shown = window(turns, config, tools=bool(tools))
        messages = await all_scrubbed([message for turn in shown for message in turn], scrubber)
        self._left_out = max(sum(said.role == "user" for said in self._session.said) - len(shown), 0)
        prompt = scrubber.text(_prompt(chat, len(tools)))
        system = prompt if config.preserve_system_message or not self._left_out else ""
        streams, self._id = self._session.stream, self._new_id()
        stream, said, calls = scrubber.stream(), list[str](), list[ToolCall]()
        pieces = chat.model.answer(
            messages, [_described(*each) for each in tools.items()], system=system, stream=streams
        )
        try:
            async for piece in pieces:
                if isinstance(piece, ToolCall):
                    calls.append(piece)
                    continue
                said.append(piece)
                await self._delta(stream.feed(piece) if streams else "")
        finally:
            await _given_up(pieces)
        await self._delta(stream.close() if streams else "")
        text = scrubber.text("".join(said))
        return text if text.strip() else "", self._numbered(calls, tools)

    async def _offered(self) -> Mapping[str, Tool]:
        """What this person's model may call: the same for everybody, then the services that this person may see."""
        tools = self._chat.offer.tools()
        if not self._chat.config.services:
            return tools
        if not self._rounds:
            self._calls.services = await services_of(self._chat, self._session, tools)
        return {**self._calls.services, **tools}

    async def _delta(self, text: str) -> None:
        if text:
            await self._voice.say("delta", "", message_id=self._id, text=text)

    def _numbered(self, calls: list[ToolCall], tools: Mapping[str, Tool]) -> list[ToolCall]:
        """Calls with ids that are used once, and names that any model takes back."""
        used = {call.id for turn in self._session.turns for message in turn for call in message.calls}
        used |= {call.id for message in self._messages for call in message.calls}
        found = []
        for call in calls:
            name = call.tool if call.tool in tools else self._name(call.tool)
            fresh = bool(_ID.fullmatch(call.id)) and call.id not in used
            named = replace(call, tool=name, id=call.id if fresh else self._new_id())
            used.add(named.id)
            if call.broken:
                self._calls.refuse(named, "Invalid arguments: this is no JSON object.")
            elif not is_shallow(call.arguments):
                named = replace(named, arguments={})
                self._calls.refuse(named, "Invalid arguments: they are nested too deeply.")
            found.append(named)
        return found

    def _name(self, text: str) -> str:
        """The name of a tool that is not there, as a model may be told it."""
        return _NO_NAME.sub("_", self._voice.scrubber.text(text))[:_LONGEST_NAME] or "unknown"

    def _clean(self, calls: list[ToolCall]) -> tuple[ToolCall, ...]:
        """The calls as they are remembered; those that are made keep what the model wrote."""
        return scrubbed(Message(role="assistant", calls=tuple(calls)), self._voice.scrubber).calls

    async def _end(self, text: str, **more: Any) -> None:
        """Remember the answer, and send it."""
        self._messages.append(Message(role="assistant", text=text))
        said = self._remember(text, {**self._metadata(), **more})
        await self._voice.send(
            {
                "type": "ai_response",
                "message": text,
                "tool_calls": list(said.tool_calls),
                "tool_results": list(said.tool_results),
                "timestamp": frames.stamp(said.at),
                "metadata": said.metadata,
                "message_id": said.message_id,
            }
        )

    def _remember(self, text: str, metadata: Mapping[str, Any]) -> Said:
        scrubber = self._voice.scrubber
        calls = self._clean([outcome.call for outcome in self._outcomes])
        results: Any = results_of(self._outcomes, scrubber)
        said = Said(
            role="assistant",
            content=text,
            at=self._voice.now,
            message_id=self._id or self._new_id(),
            tool_calls=tuple({"id": call.id, "name": call.tool, "arguments": dict(call.arguments)} for call in calls),
            tool_results=tuple(results),
            metadata=metadata,
        )
        if self._is_kept():
            self._session.said.append(replace(said, content=shown(text), tool_results=short(said.tool_results)))
        return said

    def _metadata(self) -> dict[str, Any]:
        return {
            "model_id": ANSWERED.get() or self._chat.model.model_id,
            "rounds": self._rounds,
            "tool_calls": len(self._outcomes),
            "seconds": round(self._chat.system.clock.monotonic() - self._began, 3),
            "left_out": self._left_out,
        }

    async def _failed(self, error: ModelError) -> None:
        """The model did not answer: the person is told what to do, and the model nothing that it cannot take."""
        if self._chat.config.log_errors:
            _log.warning("the model did not answer a chat: %s", error.fault)
        text = apology(error, self._chat.config)
        kept = bool(self._outcomes) and error.fault in _PASSING
        if self._chat.config.graceful_degradation:
            await self._end(text, error=error.fault)
        else:
            self._messages.append(Message(role="assistant", text=text))
            self._remember(text, {**self._metadata(), "error": error.fault})
            await self._voice.say("ai_response", text, error=True)
        if not kept:
            self._drop()

    async def broke(self, text: str) -> None:
        """Something of ours failed: an operation's document, a setting of the model, the database."""
        self._drop()
        with suppress(Exception):
            await self._voice.say("ai_response", text, error=True)

    def stop(self) -> None:
        """Somebody gave it up: close what is remembered of it, so that the next turn can follow."""
        if not self._is_kept():
            return
        last = self._messages[-1]
        if last.role == "assistant" and last.calls:
            self._take([self._calls.outcome(call) for call in last.calls])
            last = self._messages[-1]
        if last.role != "assistant":
            self._messages.append(Message(role="assistant", text=STOPPED))
            self._remember(STOPPED, {**self._metadata(), "cancelled": True})

    async def close(self) -> None:
        """Withdraw what was asked, and let go of the session."""
        if self._session.turn is asyncio.current_task():
            self._session.turn = None
        try:
            await self._questions.close()
            if self._voice.given_up:
                await self._voice.renew()  # a call that was lent something may not have come back to tell
        except ValetkeyError as error:
            _log.warning("a turn of a chat could not be closed: %s", type(error).__name__)

    def _is_kept(self) -> bool:
        """Whether the session still has this turn: logging out and clearing forget it."""
        return any(turn is self._messages for turn in self._session.turns)

    def _drop(self) -> None:
        """The model is not told of it again; what the person wrote is shown still."""
        self._session.turns[:] = [turn for turn in self._session.turns if turn is not self._messages]

    def _new_id(self) -> str:
        return self._chat.system.entropy.bytes(12).hex()


async def _given_up(pieces: AsyncIterator[str | ToolCall]) -> None:
    closing = getattr(pieces, "aclose", None)
    if closing is not None:
        await closing()


def _prompt(chat: Chat, count: int) -> str:
    """What the model is told of its task; with how many tools it has, unless the operator wrote it."""
    if chat.config.system_prompt is not None or not count:
        return chat.config.prompt
    return f"{chat.config.prompt}\n- You have access to {count} {'tool' if count == 1 else 'tools'} now."


def _described(name: str, tool: Tool) -> dict[str, Any]:
    return {"name": name, "description": tool.description, "parameters": tool.schema}
