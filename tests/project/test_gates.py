"""The gates themselves: each finds what it is there to find."""

import re
import tomllib
from pathlib import Path

import pytest

from tools import architecture, committed, environment, generated, requirements_manifest

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_page_that_drifted_fails_and_is_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("old\n")
    assert generated.settle(page, "new\n", write=False) == 1
    assert generated.settle(page, "new\n", write=True) == 0
    assert page.read_text() == "new\n"
    assert generated.settle(page, "new\n", write=False) == 0


def test_an_old_python_is_told_what_is_needed(monkeypatch):
    monkeypatch.setattr(environment, "MINIMUM", (3, 99))
    assert "make PYTHON=" in environment.unfit()


def test_a_python_without_venv_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "apt-get install python3-venv" in environment.unfit()


def test_this_python_is_fit():
    assert environment.unfit() == ""


def test_the_tree_follows_the_docstrings(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "__init__.py").write_text('"""Root."""\n')
    (tmp_path / "model" / "__init__.py").write_text('"""The nouns."""\n')
    (tmp_path / "model" / "users.py").write_text('"""A user.\n\nMore of it."""\n')
    (tmp_path / "errors.py").write_text('"""Every error."""\n')
    lines = [line.split(maxsplit=1) for line in architecture.tree(tmp_path, ["errors", "model"])]
    assert lines == [["errors.py", "Every error."], ["model/", "The nouns."], ["users.py", "A user."]]


@pytest.mark.parametrize(
    "text",
    [
        "--extra-index" + "-url https://mirror.example/simple",
        '"resolved"' + ': "https://mirror.example/a.tgz"',
        "see https://py" + "pi.org/project/x",
        "cd /wo" + "rk/main",
        "open('/ro" + "ot/.ssh/id')",
        "Co-Authored" + "-By: someone",
        "# TO" + "DO: later",
    ],
)
def test_what_no_file_may_hold_is_found(tmp_path, text):
    path = tmp_path / "file.txt"
    path.write_text(f"fine\n{text}\n")
    found = list(committed.look(path))
    assert found
    assert ":2: " in found[0]


def test_an_ordinary_file_may_be_committed(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("The work goes on; `tests/work/x` is a path, and /auth/token a route.\n")
    assert list(committed.look(path)) == []


TESTS = {"tests/a/test_a.py::test_one": {"a"}, "tests/a/test_a.py::TestB::test_two": set()}
FINE = {"id": "a", "source": "seed 000", "text": "It holds.", "tests": ["tests/a/test_a.py::test_one"]}


def test_a_manifest_that_agrees_has_no_fault():
    gap = {"id": "b", "source": "decision 3", "text": "Later.", "gap": "comes with C"}
    assert list(requirements_manifest.faults([FINE, gap], TESTS)) == []


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([FINE, FINE], "2 entries"),
        ([FINE | {"tests": ["tests/a/test_a.py::test_gone"]}], "there is no test"),
        ([FINE | {"tests": []}], "either tests or a gap"),
        ([FINE | {"gap": "also this"}], "either tests or a gap"),
        ([FINE | {"id": "b"}], "no such requirement"),
        ([FINE | {"tests": ["tests/a/test_a.py::TestB::test_two"]}], "does not list it"),
        ([FINE | {"text": ""}], "must have id, source, text"),
        ([FINE | {"note": "?"}], "must have id, source, text"),
    ],
)
def test_a_manifest_that_disagrees_is_told(entries, fault):
    assert fault in "\n".join(requirements_manifest.faults(entries, TESTS))


def test_the_marks_of_tests_are_read(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(
        "import pytest\n@pytest.mark.requirement('a', 'b')\nasync def test_one(): ...\n"
        "@pytest.mark.requirement('c')\nclass TestB:\n    def test_two(self): ...\n"
    )
    assert requirements_manifest.marks(tmp_path / "tests", tmp_path) == {
        "tests/test_a.py::test_one": {"a", "b"},
        "tests/test_a.py::TestB::test_two": {"c"},
    }


def contracts():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


@pytest.mark.parametrize("contract", [each for each in contracts() if each["type"] == "layers"], ids=lambda c: c["id"])
def test_a_room_stands_in_parentheses_only_while_it_is_not_built(contract):
    folder = ROOT.joinpath("src", *contract["containers"][0].split("."))
    optional = re.findall(r"\((\w+)\)", " ".join(contract["layers"]))
    built = [name for name in optional if (folder / name).is_dir() or (folder / f"{name}.py").is_file()]
    assert not built, "take them out of the parentheses in pyproject.toml"


def test_locks_hold_names_versions_and_hashes_only():
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        for line in lock.read_text().splitlines():
            assert re.fullmatch(r"\s+--hash=sha256:[0-9a-f]{64}( \\)?|\s*#.*|[\w.-]+==[\w.!+]+( ; .+)? \\", line), line


def test_the_two_locks_agree():
    def pins(name):
        return {
            line.split("==")[0]: line.split(" ")[0]
            for line in (ROOT / "requirements" / name).read_text().splitlines()
            if "==" in line and not line.startswith((" ", "#"))
        }

    run, dev = pins("run.txt"), pins("dev.txt")
    assert run.items() <= dev.items()


def test_every_requirement_of_the_package_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = (ROOT / "requirements" / "run.txt").read_text()
    for needed in project["dependencies"]:
        name = re.match(r"[\w.-]+", needed)
        assert name
        assert re.search(rf"^{re.escape(name[0])}==", pinned, re.MULTILINE), needed
