"""A conversation in the order that every service takes: the person first, each call answered right after it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from valetkey.ports.agents import Message, ToolCall, ToolText

LOST = "The call was interrupted; there is no result."

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ODD = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST = 64


def in_order(messages: Iterable[Message]) -> list[Message]:
    """The same conversation without what a service refuses.

    It begins with the person; no two messages of one side follow each other; none is empty; every call has its one
    result in the next message, :data:`LOST` where there is none; ids are unique and of the form that all services take.
    """
    ordered = _Ordered()
    for message in messages:
        match message.role:
            case "user":
                ordered.said(message.text)
            case "assistant":
                ordered.answered(message)
            case "tool":
                ordered.given(message.results)
    ordered.settle()
    return ordered.messages


class _Ordered:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._open: list[tuple[str, ToolCall]] = []  # with the id that the conversation has
        self._taken: set[str] = set()

    def said(self, text: str) -> None:
        if not text.strip():
            return
        self.settle()
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role == "user":
            self.messages[-1] = replace(last, text=f"{last.text}\n\n{text}")
        else:
            self.messages.append(Message(role="user", text=text))

    def answered(self, message: Message) -> None:
        if not self.messages or not (message.text.strip() or message.calls):
            return  # before the person said anything, or nothing at all
        self.settle()
        calls = tuple(self._renamed(call) for call in message.calls)
        self._open = [(old.id, new) for old, new in zip(message.calls, calls, strict=True)]
        last = self.messages[-1]
        text = message.text if message.text.strip() else ""
        if last.role == "assistant":
            self.messages[-1] = replace(last, text="\n\n".join(filter(None, (last.text, text))), calls=calls)
        else:
            self.messages.append(Message(role="assistant", text=text, calls=calls))

    def given(self, results: Sequence[ToolText]) -> None:
        known = []
        for result in results:
            wanted = next((each for each in self._open if each[0] == result.id), None)
            if wanted is not None:
                self._open.remove(wanted)
                known.append(ToolText(id=wanted[1].id, tool=wanted[1].tool, text=result.text))
        self._add(known)

    def settle(self) -> None:
        """Answer what is still open."""
        self._add([ToolText(id=call.id, tool=call.tool, text=LOST) for _, call in self._open])
        self._open = []

    def _add(self, results: list[ToolText]) -> None:
        if not results:
            return
        last = self.messages[-1]
        if last.role == "tool":
            self.messages[-1] = replace(last, results=(*last.results, *results))
        else:
            self.messages.append(Message(role="tool", results=tuple(results)))

    def _renamed(self, call: ToolCall) -> ToolCall:
        given = call.id if _ID.fullmatch(call.id) else "call"
        name = next(each for each in _numbered(given) if each not in self._taken)
        self._taken.add(name)
        return replace(call, id=name)


class Names:
    """Tools' names as services take them, and back. Most names stay as they are."""

    def __init__(self, tools: Sequence[Mapping[str, Any]], messages: Sequence[Message]) -> None:
        self._sent: dict[str, str] = {}
        self._meant: dict[str, str] = {}
        called = [call.tool for message in messages for call in message.calls]
        for name in dict.fromkeys([*(str(tool["name"]) for tool in tools), *called]):
            fit = name if _NAME.fullmatch(name) else _ODD.sub("_", name)[:_LONGEST] or "tool"
            sent = next(each for each in _numbered(fit) if each not in self._meant)
            self._sent[name], self._meant[sent] = sent, name

    def sent(self, name: str) -> str:
        """The name for the service."""
        return self._sent[name]

    def meant(self, name: str) -> str:
        """The tool that the service's model named; its own word, where there is none."""
        return self._meant.get(name, name)


def _numbered(name: str) -> Iterator[str]:
    """The name, then the name with a number."""
    yield name
    number = 2
    while True:
        end = f"-{number}"
        yield f"{name[: _LONGEST - len(end)]}{end}"
        number += 1
