"""The offline stand-in for a language model: decides by plain rules, invents nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from valetkey.adapters.standin.arguments import fill
from valetkey.adapters.standin.summary import link_in, summary
from valetkey.adapters.standin.words import meaning
from valetkey.ports.agents import Message, Reply, ToolCall, ToolText

_CALL = re.compile(r"CALL[ \t]+(\S+)[ \t]*(.*)")
_PIECE = re.compile(r"\s*\S+\s*|\s+")
_GO_ON = re.compile(r"\b(?:done|continue|connected|ready|proceed|yes|ok|okay|go (?:on|ahead))\b", re.IGNORECASE)


class Offline:
    """Answers like a model that calls tools, without one.

    Each line ``CALL tool {json}`` of the person's last message is a call. Other text is matched with the tool whose
    name and description share most words with it. Results are summed up. A result that is the link to an account is
    handed to the person, and the call is made again when they say that it is done.

    The same conversation always has the same answer. Only the person's own words are followed: what a tool gives is
    told, never obeyed.
    """

    model_id = "offline"

    def reply(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Reply:
        """The answer to a conversation; ``tools`` are those of ``Pocket.describe_tools``."""
        results = _latest_results(messages)
        if results:
            return Reply(text=summary(results))
        asked = next((message.text for message in reversed(messages) if message.role == "user"), "")
        wanted, problems = _written(asked)
        if problems:
            return Reply(text="\n".join(problems))
        if not wanted and _GO_ON.search(asked):
            wanted = _waiting(messages)
        if not wanted:
            tool = _best(asked, tools)
            if tool is None:
                return Reply(text=_at_a_loss(tools))
            wanted = [(tool["name"], fill(asked, tool))]
        made = sum(len(message.calls) for message in messages)
        return Reply(
            calls=tuple(
                ToolCall(id=f"call-{number}", tool=name, arguments=arguments)
                for number, (name, arguments) in enumerate(wanted, made + 1)
            )
        )

    def stream(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Iterator[str | ToolCall]:
        """The same answer, word by word, then call by call."""
        reply = self.reply(messages, tools)
        yield from _PIECE.findall(reply.text)
        yield from reply.calls


def _latest_results(messages: Sequence[Message]) -> list[ToolText]:
    """The results that the conversation ends with."""
    last = list(takewhile(lambda message: message.role == "tool", reversed(messages)))
    return [result for message in reversed(last) for result in message.results]


def _written(text: str) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """The calls that the person wrote out, and what is wrong with them."""
    calls, problems = [], []
    for line in text.splitlines():
        match = _CALL.fullmatch(line.strip())
        if match is None:
            continue
        name, written = match.groups()
        try:
            arguments = json.loads(written or "{}")
        except ValueError:
            arguments = None
        if isinstance(arguments, dict):
            calls.append((name, arguments))
        else:
            problems.append(f"I cannot read the arguments of {name}: write CALL {name} followed by one JSON object.")
    return calls, problems


def _waiting(messages: Sequence[Message]) -> list[tuple[str, dict[str, Any]]]:
    """The calls of the last round that only gave a link."""
    round_: dict[str, ToolCall] = {}
    waiting: list[ToolCall] = []
    for message in messages:
        if message.calls:
            round_, waiting = {call.id: call for call in message.calls}, []
        waiting += [round_[each.id] for each in message.results if link_in(each.text) and each.id in round_]
    return [(call.tool, dict(call.arguments)) for call in waiting]


def _best(text: str, tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The tool that shares most words with the text; of two the one that shares more of its name, then the first."""
    said = meaning(text)
    best, most = None, (0, 0)
    for tool in tools:
        name = meaning(tool["name"])
        score = len(said & (name | meaning(tool.get("description") or ""))), len(said & name)
        if score[0] and score > most:
            best, most = tool, score
    return best


def _at_a_loss(tools: Sequence[Mapping[str, Any]]) -> str:
    if not tools:
        return "I have no tools here, and no language model behind me: there is nothing that I can do."
    listed = [f"- {tool['name']}: {_first_line(tool)}" if _first_line(tool) else f"- {tool['name']}" for tool in tools]
    return "\n".join(["None of my tools fits that. I have:", *listed, "CALL name {json} calls one."])


def _first_line(tool: Mapping[str, Any]) -> str:
    lines = (tool.get("description") or "").strip().splitlines()
    return lines[0].strip() if lines else ""
