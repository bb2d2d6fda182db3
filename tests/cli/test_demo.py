"""The demo: the whole journey by itself and with a person, and what it says when a step fails."""

import asyncio
import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from valetkey.cli import demo, demo_app
from valetkey.cli.demo_app import TOKEN, DemoApp, Setup, StepFailed
from valetkey.cli.demo_browser import Browser
from valetkey.cli.demo_journey import ECHO, MAIL, ORDERS, SOCKET, STEPS, Journey
from valetkey.cli.demo_proof import Proof
from valetkey.cli.demo_screen import Screen
from valetkey.cli.ports import free_port
from valetkey.testing.oauth.options import Client
from valetkey.testing.oauth_server import OAuthServer

pytestmark = pytest.mark.timeout(150)

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = tuple(step.name for step in STEPS)
LINE = re.compile(r"^ok +(\w+(?: \w+)?) +(\d+\.\d\d) s +\S", re.MULTILINE)


@pytest.fixture
def server() -> OAuthServer:
    return OAuthServer([Client(id="demo-shop", secret="a-secret-of-the-test")], scopes={"mail.read": ""})


def show(server: OAuthServer, *, answer="approve", port=8000) -> tuple[int, str]:
    """Status and standard output of an unattended run in this process."""
    out = io.StringIO()
    status = demo.show(auto=True, server=server, answer=answer, port=port, out=out)
    return status, out.getvalue()


def failure(capsys) -> str:
    """The one line that tells of the failure."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("demo: ")]
    assert len(lines) == 1
    return str(lines[0])


@pytest.fixture
def watched() -> Iterator[subprocess.Popen[str]]:
    """The demo with a person, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "valetkey.cli.demo"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "AUTO": "", "COLUMNS": "80"},
        # A test run that a shell put into the background hands on that Ctrl-C is ignored; a person's does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    with process:
        yield process
        process.kill()


def read_on(process: subprocess.Popen[str]) -> str:
    """Read until the person is waited for."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("Waiting for you"):
            return said
    raise AssertionError(said)


@pytest.mark.requirement("D.demo")
def test_it_ends_well_by_itself_within_a_minute(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "valetkey.cli.demo"],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "AUTO": "1", "COLUMNS": "80", "TMPDIR": str(scratch)},
    )  # fmt: skip
    took = time.monotonic() - began
    assert (ended.returncode, ended.stderr) == (0, "")
    assert took < 60
    steps = LINE.findall(ended.stdout)
    assert tuple(name for name, _ in steps) == NAMES
    assert sum(float(seconds) for _, seconds in steps) <= took
    assert "What the model saw" in ended.stdout
    assert "Your invoice for March" in ended.stdout
    assert re.search(r"GET /api/orders\s+Authorization: Bearer \*\*\*demo…", ended.stdout)
    assert re.search(r"GET /api/mail\?limit=2\s+Authorization: Bearer \*\*\*\S{4}…", ended.stdout)
    assert TOKEN not in ended.stdout
    assert "\x1b" not in ended.stdout
    assert max(len(line) for line in ended.stdout.splitlines()) <= 80
    assert list(scratch.iterdir()) == [], "its folder is gone"


@pytest.mark.requirement("D.demo")
def test_it_leaves_the_person_alone_and_shows_no_token(home, server, monkeypatch, capfd):
    Path("valetkey.toml").write_text("nonsense = 1\n")
    Path(".env").write_text("BEDROCK_MODEL_ID=nonsense\n")
    monkeypatch.setenv("VALETKEY_DATABASE_URL", "nonsense")
    monkeypatch.setenv("BEDROCK_ENABLE_TOOL_AUTH", "false")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, out = show(server, port=port)
    assert (status, capfd.readouterr().err) == (0, "")
    assert f"{port} is taken" in " ".join(out.split())
    assert not home.exists()
    assert sorted(path.name for path in Path.cwd().iterdir()) == [".env", "valetkey.toml"]
    assert not [secret for secret in [*server.issued, *server.codes, server.client.secret, TOKEN] if secret in out]
    assert (server.exchanges, len(server.issued)) == (1, 2), "one consent serves both runs"
    used = [request.headers["authorization"] for request in server.requests if request.path == "/api/mail"]
    assert used == [f"Bearer {server.issued[0]}"] * 2


def test_a_refusal_is_told_with_the_step(server, capsys, monkeypatch):
    ports = [0, 0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1], free_port(0)]
        monkeypatch.setattr("valetkey.cli.demo_journey.free_port", lambda wanted: ports.pop(0))
        status, out = show(server, answer="deny")
    assert ports == [], "a port that is taken in between is no failure"
    assert status == 1
    line = failure(capsys)
    assert line.startswith('demo: failed at step "connect": the answer on the consent page was no')
    assert "choose Allow" in line
    assert [name for name, _ in LINE.findall(out)] == ["start", "open", "sign in", "ask", "echo", "link"]
    assert server.issued == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param({"at": "token", "status": 500, "times": 9}, "500", marks=pytest.mark.long),
        ({"at": "mail", "status": 500}, "gave no messages"),
    ],
)
def test_a_service_that_fails_is_told_with_the_step(server, capsys, fault, said):
    server.fail_next(**fault)
    assert show(server)[0] == 1
    line = failure(capsys)
    assert line.startswith('demo: failed at step "connect": ')
    assert said in line


@pytest.mark.long
def test_a_forgotten_account_fails_the_restart(server, capsys, monkeypatch):
    whole = Journey._open_app

    async def forgetful(self, wanted):
        for path in await asyncio.to_thread(lambda: list(Path(self._folder).rglob("valetkey.db*"))):
            path.unlink()
        await whole(self, wanted)

    monkeypatch.setattr(Journey, "_open_app", forgetful)
    assert show(server)[0] == 1
    assert 'failed at step "restart": the new process did not find the account' in failure(capsys)


def test_an_app_that_breaks_fails_the_start(server, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path("over").absolute()))
    Path("over/valetkey").mkdir(parents=True)
    Path("over/valetkey/__init__.py").write_text("raise SystemExit('broken on purpose')")
    assert show(server)[0] == 1
    line = failure(capsys)
    assert line.startswith('demo: failed at step "start": the app ended with status 1: broken on purpose')
    assert "Traceback" not in line


def test_without_the_example_it_says_where_to_run(server, capsys, monkeypatch):
    monkeypatch.setattr(demo_app, "EXAMPLE", "examples/no_such_file.py")
    assert show(server)[0] == 1
    assert "Run the demo in a checkout" in failure(capsys)


def test_a_fault_of_ours_is_a_line_and_no_traceback(server, capsys, monkeypatch):
    monkeypatch.setattr("valetkey.cli.demo_journey.example_file", lambda: 1 / 0)
    assert show(server)[0] == 1
    assert failure(capsys).startswith('demo: failed at step "start": ZeroDivisionError')


def test_a_step_that_takes_too_long_is_told(server, capsys, monkeypatch):
    late = tuple(type(step)(name=step.name, title="", deadline=0.0) for step in STEPS)
    monkeypatch.setattr(demo, "STEPS", late)
    assert show(server)[0] == 1
    assert 'failed at step "start": it did not end within 0 s' in failure(capsys)


# What is looked for, and where.


def run_of(folder: Path) -> DemoApp:
    """A run of the app that ended, and saw what it has to."""
    app = DemoApp(folder, Setup(example="", port=1, mail_url="", client_id="", client_secret=""), lambda seen: None)
    app.seen.append({"kind": "api", "call": "GET /api/orders", "credential": f"Bearer {TOKEN}", "status": 200})
    return app


@pytest.fixture
def proof(tmp_path, server) -> Iterator[Proof]:
    with server:
        begin = f"{server.authorize_url}?response_type=code&client_id=demo-shop&redirect_uri=http://127.0.0.1/"
        assert server.approve(f"{begin}&code_challenge={'x' * 43}&code_challenge_method=S256&state=s")
        app = run_of(tmp_path)
        app.seen.append({"kind": "api", "call": "GET /api/mailbox", "credential": f"Bearer {server.codes[0]}"})
        yield Proof([app], server, tmp_path, printed={"this terminal": "nothing"}, told_token=False)


def test_nothing_is_found_where_nothing_is(proof):
    searched, places = proof.search()
    assert (searched, places) == (3, 4)


@pytest.mark.requirement("D.demo")
@pytest.mark.parametrize(
    ("where", "said"),
    [("file", "file notes"), ("model", "what the model saw"), ("page", "what the page got"), ("log", "the shop's log"),
     ("terminal", "this terminal")],
)  # fmt: skip
@pytest.mark.parametrize("which", ["session", "lent"])
def test_a_leak_is_found_and_told_without_it(proof, tmp_path, server, where, said, which):
    secret = TOKEN if which == "session" else server.codes[0]
    coded = base64.b64encode(f"user:{secret}".encode()).decode()
    (app,) = proof._apps
    match where:
        case "file":
            (tmp_path / "notes").write_text(coded)
        case "model":
            app.seen.append({"kind": "model", "messages": [{"text": coded}]})
        case "page":
            app.seen.append({"kind": "frame", "frame": {"message": coded}})
        case "log":
            app._logged += coded.encode()
        case _:
            proof._printed["this terminal"] = coded
    with pytest.raises(StepFailed, match="a secret was found in: ") as failed:
        proof.search()
    assert said in str(failed.value)
    assert "(base64)" in str(failed.value)
    assert secret not in str(failed.value)


def test_a_search_that_finds_nothing_where_something_has_to_be_fails(proof):
    proof._apps[0].seen.clear()
    with pytest.raises(StepFailed, match="does not find a token even where one has to be"):
        proof.search()


# A person.


async def do_as_told(process: subprocess.Popen[str], answer: str) -> str:
    """What a person does in their browser, as the terminal tells them; what it told them."""
    said = await asyncio.to_thread(read_on, process)
    base = re.findall(r"http://localhost:\d+", said)[-1]
    browser = Browser(base, SOCKET)
    await browser.open()
    await browser.connect()
    try:
        for frame in (
            {"type": "auth", "auth_type": "bearer_token", "token": TOKEN},
            {"type": "chat", "message": ORDERS},
            {"type": "chat", "message": ECHO},
            {"type": "chat", "message": MAIL},
        ):
            told = await asyncio.to_thread(read_on, process)
            assert str(frame.get("token") or frame["message"]) in told
            said += told
            await browser.send(**frame)
        asked = await browser.until("auth_required")
        said += await asyncio.to_thread(read_on, process)
        await browser.answer(str(asked["url"]), answer)
        if answer == "approve":
            said += await asyncio.to_thread(read_on, process)
            await browser.connect()
            await browser.send(type="chat", message=MAIL)
            await browser.until("ai_response")
    finally:
        await browser.close()
    return said


@pytest.mark.requirement("D.demo")
async def test_a_person_says_yes(watched):
    said = await do_as_told(watched, "approve")
    out, complaint = await asyncio.to_thread(watched.communicate, timeout=100)
    assert (watched.returncode, complaint) == (0, "")
    assert "The meeting moved to Thursday" in " ".join(said.split())
    assert "none was found" in out


@pytest.mark.long
async def test_a_person_says_no(watched):
    await do_as_told(watched, "deny")
    _, complaint = await asyncio.to_thread(watched.communicate, timeout=100)
    assert watched.returncode == 1
    assert complaint.startswith('demo: failed at step "connect": the answer on the consent page was no')
    assert complaint.count("\n") == 1


def test_a_person_ends_it(watched):
    read_on(watched)
    watched.send_signal(signal.SIGINT)
    _, complaint = watched.communicate(timeout=60)
    assert watched.returncode == 130
    assert complaint.strip() == "demo: ended by you; nothing is left behind."


@pytest.mark.parametrize(
    ("given", "auto"), [("1", True), ("yes", True), ("TRUE", True), ("", False), ("0", False), ("no", False)]
)
def test_the_environment_says_whether_somebody_is_there(monkeypatch, given, auto):
    seen = []

    def show(*, auto):
        seen.append(auto)
        return 7

    monkeypatch.setattr(demo, "show", show)
    monkeypatch.setenv("AUTO", given)
    assert demo.main() == 7
    assert seen == [auto]


def test_the_deadlines_of_an_unattended_run_add_up_to_a_minute():
    assert sum(step.deadline for step in STEPS) <= 60


def test_a_secret_that_is_wrapped_over_lines_is_still_in_what_was_printed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    token = "t0ken" * 20
    screen = Screen(io.StringIO(), auto=True)
    screen.panel("What", [("tool", json.dumps({"a": token}))])
    assert not any(token in line for line in screen.printed["this terminal"].splitlines())
    assert token in screen.printed["this terminal, its lines joined"]


STARTED = """
import json, runpy, sys
blocked, example = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(blocked))
import valetkey.cli.demo_journey, valetkey.cli.demo_program
made = runpy.run_path(example)["make_app"]
app = made("http://localhost:8000", mail_url="http://127.0.0.1:9", client_id="shop", client_secret="not-a-secret")
print(len(app.state.chat.chat.offer.tools()))
"""


def test_it_needs_nothing_but_what_make_demo_installs():
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "run.txt").read_text(), re.MULTILINE))
    blocked = [
        module
        for module, names in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", name).lower() for name in names} & {*pinned, "valetkey", "pip", "setuptools"}
    ]
    assert {"boto3", "pydantic_ai", "yaml"} <= set(blocked)
    ended = subprocess.run(
        [sys.executable, "-c", STARTED, json.dumps([blocked, demo_app.example_file()])],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "BEDROCK_MODEL_ID": "offline"},
    )  # fmt: skip
    assert (ended.stdout.strip(), ended.returncode) == ("10", 0), ended.stderr
