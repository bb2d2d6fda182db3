"""What operations and their arguments are called, and which paths are offered."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from hashlib import sha256

from valetkey.tools.openapi.paths import readings

LONGEST = 64
"""Characters of a tool's name, and of an argument's (Bedrock Converse, ``ToolSpecification``)."""

LONGEST_DESCRIPTION = 1024

_OTHER = re.compile(r"[^A-Za-z0-9_]")
_NOT_IN_ARGUMENTS = re.compile(r"[^A-Za-z0-9_.-]")
_TEMPLATE = re.compile(r"\{[^{}]*\}")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def tool_name(operation_id: object, method: str, path: str) -> str:
    """The name of an operation's tool: its ``operationId`` cleaned, else method and path."""
    name = _OTHER.sub("_", operation_id) if isinstance(operation_id, str) else ""
    if not name.strip("_"):
        words = [word for word in re.split(r"[^A-Za-z0-9]+", path) if word]
        name = "_".join([method.lower(), *words])
    if name[0].isdigit():
        name = f"api_{name}"
    return shortened(name, f"{method} {path}")


def shortened(name: str, whole: str) -> str:
    """The name, cut where it is too long, with a mark that follows from ``whole``."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}_{_mark(whole, 8)}"


def distinct(name: str, whole: str, taken: Container[str]) -> str:
    """The name, or where it is taken one that is not: with a mark that follows from ``whole``."""
    if name not in taken:
        return name
    for size in range(6, 64):
        found = f"{name[: LONGEST - size - 1]}_{_mark(whole, size)}"
        if found not in taken:
            return found
    return found


def _mark(text: str, size: int) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:size]


def argument_name(name: str, place: str, taken: Container[str]) -> str:
    """What a parameter is called among the arguments: as it is, or, where that is taken, with its place before it."""
    cleaned = _NOT_IN_ARGUMENTS.sub("_", name)[:LONGEST] or place
    if cleaned not in taken:
        return cleaned
    placed = f"{place}_{cleaned}"[:LONGEST]
    number = 2
    found = placed
    while found in taken:
        found = f"{placed[: LONGEST - 4]}_{number}"
        number += 1
    return found


def one_line(text: object, longest: int) -> str:
    """Text for a model or a person: on one line, without control characters, cut where it is too long."""
    line = _BLANK.sub(" ", text).strip() if isinstance(text, str) else ""
    return line if len(line) <= longest else line[: longest - 1] + "…"


def tool_description(description: object, summary: object, method: str, path: str) -> str:
    """``"{description or summary}. (HTTP GET /path)"``."""
    end = f" (HTTP {method} {one_line(path, 200)})"
    text = one_line(description, 100_000) or one_line(summary, 100_000) or f"{method} {path}"
    return one_line(text.rstrip(". "), LONGEST_DESCRIPTION - len(end) - 1) + "." + end


class Paths:
    """Which paths are offered.

    A pattern matches whole segments, from the first on: ``/health`` is ``/health`` and ``/health/live``, and not
    ``/health-records``. ``*`` stands for any text within a segment, ``**`` for any number of segments, and ``{name}``
    for a parameter of whatever name.

    Args:
        allowed: patterns; none: all paths.
        excluded: patterns that go before.
    """

    def __init__(self, allowed: Sequence[str], excluded: Sequence[str]) -> None:
        self._allowed = [_pattern(each) for each in allowed if each.strip()]
        self._excluded = [_pattern(each) for each in excluded if each.strip()]
        closed = [_pattern(each, parameter="[^/]*").pattern for each in excluded if each.strip()]
        self._closed = re.compile("|".join(closed)) if closed else None

    def offers(self, path: str) -> bool:
        """Whether operations of that path are offered.

        Raises:
            InvalidArguments: it is encoded in a way that nobody can read.
        """
        text = _plain(path)
        allowed = not self._allowed or any(pattern.match(text) for pattern in self._allowed)
        forms = [_plain(form) for form in readings(path)] if allowed and self._excluded else []
        return allowed and not any(pattern.match(form) for form in forms for pattern in self._excluded)

    def closes(self, path: str) -> bool:
        """Whether a path as it would be sent, with its values, is excluded."""
        return self._closed is not None and self._closed.match(_plain(path)) is not None


def _plain(path: str) -> str:
    """Slashes as one, none at the end, parameters without their names, in one case."""
    if "{" in path:
        path = "/".join(_TEMPLATE.sub("{}", part) for part in path.split("/"))
    return "/" + "/".join(filter(None, path.split("/"))).casefold()


def _pattern(glob: str, *, parameter: str = re.escape("{}")) -> re.Pattern[str]:
    segments = [part for part in _plain(glob.strip()).split("/") if part]
    written = ""
    for segment in segments:
        if segment == "**":
            written += r"(?:/[^/]+)*?"
        else:
            escaped = "[^/]*".join(re.escape(part) for part in segment.split("*"))
            written += "/" + escaped.replace(re.escape("{}"), parameter)
    return re.compile(f"{written}(?:/|$)" if written else "/")
