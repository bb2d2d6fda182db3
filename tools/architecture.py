"""Print the tree of src/valetkey, each module with its docstring's first line, into docs/architecture.md."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tools.generated import ROOT, asked_to_write, between, settle

PACKAGE = ROOT / "src" / "valetkey"
PAGE = ROOT / "docs" / "architecture.md"
COLUMN = 30


def main() -> int:
    """Write the page, or check that it has not drifted."""
    write = asked_to_write(__doc__)
    missing = [str(path.relative_to(ROOT)) for path in sorted(PACKAGE.rglob("*.py")) if not caption(path)]
    if missing:
        print("no docstring, so no caption: " + ", ".join(missing), file=sys.stderr)
        return 1
    block = "```\nsrc/valetkey/\n" + "\n".join(tree(PACKAGE, order())) + "\n```"
    return settle(PAGE, between(PAGE.read_text(), "tree", block), write=write)


def caption(path: Path) -> str:
    """First line of a module's docstring; empty when it has none."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def tree(folder: Path, layers: list[str], depth: int = 1) -> Iterator[str]:
    """One line for each module and package of a folder, in the order of its layers, then by name."""
    entries = [each for each in folder.iterdir() if each.suffix == ".py" or (each / "__init__.py").is_file()]

    def rank(entry: Path) -> tuple[int, str]:
        name = entry.stem
        return (layers.index(name) if name in layers else len(layers), name)

    for entry in sorted(entries, key=rank):
        if entry.stem == "__init__":
            continue
        source = entry / "__init__.py" if entry.is_dir() else entry
        name = "  " * depth + entry.name + ("/" if entry.is_dir() else "")
        yield f"{name:<{COLUMN}}  {caption(source)}"
        if entry.is_dir():
            yield from tree(entry, layers, depth + 1)


def order() -> list[str]:
    """The rooms from the lowest layer up, as the import contracts list them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = [row for contract in contracts for row in reversed(contract.get("layers", []))]
    return [name.strip(" ()") for row in rows for name in row.replace(":", "|").split("|")]


if __name__ == "__main__":
    sys.exit(main())
