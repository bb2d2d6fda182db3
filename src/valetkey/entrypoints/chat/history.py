"""What was said: scrubbed of all that is known, and the window of whole turns that the model is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

from valetkey.entrypoints.chat.rooms import Chat
from valetkey.entrypoints.chat.session import ChatSession, Said
from valetkey.entrypoints.chat.sizes import fitted, octets
from valetkey.ports.agents import Message
from valetkey.scrub import Scrubber
from valetkey.settings.bedrock import ChatConfig

ENTRIES = 200
"""Entries of a history that are kept for its client; older ones are dropped."""

OCTETS = 600_000
"""Of all of them together, so that they fit into one frame that clients take."""

OF_MESSAGE = 50_000
"""Characters of one message that are kept there."""

OF_RESULT = 20_000
"""Characters of one result that are kept there; the model is shown what settings give it."""

OF_ENTRY = 131_072
"""Octets of all results of one answer there."""


LARGE = 10_000
"""Characters from which on secrets are looked for beside the loop: what somebody wrote for it may take seconds."""

T = TypeVar("T")


async def at_ease(work: Callable[[], T], size: int) -> T:
    """What the work gives; in a thread, where it is for so many characters that all others would wait."""
    return await asyncio.to_thread(work) if size > LARGE else work()


async def scrubber_of(chat: Chat, session: ChatSession) -> Scrubber:
    """Stars out everything that was lent to this session so far, its own credential included."""
    return Scrubber(await chat.road.lender.secrets_of(session.id))


async def rescrub(session: ChatSession, scrubber: Scrubber) -> None:
    """Star out of what is stored what is known by now: a person may have written a token before they gave it.

    Whoever makes something known does it, with what is new: an ``auth`` frame, and a turn whose calls were lent more.
    """
    if not scrubber.needles:
        return
    for turn in list(session.turns):
        for message in list(turn):
            _replace(turn, message, await at_ease(partial(scrubbed, message, scrubber), _size(message)))
    for said in list(session.said):
        size = len(said.content) + sum(len(str(each)) for each in (*said.tool_calls, *said.tool_results))
        _replace(session.said, said, await at_ease(partial(_clean, said, scrubber), size))


def _replace(items: list[T], old: T, new: T) -> None:
    """Where it is still there: others go on meanwhile."""
    for at, each in enumerate(items):
        if each is old:
            items[at] = new


async def all_scrubbed(messages: Sequence[Message], scrubber: Scrubber) -> list[Message]:
    """The messages without secrets."""
    return await at_ease(lambda: [scrubbed(each, scrubber) for each in messages], sum(map(_size, messages)))


def _size(message: Message) -> int:
    calls = sum(len(str(call.arguments)) for call in message.calls)
    return len(message.text) + calls + sum(len(result.text) for result in message.results)


def scrubbed(message: Message, scrubber: Scrubber) -> Message:
    """The message without secrets; ids and names of tools are ours, and stay."""
    if not scrubber.needles:
        return message
    calls = tuple(replace(call, arguments=cast("Any", scrubber.value(call.arguments))) for call in message.calls)
    results = tuple(replace(result, text=scrubber.text(result.text)) for result in message.results)
    return replace(message, text=scrubber.text(message.text), calls=calls, results=results)


def _clean(said: Said, scrubber: Scrubber) -> Said:
    """The same where there is nothing to star; most of it was clean before."""
    before = said.content, said.tool_calls, said.tool_results
    after: Any = scrubber.value(before)
    if after is before:
        return said
    content, calls, results = after
    return replace(said, content=content, tool_calls=calls, tool_results=results)


def window(turns: Sequence[list[Message]], config: ChatConfig, *, tools: bool = True) -> list[list[Message]]:
    """The newest whole turns that fit into ``max_conversation_messages``, the last one in any case.

    A turn is never cut in two: each call stands with its result, and the first message is a person's.

    Args:
        turns: all of them, oldest first.
        config: ``conversation_strategy`` ``smart_prune`` leaves the tools out of older turns, so that more of them fit.
        tools: whether tools are offered still; where none is, a model does not take calls of earlier turns.
    """
    earlier, kept = list(turns[:-1]), list(turns[-1:])
    fits = sum(map(len, turns)) <= config.max_conversation_messages
    if not tools or (config.conversation_strategy == "smart_prune" and not fits):
        earlier = [bare(turn) for turn in earlier]
    room = config.max_conversation_messages - sum(map(len, kept))
    for turn in reversed(earlier):
        room -= len(turn)
        if room < 0:
            break
        kept.insert(0, turn)
    return kept


def bare(turn: Sequence[Message]) -> list[Message]:
    """What was asked, and what was answered at last, without the calls between."""
    texts = [replace(message, calls=()) for message in turn if message.role == "assistant" and message.text]
    return [*(message for message in turn if message.role == "user"), *texts[-1:]]


def trim(session: ChatSession, config: ChatConfig) -> None:
    """Drop what no window shows any more, and of what a client may ask for the oldest, past a size."""
    session.turns[:] = window(session.turns, config)
    size, kept = 0, 0
    for said in reversed(session.said):
        size += octets((said.content, said.tool_calls, said.tool_results))
        if kept and (kept >= ENTRIES or size > OCTETS):
            break
        kept += 1
    first = len(session.said) - kept
    while first < len(session.said) - 1 and session.said[first].role != "user":
        first += 1  # what answers a question that is gone
    del session.said[:first]


def shown(text: str) -> str:
    """A message as it is kept for those who come back: the beginning of a long one."""
    if len(text) <= OF_MESSAGE:
        return text
    return f"{text[:OF_MESSAGE]}\n[Cut: the rest of {len(text)} characters is not kept.]"


def short(entries: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """``tool_results`` as they are kept for those who come back: of long ones the beginning."""
    names = ["error" if "error" in entry else "result" for entry in entries]
    values = fitted([_short(entry[name]) for entry, name in zip(entries, names, strict=True)], OF_ENTRY)
    return tuple({**entry, name: value} for entry, name, value in zip(entries, names, values, strict=True))


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return (
        value
        if len(text) <= OF_RESULT
        else f"{text[:OF_RESULT]}\n[Cut: the rest of {len(text)} characters is not kept.]"
    )
