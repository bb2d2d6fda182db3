"""What every command prints with: a console that suits where it prints, JSON, one line for an error."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_UNWRAPPED = 2_000  # columns


def console(file: IO[str] | None = None) -> Console:
    """A console on standard output (or ``file``): colours only on a terminal, and never where NO_COLOR is set."""
    from rich.console import Console  # not needed for --json

    out = sys.stdout if file is None else file
    if hasattr(out, "reconfigure"):
        out.reconfigure(errors="replace")  # a terminal of another coding shows "?" instead of ending the command
    return Console(file=out, highlight=False, emoji=False, markup=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table without frames; on a terminal long cells are wrapped, and for a pipe each row is one line."""
    from rich import box
    from rich.table import Table

    out = console()
    if not out.is_terminal:
        out.width = _UNWRAPPED
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    out.print(table)


def print_error(text: str) -> None:
    """One line on standard error."""
    line = " ".join(plain(text).split())
    print(f"valetkey: {line}", file=sys.stderr)


def plain(text: str) -> str:
    """Text without what could command a terminal: control and format characters, but for line breaks and tabs."""
    return "".join(
        character
        for character in text
        if character in "\n\t\u200c\u200d" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
    )
