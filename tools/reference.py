"""Write what the pages take from the code, into docs/: the catalogue, the six states, the help of each command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.generated import ROOT, asked_to_write, between, settle
from valetkey.cli.main import app
from valetkey.connections.states import TABLE
from valetkey.providers.base import HandlerEntry, Provider
from valetkey.providers.endpoints import PLACEHOLDER
from valetkey.providers.names import BUILTIN
from valetkey.providers.registry import Registry

DOCS = ROOT / "docs"
COLUMNS = 80


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
    """One row for each provider that we ship."""
    registry = Registry(())
    rows = [_provider(registry.get(name)) for name in sorted(BUILTIN)]
    head = ("name", "title", "handlers, the default one first", "what tools read", "client settings")
    return _table(head, rows)


def _provider(provider: Provider) -> tuple[str, ...]:
    entries = sorted(provider.handlers, key=lambda entry: not entry.default)
    variables = dict.fromkeys(name for entry in entries for name in entry.variables)
    title = f"[{provider.title}]({provider.docs})" if provider.docs else provider.title
    return (
        f"`{provider.name}`",
        title,
        ", ".join(f"`{entry.name}`" for entry in entries),
        ", ".join(f"`{name}`" for name in variables),
        ", ".join(f"`{name}`" for name in _settings(entries)) or "none: pasted",
    )


def _settings(entries: Iterable[HandlerEntry]) -> dict[str, None]:
    """What has to be set for the handlers of a provider."""
    needed: dict[str, None] = {}
    for entry in entries:
        if entry.oauth2 is not None:
            endpoints = f"{entry.oauth2.authorize.url} {entry.oauth2.token.url}"
            needed |= dict.fromkeys(("client_id", "client_secret", *PLACEHOLDER.findall(endpoints)))
    return needed


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
