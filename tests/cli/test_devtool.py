"""The devtool: what it writes works at once in a folder outside our checkout, for code and for tables of tools."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.road.forms import open_form, over_http
from tests.road.support import Ports, client_section, get, write_settings
from valetkey import AuthProvider, InvalidSetting, Pocket
from valetkey.cli.main import main
from valetkey.providers.base import HandlerKind
from valetkey.providers.catalog.load import load
from valetkey.providers.registry import Registry
from valetkey.settings.pocket import Config
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build

PROGRAM = """
import asyncio
from valetkey import AuthProvider, Pocket, function_tool

@function_tool(auth_provider=AuthProvider.MY_SERVICE, scopes=["mail.read"])
def mine(**kwargs):
    return len(kwargs["MY_SERVICE_TOKEN"])

@function_tool(auth_provider=AuthProvider.OTHER_ONE, auth_handler="other_one-token")
def other(**kwargs):
    return len(kwargs["OTHER_ONE_TOKEN"])

async def main():
    async with Pocket(tools=[mine, other]) as pocket:
        for prompt in await pocket.initialize_tool_auth():
            print(prompt.url, flush=True)
        await pocket.wait_tool_auth()
        print(await pocket.ainvoke("mine", {}), await pocket.ainvoke("other", {}))

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def fresh_system():
    build.use(None)
    yield
    build.use(None)


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in the current folder, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "valetkey.cli.main", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.requirement("seed001.token-template")
@pytest.mark.requirement("seed001.oauth2-template")
@pytest.mark.requirement("hp.cli-devtool")
async def test_a_program_beside_what_was_written_connects_both_kinds(monkeypatch):
    monkeypatch.delenv("VALETKEY_AUTH__VERIFY_ACCOUNTS")
    for kind, name in (("oauth2", "my_service"), ("token", "other_one")):
        made = await asyncio.to_thread(cli, "devtool", f"create-{kind}-auth-template", name)
        assert made.returncode == 0, made.stderr
        assert f"wrote valetkey_providers/{name}.toml" in made.stdout
        assert f"AuthProvider.{name.upper()}" in made.stdout
    ports = Ports()
    with OAuthServer(users={"ada": "Ada Lovelace"}) as server:
        write_settings(ports, client_section("my_service", server, userinfo_url=server.userinfo_url))
        program = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE)
        try:
            assert program.stdout is not None
            first, second = [(await program.stdout.readline()).decode().strip() for _ in range(2)]
            page = await asyncio.to_thread(get, server.approve(first))
            assert "Ada Lovelace" in page.body
            form = await asyncio.to_thread(open_form, over_http(second, ports))
            assert "https://other-one.example/docs/tokens" in form.shown.body
            await asyncio.to_thread(form.send, access_token="a-pasted-token")
            said = (await asyncio.wait_for(program.communicate(), 20))[0].decode()
            assert said.split() == [str(len(server.issued[0])), str(len("a-pasted-token"))]
        finally:
            if program.returncode is None:
                program.kill()


@pytest.mark.requirement("seed001.oauth2-template")
@pytest.mark.requirement("seed001.token-template")
def test_the_handlers_that_it_writes_pass_the_tests_that_it_writes():
    for kind, name in (("oauth2", "my_service"), ("token", "other_one")):
        assert main(["devtool", f"create-{kind}-auth-template", name, "--handler"]) == 0
        files = {each.name for each in Path("valetkey_providers", name).iterdir()}
        parts = {f"{kind}_{part}.py" for part in ("context", "handler", "schema")}
        assert files == {"__init__.py", "context.py", "server.py", *parts}
        handler = Path("valetkey_providers", name, f"{kind}_handler.py").read_text("utf-8")
        titled = "MyServiceOAuth2AuthHandler" if kind == "oauth2" else "OtherOneTokenAuthHandler"
        assert f"class {titled}(AuthHandlerInterface):" in handler
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.requirement("d12.devtool")
def test_either_spelling_names_the_handler(capsys):
    main(["devtool", "create-oauth2-auth-template", "my_service"])
    main(["devtool", "create-token-auth-template", "own_token", "--handler"])
    system = build.build(Config.load(Path.cwd(), {}, **{"session.session_type": "in_memory"}))
    try:
        for name in ("my_service-oauth2", "my-service-oauth2"):
            assert system.handling.find(name, None).provider.name == "my_service"
        for spelled in ("own_token-token", "own-token-token", None):
            found = system.handling.find(spelled, "own_token")
            assert (found.name, found.provider.name) == ("own-token-token", "own_token")
            assert found.variable_names() == {"OWN_TOKEN_TOKEN"}
        again = build.derive(system).handling.find(None, "own_token")
        assert again is not found
        assert len(system.links.routers) == 1
        assert AuthProvider.OWN_TOKEN is AuthProvider("own_token")
    finally:
        system.close()


def test_every_line_that_is_a_comment_is_a_key_that_is_known():
    for kind, optional in (("oauth2", 7), ("token", 3)):
        main(["devtool", f"create-{kind}-auth-template", f"my_{kind}"])
        file = Path(f"valetkey_providers/my_{kind}.toml")
        assert load(file, operator=True).default_handler.userinfo is None
        lines = file.read_text("utf-8").splitlines()
        opened = [line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in lines]
        assert sum(line != other for line, other in zip(lines, opened, strict=True)) >= optional
        file.write_text("\n".join(opened), "utf-8")
        entry = load(file, operator=True).default_handler
        assert entry.userinfo is not None
        assert entry.placement.header == "X-Api-Key"


@pytest.mark.requirement("d12.devtool")
@pytest.mark.requirement("hp.cli-devtool")
def test_what_is_taken_or_no_name_is_refused_in_one_line(capsys):
    assert main(["devtool", "create-token-auth-template", "my_service"]) == 0
    Path("valetkey_providers/my_service.toml").write_text("mine", "utf-8")
    capsys.readouterr()
    for command, name, said in (
        ("create-oauth2-auth-template", "my_service", "my_service.toml is there already"),
        ("create-oauth2-auth-template", "slack", "we ship a provider slack already"),
        ("create-token-auth-template", "My-Service", "is no name for a provider"),
        ("create-token-auth-template", "../x", "is no name for a provider"),
        ("create-token-auth-template", "1st", "is no name for a provider"),
        ("create-token-auth-template", "class", "a word of Python's own"),
        ("create-tool-template", "my-tool", "is no name for a tool"),
    ):
        assert main(["devtool", command, name]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert said in told.err
        assert told.err.count("\n") == 1
    assert [each.name for each in Path().rglob("*") if each.is_file()] == ["my_service.toml"]
    assert Path("valetkey_providers/my_service.toml").read_text("utf-8") == "mine"
    assert main(["devtool", "create-oauth2-auth-template", "my_service", "--force"]) == 0
    assert "oauth2" in Path("valetkey_providers/my_service.toml").read_text("utf-8")
    assert main(["devtool", "create-token-auth-template", "elsewhere", "--into", "a/b"]) == 0
    assert Path("a/b/valetkey_providers/elsewhere.toml").is_file()
    assert Registry(["a/b"]).get("elsewhere").default_handler.kind is HandlerKind.TOKEN


@pytest.mark.requirement("d12.devtool")
def test_a_module_that_is_broken_is_told_by_file_and_line():
    main(["devtool", "create-token-auth-template", "my_service", "--handler"])
    file = Path("valetkey_providers/my_service/token_handler.py")
    good = file.read_text("utf-8")
    system = build.build(Config.load(Path.cwd(), {}, **{"session.session_type": "in_memory"}))
    place = r"valetkey_providers/my_service/token_handler\.py"
    try:
        for broken, said in (
            (
                good + "\n\nraise ValueError('not so')\n",
                rf"^{place}, line {good.count(chr(10)) + 3}: ValueError: not so\.",
            ),
            ("import nowhere_at_all\n", rf"^{place}, line 1: ModuleNotFoundError"),
            ("x = (\n", rf"^{place}, line 1: SyntaxError"),
            ("", rf"^{place} has no class MyServiceTokenAuthHandler"),
            ("class MyServiceTokenAuthHandler: ...\n", "is no AuthHandlerInterface"),
        ):
            file.write_text(broken, "utf-8")
            os.utime(file, (len(broken), len(broken)))
            with pytest.raises(InvalidSetting, match=said):
                system.handling.find(None, "my_service")
            for name in [name for name in sys.modules if name.startswith("valetkey_project_providers")]:
                del sys.modules[name]
        file.write_text(good, "utf-8")
        os.utime(file, (1, 1))
        assert system.handling.find(None, "my_service").name == "my-service-token"
    finally:
        system.close()


def test_a_class_is_named_by_files_of_the_project_only(tmp_path):
    entry = '[handlers.mine-own]\nkind = "custom"\ndefault = true\nhandler = "{}"\n'
    file = tmp_path / "mine.toml"
    for named in ("x", "x:", "..x:Y", "/etc/x:Y", "x.Y:Z", "os.path:.."):
        file.write_text('title = "X"\norigins = []\n' + entry.format(named), "utf-8")
        with pytest.raises(InvalidSetting, match="names no class"):
            load(file, operator=True)
    file.write_text('title = "X"\norigins = []\n' + entry.format("x:Y"), "utf-8")
    with pytest.raises(InvalidSetting, match="kind is none of"):
        load(file, operator=False)
    # Not by its own name: what is imported is below the folder.
    file.write_text('title = "X"\norigins = []\n' + entry.format("json:JSONDecoder"), "utf-8")
    Path("valetkey_providers").mkdir()
    file.rename("valetkey_providers/mine.toml")
    system = build.build(Config.load(Path.cwd(), {}, **{"session.session_type": "in_memory"}))
    try:
        with pytest.raises(InvalidSetting, match=r"has neither json/__init__\.py nor json\.py"):
            system.handling.find(None, "mine")
    finally:
        system.close()


@pytest.mark.requirement("hp.cli-devtool")
def test_a_tool_folder_runs_with_its_own_variables(capsys):
    main(["devtool", "create-token-auth-template", "my_service"])
    assert main(["devtool", "create-tool-template", "greet", "--provider", "my_service"]) == 0
    assert main(["devtool", "create-tool-template", "plain"]) == 0
    described = json.loads(Path("greet/pocket.json").read_text("utf-8"))
    assert described["auth"] == {"auth_provider": "my_service", "scopes": []}
    assert described["entrypoint"] == {"run": "python main.py"}
    assert "auth" not in json.loads(Path("plain/pocket.json").read_text("utf-8"))
    for folder, lent in (("greet", {"MY_SERVICE_TOKEN": "t"}), ("plain", {})):
        ran = subprocess.run(
            [sys.executable, "main.py"],
            cwd=folder,
            input='{"who": "Ada"}',
            env={"GREETING": "Hello", **lent},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert ran.stdout == "Hello, Ada!\n", ran.stderr
    with Pocket(tools=["./plain"]) as pocket:
        assert pocket.invoke("plain", {"who": "Ada"}).strip() == "Hello, Ada!"
    assert main(["devtool", "create-tool-template", "more", "--provider", "nobody"]) != 0
    assert not Path("more").exists()


def test_the_steps_name_every_file_with_an_address_that_stands_for_another(capsys):
    for kind in ("oauth2", "token"):
        for handler in ((), ("--handler",)):
            name = f"acme_{kind}_{len(handler)}"
            assert main(["devtool", f"create-{kind}-auth-template", name, *handler]) == 0
            steps = capsys.readouterr().out.split("What comes next:")[1]
            assert "docs" in steps
            assert "origins" in steps
            host = f"{name.replace('_', '-')}.example"
            files = [each for each in Path("valetkey_providers").rglob(f"*{name}*") if each.is_file()]
            files += Path("valetkey_providers", name).glob("*.py")
            assert files
            for file in files:
                assert host not in file.read_text("utf-8") or str(file) in steps


def test_a_link_is_not_written_through(tmp_path):
    folder, elsewhere = tmp_path / "valetkey_providers", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "acme.toml").symlink_to(elsewhere)
    command = ["devtool", "create-token-auth-template", "acme", "--into", str(tmp_path)]
    assert main(command) == 2
    assert main([*command, "--force"]) == 0
    assert not elsewhere.exists()
    assert (folder / "acme.toml").is_file()
