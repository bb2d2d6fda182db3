"""Refuse what no committed file may hold: an index's address, one machine's paths, who or what wrote it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.generated import ROOT

REFUSED = {
    "the address of a package index": re.compile(
        r"pypi\.org|pythonhosted\.org|registry\.(npmjs|yarnpkg)|npmjs\.(org|com)|deb\.debian\.org"
        r"|proxy\.golang\.org|--(extra-|default-)?index-ur[l]|find-link[s]\b|\"resolved\":\s*\"http",
        re.IGNORECASE,
    ),
    "a path of one machine": re.compile(
        r"(?<![\w./-])/(work/|root\b|opt/(pypi|wheels)|home/\w+/|Users/\w+/|tmp/(bash|vk)\b)|/\.pyenv/"
    ),
    "a word about who or what wrote it": re.compile(
        r"co-authored-by|\bai-(generated|written|assisted)\b|as an ai\b"
        r"|(generated|written|made|created) (by|with) (an? )?(ai\b|llm|claude|chatgpt|copilot|gemini|codex)",
        re.IGNORECASE,
    ),
    "a mark of unfinished work": re.compile(r"\b(TODO|FIXME|XXX)\b"),
    "a conflict that was not settled": re.compile(r"^(<{7}|>{7}) ", re.MULTILINE),
}
BINARY = {".png", ".ico", ".woff2", ".gz", ".db"}


def main() -> int:
    """Look through every file that git has or would take; 0 when nothing is found."""
    found = [line for path in files() for line in look(path)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


def files() -> list[Path]:
    """Files that are committed, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in sorted(set(listed.split("\0"))) if name and (path := ROOT / name).is_file()]


def look(path: Path) -> Iterator[str]:
    """One line `path:line: what is there` for each place that is refused."""
    if path.suffix in BINARY or path == Path(__file__).resolve():
        return
    text = path.read_text(encoding="utf-8")
    for what, pattern in REFUSED.items():
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            yield f"{name}:{line}: {what}: {match.group()!r}"


if __name__ == "__main__":
    sys.exit(main())
