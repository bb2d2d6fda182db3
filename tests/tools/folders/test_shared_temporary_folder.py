"""A temporary folder that other people can write to."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.tools.folders.kit import commit, git, write_tool
from valetkey.model.tool_sources import parse_source
from valetkey.settings.pocket import Config
from valetkey.wiring.folder_tools import FolderTools, open_folder_tools

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a folder of another account's is made: needs root")


@pytest.fixture
def parts(home) -> FolderTools:
    return open_folder_tools(Config.load(Path.cwd(), {}), home, environ=os.environ)


def planted(monkeypatch, tmp_path: Path, text: str) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    git(shared, "init", "--quiet")
    with (shared / ".git" / "config").open("a") as file:
        file.write(text)
    for path in (shared / ".git", *(shared / ".git").rglob("*")):
        os.chown(path, 65534, 65534)
    monkeypatch.setattr(tempfile, "tempdir", str(shared))


def test_a_repository_that_somebody_else_left_in_the_temporary_folder_runs_nothing(tmp_path, parts, monkeypatch):
    repository = tmp_path / "mine"
    commit(write_tool(repository))
    ran, program = tmp_path / "ran", tmp_path / "program"
    program.write_text(f'#!/bin/sh\nid > {ran}\nexec git-upload-pack "$@"\n')
    program.chmod(0o755)
    planted(monkeypatch, tmp_path, f'[remote "file://{repository}"]\n\tuploadpack = {program}\n')
    parts.propose(parse_source(f"file://{repository}"))
    assert not ran.exists()


def test_a_repository_that_somebody_else_left_in_the_temporary_folder_redirects_nothing(tmp_path, parts, monkeypatch):
    for name in ("mine", "theirs"):
        write_tool(tmp_path / name, f"print({name!r})")
        commit(tmp_path / name)
    planted(monkeypatch, tmp_path, f'[url "file://{tmp_path}/theirs"]\n\tinsteadOf = file://{tmp_path}/mine\n')
    found = parts.propose(parse_source(f"file://{tmp_path}/mine"))
    assert found.source.commit == git(tmp_path / "mine", "rev-parse", "HEAD")
