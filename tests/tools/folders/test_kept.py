"""What is kept of a tool from elsewhere is what was approved."""

import os
from pathlib import Path

import pytest

from tests.tools.folders.kit import commit, git, write_tool
from valetkey import Denied, Pocket
from valetkey.cli.main import main
from valetkey.model.tool_sources import parse_source
from valetkey.settings.pocket import Config
from valetkey.wiring.folder_tools import FolderTools, open_folder_tools


@pytest.fixture
def parts(home) -> FolderTools:
    return open_folder_tools(Config.load(Path.cwd(), {}), home, environ=os.environ)


def approved(parts: FolderTools, folder: Path, **more):
    commit(write_tool(folder, **more))
    return parts.approve(parts.propose(parse_source(f"file://{folder}")))


def test_a_file_of_an_odd_name_beside_the_code_is_told_as_a_change(parts, tmp_path, home):
    approval = approved(parts, tmp_path / "mine")
    Path(os.fsdecode(os.fsencode(home / "tools" / approval.digest / "source") + b"/\xff.py")).touch()
    with pytest.raises(Denied, match="not what was approved"):
        Pocket(tools=[approval.url])


def test_a_yes_is_taken_back_by_each_url_by_which_it_runs(parts, tmp_path, home):
    approved(parts, tmp_path / "mine")
    git(tmp_path / "mine", "branch", "dev")
    url = f"file://{tmp_path}/mine/tree/dev"
    with Pocket(tools=[url]) as pocket:
        assert pocket.invoke("my_tool", {"text": "hi"}) == "echo hi"
    assert main(["tools", "revoke", url]) == 0
    with pytest.raises(Denied):
        Pocket(tools=[url])
