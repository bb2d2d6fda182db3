"""valetkey connections: what each command prints and does, as a newcomer meets it."""

import asyncio
import contextlib
import io
import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from valetkey import AuthProvider, Pocket, function_tool
from valetkey.cli.accounts_file import write_file
from valetkey.cli.main import main
from valetkey.errors import InvalidArguments
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.testing import canary
from valetkey.wiring import build

TOKEN = "ghp_a-token-that-nobody-may-see"
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def fresh_system():
    build.use(None)
    yield
    build.use(None)


@pytest.fixture
def said(capsys):
    """What was printed since the last look: no secret is ever in it."""

    def look():
        printed = capsys.readouterr()
        assert canary.find({"stdout": printed.out, "stderr": printed.err}, [TOKEN, PASSPHRASE]) == []
        return printed

    yield look
    look()


@pytest.fixture
def piped(monkeypatch):
    def pipe(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return pipe


@pytest.fixture
def passphrase() -> Path:
    return secret_file("passphrase", PASSPHRASE)


def secret_file(name: str, text: str) -> Path:
    file = Path(name)
    file.write_text(f"{text}\n")
    file.chmod(0o600)
    return file


def run(*arguments: str) -> int:
    return main(["connections", *arguments])


def add(piped, name: str, *arguments: str, provider: str = "github", text: str = f"{TOKEN}\n") -> int:
    piped(text)
    return run("add", name, "--provider", provider, *arguments)


def rows(said, *arguments: str):
    said()
    assert run("list", "--json", *arguments) == 0
    return json.loads(said().out)


def held(provider: str, profile: str, thread: str = "default") -> dict[str, str]:
    """What is kept, in the clear."""
    system = build.default()
    row = asyncio.run(system.stores.connections.get(owner_of(thread), provider, profile))
    assert row is not None
    credential = system.sealer.open_credential(row)
    return {"access_token": credential.access_token.reveal()} | {
        name: value.reveal() for name, value in credential.fields.items()
    }


# list, show


def test_where_nothing_is_connected_a_list_says_so(said):
    assert run("list") == 0
    assert said().out == "No account is connected here.\n"
    assert rows(said) == []


@pytest.mark.requirement("V-13", "d.commands-connections")
def test_a_list_as_json_has_all_but_the_secret(said, piped):
    add(piped, "work")
    (row,) = rows(said)
    assert (row["thread"], row["provider"], row["profile"], row["handler"]) == (
        "default", "github", "work", "github-token",
    )  # fmt: skip
    assert (row["state"], row["cause"], row["scopes"], row["expires_at"]) == ("ok", None, [], None)
    assert row["last_success"].endswith("Z")
    assert len(row["id"]) == 32


def test_a_list_can_be_of_one_thread(said, piped):
    add(piped, "work", "--thread", "ann")
    add(piped, "work", "--thread", "bob")
    assert [row["thread"] for row in rows(said)] == ["ann", "bob"]
    assert [row["thread"] for row in rows(said, "--thread", "bob")] == ["bob"]
    assert run("list", "--thread", "eve") == 0
    assert said().out == "The thread 'eve' has no account.\n"


def test_a_list_is_one_line_an_account_in_a_pipe(said, piped):
    add(piped, "work")
    said()
    assert run("list") == 0
    head, _, line = said().out.splitlines()
    for column in (
        "thread",
        "provider",
        "profile",
        "account",
        "scopes",
        "state",
        "last success",
        "expires",
        "next try",
    ):
        assert column in head
    assert line.split()[:4] == ["default", "github", "work", "github-token"]


@pytest.mark.requirement("d.commands-connections")
def test_one_account_is_shown_by_its_name_or_its_id(said, piped):
    add(piped, "work")
    (row,) = rows(said)
    for name in ("github", "github:work", "GitHub:work", row["id"]):
        assert run("show", name, "--json") == 0
        assert json.loads(said().out)["id"] == row["id"]
    assert run("show", "github") == 0
    out = said().out
    assert "github:work of the thread default" in out
    assert row["id"] in out
    assert "Nothing: it can be used." in out


@pytest.mark.parametrize("command", ["show", "disconnect", "reconnect"])
def test_an_account_that_is_not_there_is_one_line_with_the_nearest(command, said, piped):
    add(piped, "work")
    said()
    assert run(command, "githb:work") == 2
    printed = said()
    assert printed.out == ""
    assert printed.err == "valetkey: The thread 'default' has no account 'githb:work'. Did you mean github:work?\n"
    assert run(command, "github:work", "--thread", "ann") == 2
    assert "The thread 'ann' has no account 'github:work'. It has none." in said().err


def test_a_provider_alone_is_enough_for_the_only_account_and_not_for_two(said, piped):
    add(piped, "work")
    add(piped, "home")
    said()
    assert run("show", "github") == 2
    err = said().err
    assert "home, work" in err
    assert "github:home" in err


def test_a_thread_that_none_can_be_is_wrong_usage(said):
    assert run("show", "github", "--thread", "x" * 300) == 2
    assert said().err.count("\n") == 1


# add


@pytest.mark.requirement("B5.named")
def test_a_token_is_added_under_a_name_and_lent_to_a_tool(said, piped):
    assert add(piped, "work") == 0
    assert "github:work of the thread default is kept." in said().out

    @function_tool(auth_provider=AuthProvider.GITHUB)
    def tool(GITHUB_TOKEN: str) -> bool:  # noqa: N803
        """Look."""
        return GITHUB_TOKEN == TOKEN

    with Pocket([tool]) as pocket:
        assert pocket.invoke("tool", {}) == "true"
        assert pocket.invoke("tool", {}, profile="work") == "true"


@pytest.mark.requirement("B5.named")
def test_a_service_of_ones_own_is_described_with_where_its_token_may_go(said, piped):
    assert add(piped, "build", "--origin", "https://api.my.example", provider="my_api") == 0
    out = said().out
    assert "valetkey_providers/my_api.toml" in out
    assert "MY_API_TOKEN" in out

    @function_tool(auth_provider=AuthProvider("my_api"))
    def tool(MY_API_TOKEN: str) -> bool:  # noqa: N803
        """Look."""
        return MY_API_TOKEN == TOKEN

    with Pocket([tool]) as pocket:
        assert pocket.invoke("tool", {}) == "true"
    assert build.default().registry.get("my_api").origins == {"https://api.my.example"}
    assert add(piped, "other", provider="my_api") == 0, "its second token needs no description"
    assert add(piped, "third", "--origin", "https://elsewhere.example", provider="my_api") == 2
    assert "Leave --origin out" in said().err


def test_a_service_that_nobody_described_needs_an_origin(said, piped):
    assert add(piped, "build", provider="my_api") == 2
    assert "--origin https://api.example.com" in said().err
    assert not Path("valetkey_providers").exists()
    assert rows(said) == []


@pytest.mark.parametrize(
    ("provider", "origin", "hint"),
    [
        ("my-api", "https://api.my.example", "Take my_api."),
        ("../up", "https://api.my.example", "no provider's name"),
        ("my_api", "api.my.example", "--origin"),
        ("my_api", "https://api.my.example/path", "--origin"),
        ("my_api", "http://api.my.example", "--origin"),
        ("my_api", 'https://a"\n[b]', "--origin"),
    ],
)
def test_a_service_that_cannot_be_described_is_refused_before_the_token_is_read(said, piped, provider, origin, hint):
    assert add(piped, "build", "--origin", origin, provider=provider) == 2
    printed = said()
    assert hint in printed.err
    assert printed.err.count("\n") == 1
    assert not Path("valetkey_providers").exists()
    assert sys.stdin.read() != "", "nothing was read yet"


@pytest.mark.requirement("B5.named")
def test_a_generic_token_goes_nowhere_by_itself(said, piped):
    assert add(piped, "jenkins", provider="apitoken") == 0
    assert "sends it nowhere" in said().out
    assert held("apitoken", "jenkins") == {"access_token": TOKEN}


def test_a_user_name_and_password_are_two_lines(said, piped):
    assert add(piped, "box", provider="basicauth", text=f"ann\n{TOKEN}\n") == 0
    assert held("basicauth", "box")["password"] == TOKEN
    assert add(piped, "other", provider="basicauth", text=f"{TOKEN}\n") == 2
    assert "User name, Password" in said().err


@pytest.mark.parametrize("text", ["", "\n", f"{TOKEN}\nmore\n", "Bearer x\n", "a\x07b\n", "x" * 9000])
def test_what_can_be_no_token_is_refused(said, piped, text):
    assert add(piped, "work", text=text) == 2
    assert said().err.count("\n") == 1
    assert rows(said) == []


def test_what_has_the_name_is_replaced_only_where_that_is_asked_for(said, piped):
    add(piped, "work")
    assert add(piped, "work", text="another token\n") == 2
    assert "--replace" in said().err
    assert held("github", "work") == {"access_token": TOKEN}
    assert add(piped, "work", "--replace", text="another token\n") == 0
    assert held("github", "work") == {"access_token": "another token"}


@pytest.mark.parametrize("name", ["", "  ", "a\x1bb", "x" * 200])
def test_a_name_that_cannot_be_read_is_refused(said, piped, name):
    assert add(piped, name) == 2
    assert rows(said) == []


def test_an_account_that_only_a_link_connects_is_not_pasted(said, piped):
    assert add(piped, "work", provider="google") == 2
    assert "connected by a link" in said().err


def test_a_token_is_no_argument(said, piped):
    piped("")
    assert run("add", "work", "a token", "--provider", "github") == 2
    assert run("add", "work", "--provider", "github", "--token", "a token") == 2
    assert rows(said) == []


def test_a_person_is_asked_and_what_they_type_is_not_shown():
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "valetkey", "connections", "add", "work", "--provider", "github"],
        stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while b"not shown" not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, f"{TOKEN}\n".encode())
        out, _ = child.communicate(timeout=30)
        with contextlib.suppress(OSError):  # a terminal whose other side is gone
            shown += os.read(ours, 65_536)
    finally:
        os.close(ours)
        if child.poll() is None:
            child.kill()
            child.wait()
    assert child.returncode == 0
    assert b"is kept" in out
    assert canary.find({"the terminal": shown, "stdout": out}, [TOKEN]) == []
    assert held("github", "work") == {"access_token": TOKEN}


# rename, disconnect


@pytest.mark.requirement("d.commands-connections")
def test_an_account_gets_another_name_and_keeps_its_secret(said, piped):
    add(piped, "work")
    (before,) = rows(said)
    assert run("rename", "github", "office") == 0
    assert said().out == "github:work of the thread default is github:office now.\n"
    (after,) = rows(said)
    assert (after["id"], after["profile"]) == (before["id"], "office")
    assert held("github", "office") == {"access_token": TOKEN}
    assert run("rename", "github:office", "office") == 0


def test_a_name_that_is_taken_is_refused_and_nothing_changes(said, piped):
    add(piped, "work")
    add(piped, "home", text="another token\n")
    before = rows(said)
    assert run("rename", "github:work", "home") == 2
    assert "There is an account github:home already" in said().err
    assert rows(said) == before


@pytest.mark.requirement("d.commands-connections")
def test_disconnecting_says_what_became_of_the_tokens(said, piped):
    add(piped, "work")
    said()
    assert run("disconnect", "github:work") == 0
    out = said().out
    assert "github:work of the thread default is disconnected." in out
    assert rows(said) == []


# export, import


def exported(passphrase: Path, *arguments: str, file: str = "accounts.json") -> int:
    return run("export", file, *arguments, "--passphrase-file", str(passphrase))


def imported(passphrase: Path, *arguments: str, file: str = "accounts.json") -> int:
    return run("import", file, *arguments, "--passphrase-file", str(passphrase))


@pytest.fixture
def two(piped, said) -> None:
    add(piped, "work", "--thread", "ann")
    add(piped, "default", text="the other token\n")
    said()


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    def move() -> None:
        monkeypatch.setenv("VALETKEY_HOME", str(tmp_path / "elsewhere"))
        build.use(None)

    return move


@pytest.mark.requirement("d.commands-transfer")
@pytest.mark.usefixtures("two")
def test_accounts_go_to_another_vault(said, passphrase, elsewhere):
    assert exported(passphrase) == 0
    out = said().out
    assert "2 accounts with secrets, encrypted, in accounts.json:" in out
    assert "github:work of the thread ann" in out
    elsewhere()
    assert imported(passphrase) == 0
    assert said().out.count("imported") == 2
    assert held("github", "work", "ann") == {"access_token": TOKEN}
    assert [(row["thread"], row["profile"]) for row in rows(said)] == [("ann", "work"), ("default", "default")]
    assert imported(passphrase, "--json") == 0
    assert {row["became"] for row in json.loads(said().out)} == {"kept"}


@pytest.mark.requirement("d.commands-transfer")
@pytest.mark.usefixtures("two")
def test_some_accounts_can_be_exported(said, passphrase, elsewhere):
    assert exported(passphrase, "--thread", "ann") == 0
    assert exported(passphrase, "github", file="one.json") == 0
    assert exported(passphrase, "github:nope", file="none.json") == 2
    assert exported(passphrase, "--thread", "eve", file="none.json") == 2
    assert not Path("none.json").exists()
    elsewhere()
    assert imported(passphrase, "--thread", "eve") == 0
    assert [(row["thread"], row["profile"]) for row in rows(said)] == [("eve", "work")]
    assert imported(passphrase, file="one.json") == 0
    assert [(row["thread"], row["profile"]) for row in rows(said)] == [("default", "default"), ("eve", "work")]


@pytest.mark.requirement("V-13")
@pytest.mark.usefixtures("two")
def test_the_file_is_for_its_owner_only_whatever_the_umask(passphrase):
    before = os.umask(0)
    try:
        assert exported(passphrase) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path("accounts.json").stat().st_mode) == 0o600
    assert sorted(path.name for path in Path().iterdir()) == ["accounts.json", "passphrase"]


@pytest.mark.usefixtures("two")
def test_a_file_that_is_there_is_written_over_only_by_force(said, passphrase):
    Path("accounts.json").write_text("mine")
    assert exported(passphrase) == 2
    assert "--force" in said().err
    assert Path("accounts.json").read_text() == "mine"
    assert exported(passphrase, "--force") == 0
    assert json.loads(Path("accounts.json").read_text())["format"] == "valetkey-accounts"
    assert stat.S_IMODE(Path("accounts.json").stat().st_mode) == 0o600


def test_a_file_that_another_program_writes_meanwhile_is_not_written_over():
    Path("accounts.json").write_text("mine")
    with pytest.raises(InvalidArguments):
        write_file(Path("accounts.json"), b"ours", force=False)
    assert Path("accounts.json").read_text() == "mine"


@pytest.mark.usefixtures("two")
def test_where_it_cannot_be_written_that_is_said(said, passphrase):
    assert exported(passphrase, file="no/such/folder.json") != 0
    assert said().err.count("\n") == 1


@pytest.mark.requirement("d.commands-transfer")
@pytest.mark.usefixtures("two")
def test_a_wrong_passphrase_or_file_is_one_line_and_changes_nothing(said, passphrase, elsewhere):
    exported(passphrase)
    elsewhere()
    said()
    wrong = secret_file("wrong", "correct horse battery stapler")
    assert imported(wrong) == 5
    assert said().err == ("valetkey: The file does not open: the passphrase is another one, or the file was changed.\n")
    assert imported(passphrase, file="wrong") == 2
    assert imported(passphrase, file="nowhere.json") == 2
    assert rows(said) == []


@pytest.mark.requirement("d.commands-transfer")
@pytest.mark.usefixtures("two")
def test_what_is_there_is_kept_unless_it_is_to_be_replaced(said, piped, passphrase):
    exported(passphrase)
    add(piped, "default", "--replace", text="a newer token\n")
    said()
    assert imported(passphrase) == 0
    assert "--replace" in said().out
    assert held("github", "default") == {"access_token": "a newer token"}
    assert imported(passphrase, "--replace") == 0
    assert held("github", "default") == {"access_token": "the other token"}


@pytest.mark.usefixtures("two")
def test_where_nobody_can_be_asked_the_passphrase_comes_from_a_file(said, piped):
    piped("")
    assert run("export", "accounts.json") == 2
    assert "--passphrase-file" in said().err


@pytest.mark.usefixtures("two")
def test_a_person_types_the_passphrase_twice(said, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    typed = iter([PASSPHRASE, "something else", PASSPHRASE, PASSPHRASE])
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(typed))
    assert run("export", "accounts.json") == 2
    assert "differ" in said().err
    assert not Path("accounts.json").exists()
    assert run("export", "accounts.json") == 0


@pytest.mark.usefixtures("two")
def test_a_passphrase_that_others_can_read_is_said_and_a_short_one_refused(said, passphrase):
    passphrase.chmod(0o644)
    assert exported(passphrase) == 0
    assert "can be read by others" in said().err
    short = secret_file("short", "too short")
    assert exported(short, file="other.json") == 2
    assert "12 characters" in said().err
    empty = secret_file("empty", "")
    assert exported(empty, file="other.json") == 2
    assert not Path("other.json").exists()


@pytest.mark.usefixtures("two")
def test_a_secret_that_cannot_be_opened_is_left_out_and_the_rest_is_exported(said, passphrase, home, elsewhere):
    system = build.default()
    first, second = asyncio.run(system.stores.connections.page())
    asyncio.run(system.stores.connections.reseal([(second, first.sealed)]))
    assert exported(passphrase) == 1
    printed = said()
    assert "1 account with secrets" in printed.out
    assert "left out: github:" in printed.err


@pytest.mark.parametrize("command", ["list", "show", "add", "rename", "disconnect", "reconnect", "export", "import"])
def test_each_command_has_help(command, said):
    assert run(command, "--help") == 0
    assert f"Usage: valetkey connections {command}" in said().out


def test_the_help_loads_nothing_heavy():
    code = "import sys; from valetkey.cli.main import main; main(['connections', '--help']); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not set(ended.stdout.split()) & {"sqlalchemy", "httpx2", "cryptography", "pydantic"}
