"""Promises about the project itself: what type-checks, what is committed, which setting wins, what CI runs."""

import ast
import logging
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from tools import check
from valetkey.errors import InvalidSetting
from valetkey.settings.pocket import Config

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "src" / "valetkey"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# The road, whole and with one step or another left out; `wrong` marks what must not type-check.
SHORTCUTS = """
    from collections.abc import Mapping

    from valetkey.model.calls import Call, Presented, ToolResult
    from valetkey.pipeline import Road, run
    from valetkey.tools.tool import Tool


    async def whole(road: Road, presented: Presented, tool: Tool, call: Call) -> ToolResult:
        caller = await road.chain.identify(presented)
        allowed = await road.policy.decide(caller, call)
        connected = await road.connector.connect(allowed)
        lent = await road.lender.lend(connected)
        return await run(tool, lent, call.arguments)


    async def short(road: Road, presented: Presented, tool: Tool, call: Call) -> None:
        caller = await road.chain.identify(presented)
        allowed = await road.policy.decide(caller, call)
        connected = await road.connector.connect(allowed)
        await road.policy.decide(presented, call)  # wrong: nobody identified
        await road.connector.connect(caller)  # wrong: nobody decided
        await road.connector.connect(call)  # wrong: nobody decided
        await road.lender.lend(allowed)  # wrong: nobody connected
        await run(tool, connected, call.arguments)  # wrong: nothing lent
        await run(tool, allowed, call.arguments)  # wrong: nothing connected, nothing lent
"""


@pytest.mark.timeout(180)
def test_a_road_that_leaves_a_step_out_does_not_type_check(tmp_path):
    code = textwrap.dedent(SHORTCUTS).strip() + "\n"
    (tmp_path / "shortcuts.py").write_text(code, "utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "--no-error-summary"]
    ended = subprocess.run(
        [*command, str(tmp_path / "shortcuts.py")], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    told = {int(line) for line in re.findall(r"shortcuts\.py:(\d+): error: Argument", ended.stdout)}
    wrong = {number for number, line in enumerate(code.splitlines(), 1) if "# wrong" in line}
    assert told == wrong, ended.stdout + ended.stderr


CLIENTS = {"aiohttp", "http.client", "httpcore2", "httpx", "httpx2", "requests", "urllib.request", "urllib3"}


def test_only_one_module_has_an_http_client():
    having = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name == client or name.startswith(f"{client}.") for name in names for client in CLIENTS):
                having.add(path.relative_to(PACKAGE).as_posix())
    # testing/ is the other side of the wire: a person's browser.
    assert {place for place in having if not place.startswith("testing/")} == {"adapters/http.py"}


@pytest.mark.parametrize("gate", ["format", "lint", "imports", "architecture", "requirements", "committed", "types"])
def test_each_gate_blocks_from_the_first_day(gate):
    assert gate in check.GATES
    assert "--exit-zero" not in check.GATES[gate]


def test_the_gates_are_as_strict_as_promised():
    tools = PROJECT["tool"]
    assert tools["ruff"]["lint"]["select"] == ["ALL"]
    assert tools["mypy"]["strict"] is True
    assert set(tools["mypy"]["files"]) == {"src", "tools", "tests"}
    assert tools["pytest"]["ini_options"]["filterwarnings"] == ["error"]
    (layers,) = [one for one in tools["importlinter"]["contracts"] if one["id"] == "layers"]
    assert layers["exhaustive"] is True, "every module stands in a layer"


def test_each_rule_that_is_left_out_has_its_reason():
    block = (
        (ROOT / "pyproject.toml").read_text().partition("[tool.ruff.lint]")[2].partition("[tool.ruff.lint.flake8")[0]
    )
    left_out = [line for line in block.splitlines() if re.match(r'\s+"[A-Z]+[0-9]*",', line)]
    assert len(left_out) > 20
    reasoned = True  # whether the group so far, without a blank or a closing bracket, has had its reason
    for line in block.splitlines():
        if re.match(r'\s+"[A-Z]+[0-9]*",', line):
            reasoned = "#" in line or reasoned
            assert reasoned, line
        else:
            reasoned = False


def test_an_index_is_in_no_lock_and_what_a_reader_needs_is_there():
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "docs/architecture.md"):
        assert len((ROOT / name).read_text("utf-8")) > 200, name
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    assert "src/valetkey" in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_ci_brings_what_is_lacking_then_the_gates_then_the_tests():
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    places = [script.index(text) for text in ("set -euo pipefail", "apt-get install", "make check", "make test")]
    assert places == sorted(places)
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_extras_are_those_of_the_decisions():
    extras = PROJECT["project"]["optional-dependencies"]
    product = {"chat", "server", "saml", "postgres", "redis", "mcp", "services"}
    frameworks = {"langchain", "langgraph", "llamaindex", "openai", "anthropic", "gemini", "crewai", "pydantic-ai"}
    more = {"aws", "keyring", "metrics"}  # issue B: where keys come from, and where metrics go
    assert set(extras) == product | more | frameworks | {"all"}
    (everything,) = extras["all"]
    assert set(re.findall(r"[\w-]+", everything.partition("[")[2])) == (product | more | frameworks) - {"crewai"}
    assert any(needed.startswith("hypha-rpc") for needed in extras["services"])


def test_uv_runs_the_command_in_a_checkout_and_its_lock_is_not_committed():
    uv = Path(sys.executable).parent / "uv"
    if not uv.exists():
        pytest.skip("uv is not in this environment")
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("uv takes the checkout's own environment, and this is another")
    ended = subprocess.run(
        [uv, "run", "--no-sync", "--offline", "valetkey", "--version"],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == PROJECT["project"]["version"]
    assert "uv.lock" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    listed = subprocess.run(["git", "ls-files", "uv.lock"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert listed.stdout == ""


# Settings: which of two wins. Each row's weaker source has a value too, in every test.
STRONGEST_FIRST = ["keywords", "VALETKEY_", "POCKET_", ".env", ".secrets.toml", "valetkey.toml"]


@pytest.mark.parametrize("winner", STRONGEST_FIRST)
def test_the_first_source_that_has_a_value_wins(winner):
    keywords: dict[str, object] = {}
    environ: dict[str, str] = {}
    for port, source in enumerate(STRONGEST_FIRST, 9000):
        if STRONGEST_FIRST.index(source) < STRONGEST_FIRST.index(winner):
            continue
        if source == "keywords":
            keywords["public_server_port"] = port
        elif source.endswith("_"):
            environ[f"{source}PUBLIC_SERVER_PORT"] = str(port)
        else:
            name = "VALETKEY_PUBLIC_SERVER_PORT" if source == ".env" else "public_server_port"
            Path(source).write_text(f"{name} = {port}\n".replace(" ", ""), "utf-8")
    Path("settings.toml").write_text("public_server_port = 9999\n", "utf-8")
    found = Config.load(Path.cwd(), environ, **keywords)
    assert found.public_server_port == 9000 + STRONGEST_FIRST.index(winner)


def test_settings_toml_is_read_where_there_is_no_valetkey_toml_and_the_rest_are_defaults():
    Path("settings.toml").write_text("public_server_port = 9999\n", "utf-8")
    found = Config.load(Path.cwd(), {"PUBLIC_SERVER_PORT": "1", "SESSION": "ubuntu", "HOME": "/nowhere"})
    assert (found.public_server_port, found.internal_server_port) == (9999, 8000)
    assert [path.name for path in Path.cwd().iterdir()] == ["settings.toml"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".secrets.toml", '[auth.slack]\nclient_secret = "canary-1"\n'),
        ("valetkey.toml", 'vault_key = "canary-1"\n'),
        ("settings.toml", '[auth.slack]\nclient_secret = "canary-1"\n'),
        (".env", "VALETKEY_AUTH__SLACK__CLIENT_SECRET=canary-1\n"),
    ],
)
def test_a_file_with_a_secret_that_others_can_read_is_warned_about(caplog, name, text):
    path = Path(name)
    path.write_text(text, "utf-8")
    for mode, warned in ((0o600, False), (0o640, True), (0o644, True)):
        path.chmod(mode)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "valetkey"):
            Config.load(Path.cwd(), {})
        assert (f"chmod 600 {name}" in caplog.text) is warned
        assert "canary" not in caplog.text


def test_a_setting_that_nobody_knows_is_named_with_the_nearest():
    Path("valetkey.toml").write_text("public_sever_port = 1\n", "utf-8")
    with pytest.raises(InvalidSetting, match=r"public_sever_port.*Did you mean public_server_port\?"):
        Config.load(Path.cwd(), {})
