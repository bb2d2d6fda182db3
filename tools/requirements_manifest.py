"""Prove tests/requirements.toml in both directions, and make docs/conformance.md from it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.generated import ROOT, asked_to_write, settle

MANIFEST = ROOT / "tests" / "requirements.toml"
PAGE = ROOT / "docs" / "conformance.md"
KEYS = {"id", "source", "text", "tests", "gap"}


def main() -> int:
    """Check the manifest, then write the page or check that it has not drifted."""
    write = asked_to_write(__doc__)
    entries = tomllib.loads(MANIFEST.read_text())["requirement"]
    problems = list(faults(entries, marks(ROOT / "tests", ROOT)))
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    return settle(PAGE, page(entries), write=write)


def marks(tests: Path, root: Path) -> dict[str, set[str]]:
    """Every test of the folder as `path::name`, with the requirements that its marks name."""
    found: dict[str, set[str]] = {}
    for path in sorted(path for path in tests.rglob("test_*.py") if "node_modules" not in path.parts):
        module = ast.parse(path.read_text())
        place = path.relative_to(root).as_posix()
        for prefix, body, outer in [(place, module.body, set[str]()), *classes(place, module)]:
            for node in body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
                    found[f"{prefix}::{node.name}"] = outer | named(node)
    return found


def classes(place: str, module: ast.Module) -> Iterator[tuple[str, list[ast.stmt], set[str]]]:
    """The test classes of a module: their prefix, their body, the requirements marked on the class."""
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield f"{place}::{node.name}", node.body, named(node)


def named(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[str]:
    """The ids in `@pytest.mark.requirement("id", …)` above a test."""
    return {
        str(argument.value)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.requirement"
        for argument in decorator.args
        if isinstance(argument, ast.Constant)
    }


def faults(entries: list[dict[str, Any]], tests: dict[str, set[str]]) -> Iterator[str]:
    """One line for each thing in which the manifest and the tests disagree."""
    for name, times in Counter(entry.get("id") for entry in entries).items():
        if times > 1:
            yield f"{name}: {times} entries have this id"
    for entry in entries:
        yield from amiss(entry, tests)
    listed = {entry.get("id"): set(entry.get("tests", [])) for entry in entries}
    for test, name in sorted((test, name) for test, names in tests.items() for name in names):
        if name not in listed:
            yield f"{test}: is marked for {name}, and there is no such requirement"
        elif test not in listed[name]:
            yield f"{test}: is marked for {name}, whose entry does not list it"


def amiss(entry: dict[str, Any], tests: dict[str, set[str]]) -> Iterator[str]:
    """One line for each thing that is wrong with one entry."""
    name = entry.get("id", "(no id)")
    if set(entry) - KEYS or not all(entry.get(key) for key in ("id", "source", "text")):
        yield f"{name}: has {', '.join(sorted(entry))}; must have id, source, text, and tests or gap"
    if bool(entry.get("tests")) == bool(entry.get("gap")):
        yield f"{name}: must have either tests or a gap"
    for test in sorted(set(entry.get("tests", [])) - set(tests)):
        yield f"{name}: there is no test {test}"


def page(entries: list[dict[str, Any]]) -> str:
    """The conformance page: what is promised, by source, and what shows it."""
    shown = sum(bool(entry.get("tests")) for entry in entries)
    lines = [
        "# What is promised, and what shows it",
        "",
        "Made from `tests/requirements.toml` by `make docs`; do not edit. A promise is shown by the tests",
        "that it names, or it is a gap that says what is missing.",
        "",
        f"{len(entries)} promises: {shown} shown, {len(entries) - shown} gaps.",
    ]
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        groups[document(entry["source"])].append(entry)
    for group, members in groups.items():
        lines += [
            "",
            f"## {group[0].upper()}{group[1:]}",
            "",
            "| id | source | promise | shown by |",
            "|---|---|---|---|",
        ]
        lines += [row(entry) for entry in members]
    return "\n".join(lines) + "\n"


def document(source: str) -> str:
    """The document that a source is a place in: "contract hyperpocket 1.1" is in "contract hyperpocket"."""
    found = re.match(r"seed \d+|contract [a-z-]+|[a-z-]+", source)
    return found[0] if found else source


def row(entry: dict[str, Any]) -> str:
    """One promise as a row of its table."""
    shown = "<br>".join(f"`{test}`" for test in entry.get("tests", [])) or f"gap: {entry['gap']}"
    cells = (f"`{entry['id']}`", entry["source"], entry["text"], shown)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
