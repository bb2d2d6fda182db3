"""What the demo prints: a story for a person, one line a step when nobody is there."""

from __future__ import annotations

import asyncio
import io
import json
import re
import textwrap
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from valetkey.cli.output import console, plain
from valetkey.ports.agents import Message, ToolCall

if TYPE_CHECKING:
    from rich.table import Table

T = TypeVar("T")

_WIDEST = 100
_URL = re.compile(r"https?://[^\s\"]+")
_FRAME = re.compile(r"[\s─-╿]+")  # white space and the lines of boxes
_WHO = {"user": "person", "assistant": "model", "tool": "tool"}


class Screen:
    """Prints to ``out`` and remembers what was printed.

    Args:
        auto: nobody watches: one line a step, no story.
        out: a text stream, standard output as a rule.
    """

    def __init__(self, out: IO[str], *, auto: bool) -> None:
        self._auto = auto
        self._recorded = _Recorded(out)
        self._console = console(self._recorded)
        self._console.width = min(self._console.width, _WIDEST)

    @property
    def printed(self) -> dict[str, str]:
        """All that was printed, as it is and without the breaks that lines and boxes put into it."""
        text = self._recorded.getvalue()
        return {"this terminal": text, "this terminal, its lines joined": _FRAME.sub("", text)}

    def title(self, text: str) -> None:
        """The first line."""
        self._print(text, style="bold")

    def tell(self, text: str) -> None:
        """Explain something, to a person who watches."""
        if not self._auto:
            self._print(text)

    def heading(self, number: int, text: str) -> None:
        """Begin a step, for a person who watches."""
        if not self._auto:
            from rich.rule import Rule

            self._console.print()
            self._console.print(Rule(f"{number}. {text}", align="left", style="dim"))

    def says(self, who: str, text: str) -> None:
        """A line of the conversation, for a person who watches."""
        if not self._auto:
            self._beside(f"  {who}", "cyan", plain(text), width=10)

    def link(self, url: str) -> None:
        """A link, whole and by itself, so that it can be clicked or copied."""
        if not self._auto:
            from rich.text import Text

            self._console.print()
            self._console.print(Text(url, style=f"underline link {url}"), soft_wrap=True)
            self._console.print()

    def copy(self, text: str) -> None:
        """Something to type or to copy, by itself."""
        if not self._auto:
            self._console.print(f"\n    {plain(text)}\n", style="bold", soft_wrap=True)

    def done(self, step: str, seconds: float, text: str) -> None:
        """A step has ended well."""
        if self._auto:
            self._beside(f"ok  {step:<8} {seconds:6.2f} s", "green", text, width=23)
        else:
            self._beside("  ok", "green", text, width=10)

    def panel(self, title: str, rows: Sequence[tuple[str, str]], note: str = "") -> None:
        """Name and text in rows, in a frame."""
        from rich.panel import Panel

        self._console.print()
        self._console.print(
            Panel(_grid(rows), title=title, title_align="left", subtitle=note or None, subtitle_align="left")
        )

    def end(self, text: str) -> None:
        """The last line."""
        self._console.print()
        self._print(text, style="bold green")

    async def wait(self, work: Coroutine[Any, Any, T], seconds: int) -> T:
        """Do the work, and show meanwhile how long the person still has."""
        task = asyncio.ensure_future(work)
        try:
            with self._countdown(seconds) as show:
                for left in range(seconds, -1, -1):
                    show(left)
                    if (await asyncio.wait({task}, timeout=1))[0]:
                        break
                return await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Show that something is done, on a terminal; nothing for an empty text."""
        if text and self._moves:
            with self._console.status(text):
                yield
        else:
            yield

    @property
    def _moves(self) -> bool:
        return self._console.is_terminal and not self._console.is_dumb_terminal

    @contextmanager
    def _countdown(self, seconds: int) -> Iterator[Callable[[int], object]]:
        if not self._moves:
            self._print(f"Waiting for you, up to {seconds // 60} minutes. Ctrl-C ends the demo.")
            yield bool  # nothing moves here
            return
        with self._console.status("Waiting for you") as status:
            yield lambda left: status.update(
                f"Waiting for you: {left // 60}:{left % 60:02d} left. Ctrl-C ends the demo."
            )

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(plain(text), style=style)

    def _beside(self, name: str, style: str, text: str, *, width: int) -> None:
        """A short name, and a text that wraps beside it."""
        from rich.text import Text

        room = max(self._console.width - width, 20)
        for line in text.splitlines():
            for part in textwrap.wrap(line, room) or [""]:
                self._console.print(Text.assemble((f"{name:<{width}}", style), part), soft_wrap=True)
                name = ""


def conversation(tools: Sequence[dict[str, Any]], messages: Sequence[Message]) -> list[tuple[str, str]]:
    """All that a model saw, in rows; links are cut short where they begin to be long."""
    rows = [("tools", "\n".join(_signature(tool) for tool in tools))]
    for message in messages:
        text = "\n".join(
            [
                *([message.text] if message.text else []),
                *(f"calls {shown_call(call)}" for call in message.calls),
                *(_readable(result.text) for result in message.results),
            ]
        )
        rows.append((_WHO[message.role], _URL.sub(_short, text)))
    return rows


def shown_call(call: ToolCall) -> str:
    """A call as Python writes it."""
    arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in call.arguments.items())
    return f"{call.tool}({arguments})"


def _signature(tool: dict[str, Any]) -> str:
    names = ", ".join(tool["parameters"].get("properties", {}))
    about = (tool["description"].strip().splitlines() or [""])[0].partition(". ")[0]
    return f"{tool['name']}({names}): {about.removesuffix('.')}"


def _short(match: re.Match[str]) -> str:
    parts = urlsplit(match[0])
    return f"{parts.scheme}://{parts.netloc}{parts.path}?…" if parts.query else match[0]


def _readable(text: str) -> str:
    """The same JSON with spaces, so that it can wrap; any other text as it is."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:
        return text


def _grid(rows: Sequence[tuple[str, str]]) -> Table:
    """Names, and texts that wrap beside them."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(Text(name), Text(plain(text)))
    return grid


class _Recorded(io.StringIO):
    """A stream that keeps a copy of what goes through it."""

    def __init__(self, out: IO[str]) -> None:
        super().__init__()
        self._out = out

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._out, "encoding", None) or "utf-8"

    def reconfigure(self, **options: Any) -> None:
        if hasattr(self._out, "reconfigure"):
            self._out.reconfigure(**options)

    def write(self, text: str) -> int:
        super().write(text)
        return self._out.write(text)

    def flush(self) -> None:
        self._out.flush()

    def isatty(self) -> bool:
        return self._out.isatty()
