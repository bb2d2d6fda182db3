"""valetkey users, tokens, apikeys: what each prints and does; a secret is printed once, alone, and is no argument."""

import io
import json
from pathlib import Path

import pytest

from valetkey.cli.identity import opened_identity, seconds_of
from valetkey.cli.main import main
from valetkey.errors import InvalidArguments, Unauthenticated
from valetkey.model.caller import Caller
from valetkey.model.calls import BEARER, Presented
from valetkey.secret import Secret
from valetkey.wiring import build

PASSWORD = "correct horse battery staple"


class Terminal(io.StringIO):
    """Where a person types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def fresh_system():
    build.use(None)
    yield
    build.use(None)


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command, with what is piped into it: its exit status, what it prints, what it says beside."""

    def command(*arguments: str, piped: str = "", terminal: bool = False) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", Terminal() if terminal else io.StringIO(piped))
        status = main(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


@pytest.fixture
def ann(run):
    assert run("users", "add", "ann", piped=f"{PASSWORD}\n")[0] == 0


def rows(run, *arguments: str) -> list[dict]:
    status, out, _ = run(*arguments, "--json")
    assert status == 0
    found: list[dict] = json.loads(out)
    return found


def identified(text: str) -> Caller:
    """Who presents it, as the server would say."""
    with opened_identity() as identity:
        presented = Presented(scheme=BEARER, value=Secret(text))
        return identity.system.home.block(lambda: identity.chain.identify(presented))


def signs_in(name: str, password: str) -> bool:
    with opened_identity() as identity:
        try:
            identity.system.home.block(
                lambda: identity.local.sign_in(name, Secret(password), address="", agent="a browser")
            )
        except Unauthenticated:
            return False
    return True


@pytest.mark.requirement("d.commands-identity")
def test_an_account_is_made_with_a_piped_password_and_signs_in(run):
    status, out, err = run("users", "add", "Ann", "--admin", "--email", "ann@example.org", piped=f"{PASSWORD}\nmore\n")
    assert (status, out, err) == (0, "The account ann is made, and is an admin.\n", "")
    assert signs_in("ann", PASSWORD)
    (row,) = rows(run, "users", "list")
    assert (row["id"], row["email"], row["roles"], row["disabled"]) == (
        "local|ann",
        "ann@example.org",
        ["admin"],
        False,
    )
    assert "ann" in run("users", "list")[1]


def test_a_password_that_is_made_is_alone_on_standard_output(run):
    status, out, err = run("users", "add", "bob", "--generate")
    assert status == 0
    assert len(out.strip()) == 24
    assert out.strip() not in err
    assert signs_in("bob", out.strip())
    again = run("users", "set-password", "bob", "--generate")[1].strip()
    assert (signs_in("bob", out.strip()), signs_in("bob", again)) == (False, True)


def test_a_password_is_never_an_argument(run):
    for arguments in (("users", "add", "ann", PASSWORD), ("users", "add", "ann", "--password", PASSWORD)):
        assert run(*arguments)[0] == 2


def test_a_password_is_asked_for_twice_without_showing_it(run, monkeypatch):
    asked: list[str] = []
    answers = iter([PASSWORD, "another one entirely", PASSWORD, PASSWORD])

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return next(answers)

    monkeypatch.setattr("getpass.getpass", ask)
    status, _, err = run("users", "add", "ann", terminal=True)
    assert (status, err) == (2, "valetkey: The two passwords differ. Nothing was changed.\n")
    assert run("users", "add", "ann", terminal=True)[0] == 0
    assert asked == ["Password (not shown): ", "The same again: "] * 2


CANNOT = [
    (("users", "add", "a b"), f"{PASSWORD}\n"),
    (("users", "add", "ann"), f"{PASSWORD}\n"),
    (("users", "add", "bob"), "short\n"),
    (("users", "add", "bob"), ""),
    (("users", "disable", "nobody"), ""),
    (("users", "set-password", "nobody"), f"{PASSWORD}\n"),
    (("tokens", "create", "--user", "nobody"), ""),
    (("tokens", "create", "--user", "ann", "--expires-in", "soon"), ""),
    (("tokens", "create", "--user", "ann", "--workspace", "*"), ""),
    (("apikeys", "create", "--user", "ann", "--scope", "ws:x#a"), ""),
    (("apikeys", "create", "--user", "ann", "--name", "two\nlines"), ""),
    (("tokens", "revoke", "nothing"), ""),
    (("apikeys", "revoke", "nothing"), ""),
]


def test_what_cannot_be_done_is_one_line_and_changes_nothing(run, ann):
    for arguments, piped in CANNOT:
        status, out, err = run(*arguments, piped=piped)
        assert (status, out, err.count("\n")) == (2, "", 1), arguments
        assert err.startswith("valetkey: "), arguments
    assert [row["name"] for row in rows(run, "users", "list")] == ["ann"]
    assert rows(run, "tokens", "list") == rows(run, "apikeys", "list") == []


def test_a_key_of_nobody_is_not_made_and_the_next_step_is_named(run):
    status, _, err = run("apikeys", "create", "--user", "ada")
    assert (status, "valetkey users add ada" in err) == (2, True)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("workspace", "ws-user-anna", "There is no workspace 'ws-user-anna' here"),
        ("tool", "ws-user-anna/sums", "There is no workspace 'ws-user-anna' here"),
        ("user", "anna", "There is no account 'anna' here"),
        ("user", "ann", ""),
        ("user", "corp|anna", ""),
        ("tool", "pay", ""),
        ("tool", "via/github", ""),
        ("workspace", "public", ""),
    ],
)
def test_a_block_of_what_is_not_there_holds_and_says_so(run, ann, kind, name, said):
    status, out, err = run("blocks", "add", kind, name)
    assert (status, "is blocked" in out) == (0, True)
    assert err.startswith(said)
    assert bool(err) is bool(said)


def test_a_disabled_account_cannot_sign_in_and_its_keys_end(run, ann):
    key = run("apikeys", "create", "--user", "ann")[1].strip()
    assert identified(key).owner.subject == "local|ann"
    assert run("users", "disable", "ann")[0] == 0
    assert not signs_in("ann", PASSWORD)
    with pytest.raises(Unauthenticated):
        identified(key)
    status, _, err = run("apikeys", "create", "--user", "ann")
    assert (status, "disabled" in err) == (2, True)
    assert run("users", "enable", "ann")[0] == 0
    assert signs_in("ann", PASSWORD)


def test_a_token_is_printed_once_alone_and_is_the_users(run, ann):
    status, out, err = run("tokens", "create", "--user", "ann", "--name", "ci", "--expires-in", "12h")
    assert status == 0
    token = out.strip()
    assert token.count(".") == 2
    assert token not in err
    caller = identified(token)
    assert caller.user is not None
    assert (caller.user.id, caller.owner.workspace) == ("local|ann", "ws-user-local|ann")
    (row,) = rows(run, "tokens", "list")
    assert (row["name"], row["kind"], row["expires_at"] - row["created_at"] > 12 * 3600 - 2) == ("ci", "access", True)
    assert token not in json.dumps(row)
    assert run("tokens", "revoke", row["id"])[1] == f"{row['id']} is revoked.\n"
    with pytest.raises(Unauthenticated):
        identified(token)
    assert "already" in run("tokens", "revoke", row["id"])[1]


@pytest.mark.requirement("A-08", "C3.keys", "d.commands-identity")
def test_a_key_is_narrowed_listed_with_its_last_use_and_revoked(run, ann):
    arguments = ("--workspace", "ws-lab", "--permission", "read", "--scope", "files:read", "--scope", "mail:send")
    key = run("apikeys", "create", "--user", "local|ann", "--name", "robot", *arguments)[1].strip()
    assert key.startswith("vk_")
    assert rows(run, "apikeys", "list")[0]["last_used_at"] is None
    caller = identified(key)
    assert caller.user is not None
    assert caller.user.scope is not None
    assert {name: held.value for name, held in caller.user.scope.workspaces.items()} == {"ws-lab": "r"}
    (row,) = rows(run, "apikeys", "list", "--user", "ann")
    assert (row["scopes"], row["workspaces"], row["expires_at"]) == (["files:read", "mail:send"], {"ws-lab": "r"}, None)
    assert row["last_used_at"] is not None
    assert rows(run, "tokens", "list") == []
    assert "robot" in run("apikeys", "list")[1]
    assert run("apikeys", "revoke", row["id"])[0] == 0
    assert run("apikeys", "list")[1] == "There is no API key here.\n"
    with pytest.raises(Unauthenticated):
        identified(key)


@pytest.mark.requirement("seed004.bp-storage", "A-01", "E-01")
def test_neither_password_nor_key_is_anywhere_in_the_data_folder(run, ann, home: Path):
    key = run("apikeys", "create", "--user", "ann")[1].strip()
    run("users", "set-password", "ann", piped="another password entirely\n")
    kept = b"".join(path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file())
    assert b"local|ann" in kept
    for secret in (PASSWORD, "another password entirely", key, key[26:69]):
        assert secret.encode() not in kept


def test_all_of_it_is_in_the_audit_log(run, ann):
    run("apikeys", "create", "--user", "ann")
    (row,) = rows(run, "apikeys", "list")
    run("apikeys", "revoke", row["id"])
    run("users", "disable", "ann")
    told = [record["action"] for record in rows(run, "audit", "list")]
    assert told == ["account.add", "token.issue", "token.revoke", "account.change"]


@pytest.mark.parametrize(("text", "seconds"), [("60", 60), ("90m", 5400), ("12h", 43_200), (" 30d ", 2_592_000)])
def test_a_time_is_written_in_seconds_or_with_its_unit(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5h", "1w", "soon", "9" * 30])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InvalidArguments):
        seconds_of(text)
