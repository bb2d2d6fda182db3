"""Files that are made from the code: write them, or say that they have drifted."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def asked_to_write(description: str | None) -> bool:
    """Read the command line: `--write`, or `--check`."""
    parser = argparse.ArgumentParser(description=description)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--write", action="store_true")
    return bool(parser.parse_args().write)


def settle(path: Path, text: str, *, write: bool) -> int:
    """Write `text` to `path`, or compare it with what is there; 0 when they agree afterwards."""
    if path.is_file() and path.read_text() == text:
        return 0
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"{path.relative_to(ROOT)} is written")
        return 0
    print(f"{path.relative_to(ROOT)} has drifted from what it is made of: run `make docs`", file=sys.stderr)
    return 1


def between(text: str, name: str, block: str) -> str:
    """Put `block` between the marks `<!-- name: begin -->` and `<!-- name: end -->` of a Markdown page.

    Raises:
        ValueError: the page has not exactly one pair of these marks.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        message = f"the page must have one {begin} and one {end}"
        raise ValueError(message)
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    return f"{head}{begin}\n{block}\n{end}{tail}"
