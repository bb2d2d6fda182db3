"""Tool results in plain words."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from valetkey.adapters.standin.words import stem
from valetkey.ports.agents import ToolText

_LINK = re.compile(r"\s*User needs to authenticate using the following URL:\s*(\S+)\s*")
_FAILED = re.compile(r"There was an error while executing the tool:\s*(.*)", re.DOTALL)
_MOST_ITEMS = 10
_MOST_TEXT = 600
_MOST_CELL = 120


def link_in(text: str) -> str | None:
    """The link, if the result is nothing but the text that asks for an account."""
    match = _LINK.fullmatch(text)
    return match[1] if match else None


def summary(results: Sequence[ToolText]) -> str:
    """What was found, and what a person has to do first."""
    links: dict[str, list[str]] = {}
    said = []
    for result in results:
        url = link_in(result.text)
        if url is None:
            said.append(_say(result))
        else:
            links.setdefault(url, []).append(result.tool)
    for url, tools in links.items():
        said.append(
            f"{' and '.join(dict.fromkeys(tools))} needs an account that is not connected yet. "
            f"Please open this link:\n{url}\nI will go on when that is done."
        )
    return "\n".join(said)


def _say(result: ToolText) -> str:
    failure = _FAILED.fullmatch(result.text.strip())
    if failure:
        return f"{result.tool} did not work: {_cut(failure[1], _MOST_TEXT)}"
    if not result.text.strip():
        return f"{result.tool} gave nothing."
    try:
        value = json.loads(result.text)
    except ValueError:
        return f"{result.tool} says: {_cut(result.text.strip(), _MOST_TEXT)}"
    if isinstance(value, dict) and len(value) == 1:
        (name, inner), *_ = value.items()
        if isinstance(inner, list):
            return _say_list(result.tool, inner, str(name))
    if isinstance(value, list):
        return _say_list(result.tool, value, "items")
    return f"{result.tool} gave {_told(value)}."


def _say_list(tool: str, items: list[Any], noun: str) -> str:
    if not items:
        return f"{tool} found no {noun}."
    head = f"{tool} found {len(items)} {stem(noun) if len(items) == 1 else noun}:"
    lines = [f"- {_told(item)}" for item in items[:_MOST_ITEMS]]
    more = [f"- and {len(items) - _MOST_ITEMS} more"] if len(items) > _MOST_ITEMS else []
    return "\n".join([head, *lines, *more])


def _told(value: Any) -> str:
    """A value without its brackets, one level deep."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(inner)}" for name, inner in value.items()) or "nothing"
    return _cell(value)


def _cell(value: Any) -> str:
    match value:
        case True:
            return "yes"
        case False:
            return "no"
        case None:
            return "nothing"
        case str():
            return _cut(" ".join(value.split()), _MOST_CELL)
        case _:
            return _cut(json.dumps(value, ensure_ascii=False), _MOST_CELL)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"
