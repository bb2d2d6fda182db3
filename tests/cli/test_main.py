"""The command: what it prints, with which status it ends, and what it loads."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from valetkey.cli.main import main
from valetkey.cli.output import plain

PROVIDER = """
title = "My \\u001b[31mService"
origins = ["https://api.example.com"]
docs = "https://example.com/docs"

[handlers.mine-oauth2]
kind = "oauth2"
default = true
variables = { MINE_TOKEN = "access_token" }

[handlers.mine-oauth2.oauth2]
authorize = "https://example.com/authorize"
token = "https://example.com/token"
"""


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def project() -> Path:
    """A provider of the project's own, in the current folder."""
    folder = Path("valetkey_providers")
    folder.mkdir()
    (folder / "mine.toml").write_text(PROVIDER)
    return folder


def run(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, "-m", "valetkey", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def listed(capsys) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_providers_are_listed_as_json(capsys):
    assert main(["providers", "list", "--json"]) == 0
    rows = listed(capsys)
    assert len(rows) >= 19
    slack = rows["slack"]
    assert set(slack) == {"name", "title", "handlers", "variables", "source"}
    assert slack["title"] == "Slack"
    assert {"name": "slack-oauth2", "kind": "oauth2", "default": True} in slack["handlers"]
    assert slack["variables"] == ["SLACK_BOT_TOKEN"]
    assert slack["source"] == "built-in"


def test_each_provider_has_one_default_handler(capsys):
    main(["providers", "list", "--json"])
    assert all(sum(each["default"] for each in row["handlers"]) == 1 for row in listed(capsys).values())


@pytest.mark.usefixtures("project")
def test_a_provider_of_the_project_is_listed_with_its_file(capsys):
    main(["providers", "list", "--json"])
    assert listed(capsys)["mine"]["source"] == str(Path("valetkey_providers/mine.toml"))


def test_providers_of_another_folder_are_listed_by_the_setting(capsys, monkeypatch, project):
    elsewhere = project.parent / "elsewhere"
    elsewhere.mkdir()
    project.rename(elsewhere / project.name)
    monkeypatch.setenv("VALETKEY_PROVIDER_PATHS", str(elsewhere))
    main(["providers", "list", "--json"])
    assert "mine" in listed(capsys)


@pytest.mark.usefixtures("project")
def test_a_list_is_one_line_a_row_in_a_pipe_and_commands_no_terminal(capsys):
    assert main(["providers", "list"]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("mine ")]
    assert "My [31mService" in line
    assert "mine-oauth2" in line
    assert "MINE_TOKEN" in line
    assert "\x1b" not in out


def test_one_provider_is_shown_with_its_endpoints(capsys):
    assert main(["providers", "show", "GitHub"]) == 0
    out = capsys.readouterr().out
    assert "https://github.com/login/oauth/authorize" in out
    assert "GITHUB_TOKEN" in out
    assert "github-token (token)" in out


def test_one_provider_is_shown_as_one_json_object(capsys):
    main(["providers", "show", "slack", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == "slack"
    (oauth2,) = [each for each in shown["handlers"] if each["default"]]
    assert oauth2["token_url"] == "https://slack.com/api/oauth.v2.access"
    assert "channels:read" in oauth2["recommended_scopes"]


@pytest.mark.requirement("d.commands-identity")
def test_the_policy_is_shown(capsys):
    assert main(["policy", "show", "--json"]) == 0
    rules = json.loads(capsys.readouterr().out)
    assert "own-pocket" in {rule["name"] for rule in rules}
    assert all(set(rule) == {"name", "effect", "source", "conditions", "text"} for rule in rules)
    assert all(rule["text"].endswith(".") for rule in rules)
    assert main(["policy", "show"]) == 0
    assert rules[0]["text"] in capsys.readouterr().out


def test_an_error_is_one_line_and_its_own_status(capsys):
    assert main(["providers", "show", "slak"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("valetkey: There is no provider 'slak'. Did you mean slack?")
    assert said.err.count("\n") == 1


def test_a_setting_that_cannot_be_used_is_one_line(capsys):
    Path("valetkey.toml").write_text("internal_server_port = 'many'\n")
    assert main(["providers", "list"]) == 2
    said = capsys.readouterr()
    assert "internal_server_port" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["providers", "nope"], ["providers", "show"], ["providers", "list", "--nope"], ["--nope"],
     ["policy", "show", "extra"], ["demo", "--auto=maybe"]],
)  # fmt: skip
def test_bad_usage_is_one_line_and_status_2(arguments, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("valetkey: ")
    assert said.err.count("\n") == 1
    assert "--help" in said.err


def test_without_a_command_the_help_is_printed(capsys):
    assert main([]) == 0
    assert "providers" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["demo"], ["providers", "list"], ["providers", "show"], ["policy", "show"]])
def test_each_command_has_help(command, capsys):
    assert main([*command, "--help"]) == 0
    assert f"Usage: valetkey {' '.join(command)}" in capsys.readouterr().out


def test_the_version_is_the_installed_one():
    ended = run("--version")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout[0].isdigit()
    assert len(ended.stdout.splitlines()) == 1


def test_the_process_ends_with_the_status():
    ended = run("providers", "show", "nobody_has_this")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "valetkey", "providers", "list", "--json"],
            stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert ended.returncode == 1
    assert ended.stderr == b""


def test_help_loads_nothing_heavy_and_is_quick():
    code = "import sys; from valetkey.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    run("--version")  # the byte code is there
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    loaded = set(ended.stderr.split())
    assert "valetkey.cli.main" in loaded
    assert not loaded & {"fastapi", "uvicorn", "sqlalchemy", "httpx2", "jinja2", "cryptography", "pydantic"}
    assert after.ru_utime - before.ru_utime < 0.8, "0.5 s on an idle machine; processor time on a busy one"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\x1b[31mb", "a[31mb"), ("a\u202eb", "ab"), ("a\tb\nc", "a\tb\nc"), ("é漢字🙂", "é漢字🙂"), ("\x07\x9b", "")],
)
def test_plain_text_commands_no_terminal(text, shown):
    assert plain(text) == shown
