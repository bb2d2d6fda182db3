"""A docstring to a tool's description and those of its parameters: Google, Sphinx, Javadoc, numpydoc and plain."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass

_TYPE = r"(?:\((?:[^()]|\([^()]*\))*\))"
_PARAMETERS = r"(?:(?:keyword |other )?(?:args|arguments|params|parameters))"
_RESULTS = r"(?:returns?|yields?|raises)"
_SECTION = re.compile(rf"{_PARAMETERS}\s*:|(?P<results>{_RESULTS})\s*:", re.IGNORECASE)
_NUMPY_SECTION = re.compile(rf"{_PARAMETERS}|(?P<results>{_RESULTS})", re.IGNORECASE)
_NUMPY_ENTRY = re.compile(r"(?P<names>\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)(?:\s*:.*)?")
_RULE = re.compile(r"-{3,}|={3,}")
_ENTRY = re.compile(rf"(?:[-*•]\s+)?\*{{0,2}}(?P<name>\w+)\s*{_TYPE}?\s*:(?:\s+(?P<text>.*))?")
_SPHINX = re.compile(
    r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(?P<name>\w+)\s*:(?P<text>.*)"
)
_OTHER_FIELD = re.compile(
    r":(?:type\s+\S+|returns?|rtype|yields?|raises?(?:\s+\S+)?)\s*:.*"
    r"|(?:\*\s+)?[@\\](?:returns?|throws|exception)\b.*"
)
_JAVADOC = re.compile(
    rf"(?:\*\s+)?[@\\](?:param|arg|argument)\s+(?:\{{[^}}]*\}}\s*)?\*{{0,2}}(?P<name>\w+)\s*{_TYPE}?\s*(?:[:-]\s)?(?P<text>.*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Docstring:
    """What a docstring says.

    Attributes:
        text: what the function does: all but the sections and fields for parameters, results and errors.
        parameters: the description of each parameter, on one line, by name.
    """

    text: str
    parameters: dict[str, str]


def parse(docstring: str | None, names: Collection[str]) -> Docstring:
    """Tell what is said of parameters from the rest.

    Args:
        docstring: as written; None: there is none.
        names: the function's parameters, those too that no caller sees: nothing else is taken for one.
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    rest: list[str] = []
    said: dict[str, list[str]] = {}
    at = 0
    while at < len(lines):
        block = _section(lines, at) or _numpy_section(lines, at) or _field(lines, at, names)
        if block is None:
            rest.append(lines[at].rstrip())
            at += 1
            continue
        at, entries = block
        for name, texts in entries:
            if name in names:
                said.setdefault(name, []).extend(texts)
    joined = {name: " ".join(" ".join(texts).split()) for name, texts in said.items()}
    return Docstring(
        text=re.sub(r"\n{3,}", "\n\n", "\n".join(rest)).strip(),
        parameters={name: words for name, words in joined.items() if words},
    )


_Block = tuple[int, list[tuple[str, list[str]]]]
"""The line after what was read, and the text for each name in it."""


def _section(lines: list[str], at: int) -> _Block | None:
    """Google: a heading, and an indented block of entries."""
    heading = _SECTION.fullmatch(lines[at].strip())
    end = _deeper(lines, at + 1, _indent(lines[at]))
    if not heading or end == at + 1:
        return None
    body = [line for line in lines[at + 1 : end] if line.strip()]
    entries: list[tuple[str, list[str]]] = []
    for line in body if heading["results"] is None else ():
        entry = _ENTRY.fullmatch(line.strip()) if _indent(line) <= _indent(body[0]) else None
        if entry:
            entries.append((entry["name"], [entry["text"] or ""]))
        elif entries:
            entries[-1][1].append(line)
    return end, entries


def _numpy_section(lines: list[str], at: int) -> _Block | None:
    """Numpydoc: a heading that is underlined, and names each with an indented text, up to the next heading."""
    heading = _NUMPY_SECTION.fullmatch(lines[at].strip())
    if not heading or not _underlined(lines, at):
        return None
    entries: list[tuple[str, list[str]]] = []
    at += 2
    while at < len(lines) and not _underlined(lines, at):
        end = _deeper(lines, at + 1, _indent(lines[at]))
        entry = _NUMPY_ENTRY.fullmatch(lines[at].strip())
        if entry and heading["results"] is None:
            entries += [(name.strip(" *"), lines[at + 1 : end]) for name in entry["names"].split(",")]
        at = end
    return at, entries


def _field(lines: list[str], at: int, names: Collection[str]) -> _Block | None:
    """Sphinx, Javadoc and plain: one line for a parameter, continued by lines that are indented further."""
    line = lines[at].strip()
    entry = _SPHINX.fullmatch(line) or _JAVADOC.fullmatch(line)
    if entry is None and (plain := _ENTRY.fullmatch(line)) and plain["name"] in names:
        entry = plain
    if entry is None and not _OTHER_FIELD.fullmatch(line):
        return None
    end = _deeper(lines, at + 1, _indent(lines[at]), stop_at_blank=True)
    return end, [(entry["name"], [entry["text"] or "", *lines[at + 1 : end]])] if entry else []


def _underlined(lines: list[str], at: int) -> bool:
    return at + 1 < len(lines) and bool(lines[at].strip()) and bool(_RULE.fullmatch(lines[at + 1].strip()))


def _deeper(lines: list[str], at: int, indent: int, *, stop_at_blank: bool = False) -> int:
    """The first line from there on that is not indented further; blank lines before it are not passed."""
    end = at
    while at < len(lines):
        if lines[at].strip():
            if _indent(lines[at]) <= indent:
                break
            end = at + 1
        elif stop_at_blank:
            break
        at += 1
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
