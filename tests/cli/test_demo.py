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
from pathlib import Path

import pytest

from valetkey.cli import demo
from valetkey.cli.demo_journey import STEPS, Journey
from valetkey.cli.demo_screen import Screen
from valetkey.cli.ports import free_port
from valetkey.ports.agents import Message, ToolText
from valetkey.testing.oauth.options import Client
from valetkey.testing.oauth_server import OAuthServer
from valetkey.testing.visitor import Visitor
from valetkey.wiring import build

pytestmark = pytest.mark.timeout(150)

ASKED = ("ask", "link", "consent", "call", "restart", "check")
LINE = re.compile(r"^ok +(\w+) +(\d+\.\d\d) s +\S", re.MULTILINE)
LINK = re.compile(r"http://127\S+/authorize\?\S+")


@pytest.fixture(autouse=True)
def no_system_is_left():
    yield
    build.use(None)


@pytest.fixture
def server() -> OAuthServer:
    return OAuthServer([Client(id="demo-agent", secret="a-secret-of-the-test")], scopes={"mail.read": ""})


def show(server: OAuthServer, *, answer="approve", port=8000) -> tuple[int, str]:
    """Status and standard output of an unattended run in this process."""
    out = io.StringIO()
    status = demo.show(auto=True, server=server, answer=answer, port=port, out=out)
    return status, out.getvalue()


@pytest.fixture
def watched() -> Iterator[subprocess.Popen[str]]:
    """The demo with a person, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "valetkey.cli.demo"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "AUTO": "", "COLUMNS": "80"},
        # A test run that a shell put into the background hands on that Ctrl-C is ignored; a person's does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    with process:
        yield process
        process.kill()


def link_of(process: subprocess.Popen[str]) -> str:
    """Read until the person is waited for; the link that was printed."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("Waiting for you"):
            return str(LINK.findall(said)[-1])
    raise AssertionError(said)


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
    assert tuple(name for name, _ in steps if name != "start") == ASKED
    assert sum(float(seconds) for _, seconds in steps) <= took
    assert "What the model saw" in ended.stdout
    assert "Your invoice for March" in ended.stdout
    assert re.search(r"Authorization: Bearer \*\*\*\S{4}…", ended.stdout)
    assert "\x1b" not in ended.stdout
    assert max(len(line) for line in ended.stdout.splitlines()) <= 80
    assert list(scratch.iterdir()) == [], "its folder is gone"


def test_the_data_folder_of_the_person_is_left_alone(home, server):
    assert show(server)[0] == 0
    assert not home.exists()
    assert list(Path.cwd().iterdir()) == []


def test_settings_of_the_person_do_not_disturb_it(server, monkeypatch):
    Path("valetkey.toml").write_text("nonsense = 1\n")
    monkeypatch.setenv("VALETKEY_INTERNAL_SERVER_PORT", "1")
    assert show(server)[0] == 0


def test_every_token_is_in_no_output_and_one_consent_serves_both_runs(server, capfd):
    status, out = show(server)
    assert status == 0
    assert len(server.issued) == 2
    assert not [token for token in [*server.issued, *server.codes, server.client.secret] if token in out]
    assert server.exchanges == 1
    used = [request.headers["authorization"] for request in server.requests if request.path == "/api/mail"]
    assert used == [f"Bearer {server.issued[0]}"] * 2
    assert capfd.readouterr() == ("", "")


def test_a_taken_port_is_said_and_another_one_used(server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, out = show(server, port=port)
    assert status == 0
    assert f"{port} is taken" in " ".join(out.split())


def test_a_port_that_is_taken_in_between_is_no_failure(server, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        offered = [taken.getsockname()[1], free_port(0)]
        monkeypatch.setattr("valetkey.cli.demo_journey.free_port", lambda wanted: offered.pop(0))
        assert show(server)[0] == 0


def failure(capsys) -> str:
    """The one line that tells of the failure."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("demo: ")]
    assert len(lines) == 1
    return str(lines[0])


def test_a_refusal_is_told_with_the_step(server, capsys):
    status, out = show(server, answer="deny")
    assert status == 1
    line = failure(capsys)
    assert line.startswith('demo: failed at step "consent": the answer on the consent page was no')
    assert "choose Allow" in line
    assert [name for name, _ in LINE.findall(out)] == ["start", "ask", "link"]
    assert server.issued == []


@pytest.mark.parametrize(
    ("fault", "step", "said"),
    [
        ({"at": "token", "status": 500, "times": 9}, "consent", "500"),
        ({"at": "token", "html": True, "times": 9}, "consent", "usable answer"),
        ({"at": "mail", "status": 500}, "call", "500"),
        ({"at": "mail", "body": '{"messages": []}', "status": 200}, "call", "no messages"),
        ({"at": "mail", "drop": True}, "call", "error while executing"),
    ],
)
def test_a_service_that_fails_is_told_with_the_step(server, capsys, fault, step, said):
    server.fail_next(**fault)
    assert show(server)[0] == 1
    line = failure(capsys)
    assert line.startswith(f'demo: failed at step "{step}": ')
    assert said in line


def test_a_wrong_client_is_told_at_the_consent(server, capsys, monkeypatch):
    monkeypatch.setattr(Client, "knows", lambda self, secret: False)
    assert show(server)[0] == 1
    assert 'failed at step "consent"' in failure(capsys)


def test_a_forgotten_account_fails_the_restart(server, capsys, monkeypatch):
    whole = Journey._run_again

    async def forgetful(self):
        await asyncio.to_thread(Path(self._folder, "valetkey.db").unlink)
        return await whole(self)

    monkeypatch.setattr(Journey, "_run_again", forgetful)
    assert show(server)[0] == 1
    assert 'failed at step "restart"' in failure(capsys)


def test_a_second_process_that_breaks_fails_the_restart(server, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "here")
    Path("here/valetkey").mkdir(parents=True)
    Path("here/valetkey/__init__.py").write_text("raise SystemExit('broken on purpose')")
    assert show(server)[0] == 1
    line = failure(capsys)
    assert 'failed at step "restart"' in line
    assert "broken on purpose" in line
    assert "Traceback" not in line


@pytest.mark.parametrize("which", ["file", "model", "terminal"])
def test_a_leak_fails_the_check(server, capsys, monkeypatch, which):
    whole = Journey._run_again

    async def leaking(self):
        coded = base64.b64encode(f"user:{server.issued[0]}".encode()).decode()
        if which == "file":
            await asyncio.to_thread(Path(self._folder, "notes").write_text, coded)
        elif which == "model":
            self._agent.messages.append(Message(role="tool", results=(ToolText(id="", tool="", text=coded),)))
        else:
            self._screen.title(coded)
        return await whole(self)

    monkeypatch.setattr(Journey, "_run_again", leaking)
    assert show(server)[0] == 1
    line = failure(capsys)
    assert line.startswith('demo: failed at step "check": a secret was found in: ')
    assert {"file": "file notes", "model": "what the model saw", "terminal": "this terminal"}[which] in line
    assert "(base64)" in line
    assert server.issued[0] not in line


def test_a_step_that_takes_too_long_is_told(server, capsys, monkeypatch):
    late = tuple(
        step if step.name != "consent" else type(step)(name="consent", title="", deadline=0.0) for step in STEPS
    )
    monkeypatch.setattr(demo, "STEPS", late)
    assert show(server)[0] == 1
    assert 'failed at step "consent": it did not end within 0 s' in failure(capsys)


def test_a_fault_of_ours_is_a_line_and_no_traceback(server, capsys, monkeypatch):
    monkeypatch.setattr("valetkey.cli.demo_journey.mail_tool", lambda setup: 1 / 0)
    assert show(server)[0] == 1
    line = failure(capsys)
    assert line.startswith('demo: failed at step "start": ZeroDivisionError')


def test_a_person_says_yes(watched):
    visitor = Visitor()
    page = visitor.open(link_of(watched))
    assert page.heading == "The demo agent asks for access to your account"
    assert "is connected" in visitor.submit(page, answer="approve").heading
    out, complaint = watched.communicate(timeout=100)
    assert (watched.returncode, complaint) == (0, "")
    assert "The meeting moved to Thursday" in out
    assert "none was found" in out


def test_a_person_says_no(watched):
    visitor = Visitor()
    page = visitor.submit(visitor.open(link_of(watched)), answer="deny")
    assert page.status == 403
    _, complaint = watched.communicate(timeout=100)
    assert watched.returncode == 1
    assert complaint.startswith('demo: failed at step "consent": the answer on the consent page was no')
    assert complaint.count("\n") == 1


def test_a_person_ends_it(watched):
    link_of(watched)
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
