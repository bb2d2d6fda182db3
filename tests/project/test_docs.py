"""Docs cannot lie: every Python block of README.md and docs/ runs, and every example compiles."""

import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.document import Document
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.is_file()]
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
NOT_RUN = re.compile(r"<!-- not run: \S.+ -->\s*$")  # just above a block, with the reason


def parse(path: Path) -> Document:
    """The Python blocks of a page, sharing one namespace."""
    return Sybil(parsers=[PythonCodeBlockParser()], path=str(ROOT)).parse(path)


def run(document: Document) -> int:
    """Run every block that is not marked; how many ran."""
    ran = 0
    for example in document.examples():
        if not NOT_RUN.search(document.text[: example.region.start]):
            example.evaluate()
            ran += 1
    return ran


@pytest.mark.requirement("seed003.keywords", "D.docs")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_run(path):
    run(parse(path))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_example_compiles(path):
    compile(path.read_text(), path, "exec")


def test_a_block_that_fails_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\nx / 0\n```\n")
    with pytest.raises(ZeroDivisionError):
        run(parse(page))


def test_a_block_is_left_out_only_with_a_reason(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: needs an account at the provider -->\n```python\n1 / 0\n```\n")
    assert run(parse(page)) == 0
    page.write_text("<!-- not run: -->\n```python\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError):
        run(parse(page))
