"""Write what the pages take from the code, into docs/: the catalogue, the six states, the help of each command."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.generated import ROOT, asked_to_write, between, settle
from valetkey.cli.main import app
from valetkey.connections.states import TABLE
from valetkey.providers.names import BUILTIN
from valetkey.providers.registry import Registry

DOCS = ROOT / "docs"
COLUMNS = 80
WIDTH = 120


def main() -> int:
    """Write the blocks, or check that they have not drifted."""
    write = asked_to_write(__doc__)
    blocks = {
        "accounts.md": {"states": states()},
        "cli.md": {"help": command_help()},
        "providers.md": {"catalogue": catalogue()},
    }
    return max(_settle(DOCS / name, found, write=write) for name, found in blocks.items())


def _settle(page: Path, blocks: dict[str, str], *, write: bool) -> int:
    text = page.read_text()
    for name, block in blocks.items():
        text = between(text, name, block)
    return settle(page, text, write=write)


def catalogue() -> str:
    """How many providers we ship, and their names."""
    registry = Registry(())
    providers = [registry.get(name) for name in sorted(BUILTIN)]
    oauth2 = sum(any(entry.oauth2 for entry in provider.handlers) for provider in providers)
    names = ", ".join(f"`{provider.name}`" for provider in providers)
    text = f"There are {len(providers)} providers, {oauth2} of them with OAuth 2: {names}."
    return "\n".join(textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False))


def states() -> str:
    """The six states as ``connections/states.py`` has them; the two rows below its table are what is left over."""
    mark = {True: "yes", False: "no", None: ""}
    rows = [(*(mark[fact] for fact in facts), f"`{state.name}`") for *facts, state in TABLE]
    rows += [("an account, too few scopes", "", "no", "", "`DO_AUTH`"), ("no account", "", "no", "", "`NO_SESSION`")]
    head = (
        "the account there is serves the request",
        "its token is near its end",
        "a link is open",
        "and was answered",
        "state",
    )
    return _table(head, rows)


def command_help() -> str:
    """What each command says of itself."""
    return "\n\n".join(f"```\n$ valetkey {' '.join([*words, '--help'])}\n{_help(words)}\n```" for words in commands())


def commands() -> Iterator[list[str]]:
    """Every command, by its words, in the order of its names; the whole first."""

    def walk(words: list[str]) -> Iterator[list[str]]:
        yield words
        inner = app
        for word in words:
            inner = inner[word]
        for name in sorted(name for name in inner if not name.startswith("-")):
            yield from walk([*words, name])

    yield from walk([])


def _help(words: list[str]) -> str:
    plain = {"COLUMNS": str(COLUMNS), "TERM": "dumb", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    ended = subprocess.run(
        [sys.executable, "-m", "valetkey", *words, "--help"],
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, **plain},
    )
    return "\n".join(line.rstrip() for line in ended.stdout.strip().splitlines())


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    sys.exit(main())
