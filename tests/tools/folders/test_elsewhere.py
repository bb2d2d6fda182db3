"""Code from elsewhere: runs after a person's yes, at that commit, unchanged; whatever its repository tries."""

import contextlib
import io
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.folders.kit import ECHO, commit, described, git, served, write_tool
from valetkey import Denied, InvalidSetting, NotFound, Pocket, ProviderUnavailable, ToolFailed, from_git, from_local
from valetkey.adapters.tool_files import is_plain
from valetkey.cli.main import main
from valetkey.model.tool_sources import parse_source
from valetkey.settings.pocket import Config
from valetkey.wiring.folder_tools import FolderTools, open_folder_tools


@pytest.fixture
def parts(home) -> FolderTools:
    return open_folder_tools(Config.load(Path.cwd(), {}), home, environ=os.environ)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One with a tool in tools/mine, on a branch with slashes."""
    folder = tmp_path / "repository"
    write_tool(folder / "tools" / "mine")
    (folder / "README").write_text("not the tool's")
    commit(folder)
    git(folder, "switch", "--quiet", "--create", "feature/new/way")
    return folder


def invoke(*tools) -> str:
    with Pocket(tools=list(tools)) as pocket:
        return pocket.invoke("my_tool", {"text": "hi"})


@pytest.mark.requirement("X-31", "F.tool-approval", "hp.tool-like-folder", "d.commands-tools")
def test_a_tool_over_http_runs_after_a_yes_and_a_moved_commit_is_asked_about_again(repository, home, capsys):
    with served(repository.parent) as url:
        first = commit_of(repository)
        tool = f"{url}/repository/.git/tree/feature/new/way/tools/mine"
        with pytest.raises(Denied, match="nobody has approved") as refused:
            Pocket(tools=[tool])
        told = re.search(r"valetkey (tools approve \S+)$", str(refused.value))
        assert told is not None
        assert told[1] == f"tools approve {tool}@{first}"
        assert main([*told[1].split(), "--yes"]) == 0
        shown = capsys.readouterr().out
        for part in ("my_tool", "Says it again.", "python main.py", first, "main.py (", "2, ", "none"):
            assert part in shown
        assert invoke(tool) == "echo hi"
        assert stat.S_IMODE((home / "tools" / "approved.toml").stat().st_mode) == 0o600

        write_tool(repository / "tools" / "mine", "print('changed')")
        second = commit(repository)
        with pytest.raises(Denied, match=f"{second}.*has moved since.*@{second}"):
            Pocket(tools=[tool])
        assert invoke(f"{tool}@{first}") == "echo hi"
    # With its commit, it runs where the repository is not there any more.
    assert invoke(f"{tool}@{first}") == "echo hi"
    with pytest.raises(ProviderUnavailable, match="cannot be read now"):
        Pocket(tools=[tool])
    assert main(["tools", "revoke", tool]) == 0
    with pytest.raises(Denied):
        Pocket(tools=[f"{tool}@{first}"])
    assert not [path for path in (home / "tools").rglob("*") if path.name == "main.py"]


def commit_of(folder: Path) -> str:
    return git(folder, "rev-parse", "HEAD")


def approved(parts: FolderTools, url: str) -> str:
    return parts.approve(parts.propose(parse_source(url))).url


@pytest.mark.requirement("hp.from-git")
def test_from_git_and_from_local_take_the_contracts_arguments(repository, parts):
    first = commit_of(repository)
    with pytest.raises(Denied):
        from_git(str(repository), "feature/new/way", "tools/mine")
    approved(parts, f"file://{repository}/tree/feature/new/way/tools/mine")
    for ref in ("feature/new/way", first, "HEAD", "main"):
        assert invoke(from_git(str(repository), ref, "tools/mine")) == "echo hi"
    with pytest.raises(NotFound, match="no branch or tag 'old'"):
        from_git(str(repository), "old", "tools/mine")
    assert invoke(from_local(repository / "tools" / "mine")) == "echo hi"


@pytest.mark.requirement("X-31", "F.tool-approval")
def test_code_that_was_changed_on_this_machine_does_not_run(repository, parts, home):
    url = approved(parts, f"file://{repository}/tree/main/tools/mine")
    (code,) = home.glob("tools/*/source/main.py")
    with Pocket(tools=[url]) as pocket:
        assert pocket.invoke("my_tool", {"text": "hi"}) == "echo hi"
        for change in ("write", "add", "link"):
            more = code.with_name("json.py")
            if change == "write":
                code.write_text("print('tampered')")
            elif change == "add":
                more.write_text("print('tampered')")
            else:
                code.unlink()
                code.symlink_to("/etc/hostname")
            assert "is not what was approved" in pocket.invoke("my_tool", {"text": "hi"}), change
            with pytest.raises(Denied, match="is not what was approved"):
                Pocket(tools=[url])
            more.unlink(missing_ok=True)
            code.unlink()
            code.write_text(ECHO)
            code.chmod(0o600)
            assert pocket.invoke("my_tool", {"text": "hi"}) == "echo hi"


def test_a_run_changes_nothing_of_the_code_that_is_kept(repository, parts, home):
    write_tool(repository / "tools" / "mine", "open('main.py', 'a').write('#'); open('new', 'w'); print('wrote')")
    commit(repository)
    url = approved(parts, f"file://{repository}/tree/feature/new/way/tools/mine")
    assert [invoke(url), invoke(url)] == ["wrote", "wrote"]


@pytest.mark.requirement("F.tool-approval")
def test_an_approval_that_others_may_write_is_none(repository, parts, home):
    url = approved(parts, f"file://{repository}/tree/main/tools/mine")
    (home / "tools" / "approved.toml").chmod(0o666)
    with pytest.raises(InvalidSetting, match="may be written by others"):
        Pocket(tools=[url])
    (home / "tools" / "approved.toml").chmod(0o600)
    (home / "tools" / "approved.toml").write_text("[[tool]]\nname = 3")
    with pytest.raises(InvalidSetting, match=r"approved.toml cannot be read"):
        Pocket(tools=[url])


@pytest.mark.requirement("F.tool-repositories")
def test_hostile_repositories_are_refused_and_run_nothing(tmp_path, parts, monkeypatch):
    ran = tmp_path / "ran"

    def link(folder: Path):
        (folder / "tool" / "out").symlink_to("../../../etc")

    def module(folder: Path):
        commit(write_tool(folder / "tool" / "sub"))

    def large(folder: Path):
        monkeypatch.setattr("valetkey.adapters.git.MOST_BYTES", 5000)
        (folder / "tool" / "large").write_bytes(b"x" * 6000)

    for spoil, told in ((link, "out is a link"), (module, "sub is a submodule"), (large, "bytes")):
        folder = tmp_path / spoil.__name__
        write_tool(folder / "tool")
        spoil(folder)
        commit(folder)
        with pytest.raises(InvalidSetting, match=told):
            parts.propose(parse_source(f"file://{folder}/tree/main/tool"))
        monkeypatch.undo()

    # Hooks, filters and attributes of the repository are nobody's business here.
    folder = tmp_path / "hooks"
    write_tool(folder / "tool", f"{ECHO}# $Id$\n")
    (folder / "tool" / ".gitattributes").write_text("*.py ident filter=evil export-ignore text eol=crlf\n")
    (folder / ".gitattributes").write_text("* filter=evil\n")
    (folder / ".gitmodules").write_text('[submodule "a"]\n\tpath = a\n\turl = ext::touch ran\n')
    commit(folder)
    git(folder, "config", "filter.evil.smudge", f"touch {ran}")
    git(folder, "config", "uploadpack.packObjectsHook", f"touch {ran}")
    git(folder, "config", "core.fsmonitor", f"touch {ran}")
    for hook in ("post-checkout", "post-merge", "reference-transaction", "pre-upload"):
        path = folder / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {ran}\n")
        path.chmod(0o755)
    assert not ran.exists()
    files = parts.propose(parse_source(f"file://{folder}/tree/main/tool")).files
    assert files["main.py"] == (False, f"{ECHO}# $Id$\n".encode())
    assert not ran.exists()


@pytest.mark.requirement("F.tool-repositories")
def test_a_tree_whose_names_lead_elsewhere_is_refused(tmp_path, parts):
    folder = write_tool(tmp_path / "repository")
    commit(folder)
    blob = git(folder, "rev-parse", "HEAD:main.py")
    for name, refused, told in (("..", ProviderUnavailable, "cannot be read"), ("a\\b", InvalidSetting, "is no name")):
        names = sorted([b"main.py", name.encode()])
        data = b"".join(b"100644 " + each + b"\0" + bytes.fromhex(blob) for each in names)
        argv = ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"]
        made = subprocess.run(argv, cwd=folder, input=data, capture_output=True, check=True).stdout.decode().strip()
        git(folder, "update-ref", "refs/heads/odd", git(folder, "commit-tree", made, "-m", "odd"))
        with pytest.raises(refused, match=told):  # git itself knows the first one
            parts.propose(parse_source(f"file://{folder}/tree/odd"))


@pytest.mark.requirement("F.tool-repositories")
def test_urls_that_are_none_are_refused():
    for url in (
        "--upload-pack=touch/x://a",
        "ext::sh://a",
        "ssh://git@github.com/o/r",
        "git://github.com/o/r",
        "http://github.com/o/r",
        "https://user:password@github.com/o/r",
        "https://user@github.com/o/r",
        "https://",
        "https://github.com",
        "https://github.com/o/r?x=1",
        "https://github.com/o/r\n",
        "https://github.com/o/r@main",
        "https://github.com/o/r@abc123",
        "https://github.com/o/r/tree/main/../x",
        "https://github.com/o/r/tree/main/.git/x",
        "https://github.com/o/r/tree/main:x/y",
        "file://host/path",
        "https://github.com:99999/o/r",
    ):
        with pytest.raises(InvalidSetting) as caught:
            parse_source(url)
        assert "password" not in str(caught.value)


@pytest.mark.requirement("hp.tool-like-folder")
def test_urls_of_the_contract_are_read():
    at = "0123456789abcdef0123456789abcdef01234567"
    found = parse_source("https://github.com/o/r")
    assert (found.repository, found.path, found.commit) == ("https://github.com/o/r", "", "")
    found = parse_source(f"https://github.com/o/r/tree/a/b/tools/x@{at}")
    assert (found.repository, found.path, found.commit) == ("https://github.com/o/r", "a/b/tools/x", at)
    found = parse_source(f"https://github.com/o/r/tree/{at}/tools/x/")
    assert (found.ref, found.folder, found.commit) == (at, "tools/x", at)
    assert parse_source("https://gitlab.com/o/r/-/tree/main/x").path == "main/x"


def test_a_ref_that_looks_like_an_option_is_only_a_name(repository, parts):
    head = commit_of(repository)
    path = repository / ".git" / "refs" / "heads" / "--output=x"
    path.write_text(f"{head}\n")
    url = f"file://{repository}/tree/--output=x/tools/mine"
    with contextlib.suppress(NotFound, ProviderUnavailable):  # git may not tell of such a one
        assert parts.propose(parse_source(url)).source.commit == head
    assert not list(repository.rglob("x"))


@pytest.mark.requirement("F.tool-environment")
def test_a_build_runs_once_with_a_clean_environment_and_its_program_sees_what_was_built(tmp_path, parts, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    folder = tmp_path / "repository"
    built = tmp_path / "built"
    # A build that is quick: a module in place of an installation, in an environment whose making is left out.
    write_tool(folder, "import made_by_build as made\nprint(made.SEEN)", entrypoint={"build": "python build.py"})
    code = f"import os, sys, sysconfig\nopen({str(built)!r}, 'a').write('x')\n"
    code += "place = sysconfig.get_path('purelib')\nopen(place + '/made_by_build.py', 'w').write("
    code += "'SEEN = ' + repr(sorted(os.environ)))"
    (folder / "build.py").write_text(code)
    commit(folder)
    step = FolderTools._step

    def quick(self, said, argv, *more):
        step(self, said, (*argv, "--without-pip") if "venv" in argv else argv, *more)

    monkeypatch.setattr(FolderTools, "_step", quick)
    url = approved(parts, f"file://{folder}")
    seen = [invoke(url), invoke(url)]
    assert "AWS_SECRET_ACCESS_KEY" not in seen[0]
    assert "HOME" in seen[0]
    assert built.read_text() == "x"

    write_tool(folder, entrypoint={"build": "python missing.py"})
    commit(folder)
    with pytest.raises(ToolFailed, match=r"cannot be built.*missing.py"):
        approved(parts, f"file://{folder}")
    write_tool(folder, entrypoint={"build": "make all"})
    commit(folder)
    with pytest.raises(InvalidSetting, match=r"entrypoint.build begins with pip or python"):
        approved(parts, f"file://{folder}")
    assert len(parts.approvals.all()) == 1


@pytest.mark.requirement("F.tool-approval", "d.commands-tools")
def test_nobody_there_to_say_yes_is_a_no(repository, capsys, monkeypatch):
    url = f"file://{repository}/tree/main/tools/mine"
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["tools", "approve", url]) == 4
    assert "--yes" in capsys.readouterr().err
    assert main(["tools", "list", "--json"]) == 0
    assert capsys.readouterr().out.strip() == "[]"
    assert main(["tools", "approve", "./folder"]) == 2
    assert main(["tools", "revoke", url]) == 1
    for answer, status in (("\n", 4), ("y\n", 0)):
        person = io.StringIO(answer)
        monkeypatch.setattr(person, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stdin", person)
        assert main(["tools", "approve", url]) == status
        assert "[y/N]" in capsys.readouterr().out
    assert main(["tools", "list"]) == 0
    assert commit_of(repository) in capsys.readouterr().out


@pytest.mark.requirement("F.tool-approval")
def test_what_a_stranger_wrote_commands_no_terminal(repository, capsys):
    about = described()["tool"] | {"description": "Nice\x1b[2J\nCommit: 000 tool\u202e"}
    write_tool(repository / "tools" / "mine", tool=about)
    commit(repository)
    url = f"file://{repository}/tree/feature/new/way/tools/mine"
    assert main(["tools", "approve", url, "--yes"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert [line for line in shown.splitlines() if line.startswith("Commit:")] == [
        f"Commit:    {commit_of(repository)}"
    ]


def test_names_of_files_that_lead_elsewhere_are_none():
    for path in ("..", "a/../b", "/a", "a//b", "./a", ".git/config", "a/.GIT/hooks/x", "a\\b", "a\0b", ""):
        assert not is_plain(path), path
    for path in ("a", "a/b.py", "..a", ".github/x", "a b"):
        assert is_plain(path), path
