"""A program of somebody else's: what it is given, how it ends, and that nothing of it stays."""

import asyncio
import json
import os
import select
import sys
import time
from pathlib import Path

import pytest

from tests.tools.folders.kit import SEES, write_tool
from valetkey import InvalidArguments, Pocket
from valetkey.adapters.processes import ProgramRunner
from valetkey.adapters.system import SystemClock
from valetkey.ports.processes import Ended, Job

KEPT = 1_048_576
TOKEN = "xoxb-very-secret-token-0123456789"
SLACK = {"auth_provider": "SLACK", "scopes": ["chat:write"]}
OURS = {"HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR"}

ABOUT = {"name": "bare", "description": "Takes nothing.", "inputSchema": {"type": "object"}}


@pytest.fixture
def connected(monkeypatch):
    """Slack's account is a variable of this process."""
    Path("valetkey.toml").write_text('[auth.slack]\nenvironment = {SLACK_BOT_TOKEN = "MY_VARIABLE"}\n', "utf-8")
    monkeypatch.setenv("MY_VARIABLE", TOKEN)


def set_variables(lines: str) -> None:
    with Path("valetkey.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n[tool_vars]\n{lines}")


class Daemons:
    """Knows of processes that hold on to a pipe, wherever they have gone: it ends when the last of them has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def _read(self, seconds: float) -> bytes:
        assert select.select([self._reading], [], [], seconds)[0], "nothing was heard of the daemon"
        return os.read(self._reading, 100)

    async def ready(self) -> None:
        assert await asyncio.to_thread(self._read, 10) == b"ready"

    async def gone(self, seconds: float = 10) -> None:
        assert await asyncio.to_thread(self._read, seconds) == b""
        os.close(self._reading)

    @property
    def code(self) -> str:
        return f"""
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        held = open({str(self.path)!r}, "w")
        held.write("ready")
        held.flush()
        while True:
            time.sleep(60)
    os._exit(0)
os.wait()
"""


class Ahead(SystemClock):
    """Goes as the system's does, and can be put ahead."""

    by = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.by


async def run(code: str, clock: SystemClock | None = None, **more) -> Ended:
    job = Job(argv=(sys.executable, "-c", code), folder="/", **{"deadline": 20.0, **more})
    return await ProgramRunner(clock or SystemClock()).run(job)


@pytest.mark.requirement("seed000.process-environment", "hp.tool-like-folder", "F.tool-environment", "d10.process")
async def test_a_tool_sees_its_variables_its_credential_and_nothing_else_of_ours(tmp_path, monkeypatch, connected):
    for name in ("AWS_SECRET_ACCESS_KEY", "VALETKEY_METRICS_TOKEN", "PYTHONPATH", "LD_LIBRARY_PATH", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, "ours")
    held = os.open(tmp_path / "held", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(held, True)  # even one that would go to every child
    code = "import json, os, sys\nopen(os.environ['OUT'], 'w').write(json.dumps([dict(os.environ), "
    code += "sorted(os.listdir('/proc/self/fd')), os.getcwd(), json.load(sys.stdin)]))\nprint('seen')"
    out = tmp_path / "out.json"
    folder = write_tool(tmp_path / "tool", code, auth=SLACK, variables={"OUT": "", "REGION": "eu", "MODE": "slow"})
    set_variables("REGION = 'of settings'\nMODE = 'of settings'\nMORE = 'x'\n")
    with Pocket(tools=[(str(folder), {"OUT": str(out), "MODE": "of code"})]) as pocket:
        assert await pocket.ainvoke("my_tool", {"text": "hé"}) == "seen"
    environ, descriptors, place, arguments = json.loads(out.read_text())
    os.close(held)
    environ.pop("LC_CTYPE", None)  # Python's own, where it runs without
    assert environ.keys() == OURS | {"OUT", "REGION", "MODE", "SLACK_BOT_TOKEN"}
    assert (environ["REGION"], environ["MODE"], environ["SLACK_BOT_TOKEN"]) == ("of settings", "of code", TOKEN)
    assert environ["HOME"] == environ["TMPDIR"] != os.environ["HOME"]
    assert not os.access(environ["HOME"], os.F_OK)
    assert len(descriptors) == 5  # its three, the file that it writes, and the folder that it lists
    assert place == str(folder.resolve())
    assert arguments == {"text": "hé"}


@pytest.mark.requirement("F.tool-output")
async def test_what_was_lent_is_starred_in_what_it_writes_even_where_a_cut_goes_through_it(tmp_path, connected):
    said = "import os, sys\nt = os.environ['SLACK_BOT_TOKEN']\n"
    ways = {
        "out": "print('token ' + t)",
        "failed": "sys.stderr.write('bad ' + t); sys.exit(3)",
        # The cut of standard output goes through one, that of standard error too.
        "long": "sys.stdout.write((t + ' ') * 60_000)",
        "wrong": "n = 65536 + 16384 - len(t) // 2\nsys.stderr.write('e' * 99_999 + t + 'f' * n); sys.exit(1)",
        "more": "n = 1048576 + 16384 - len(t) // 2\nsys.stdout.write('o' * n + t + 'p' * 99_999)",
    }
    tools = []
    for name, way in ways.items():
        about = {"name": name, "description": "Tells.", "inputSchema": {"type": "object"}}
        tools.append(str(write_tool(tmp_path / name, said + way, auth=SLACK, tool=about)))
    with Pocket(tools=tools) as pocket:
        told = {name: await pocket.ainvoke(name, {}) for name in ways}
    assert told["out"] == "token ***"
    assert told["failed"].endswith("exit status 3: bad ***")
    assert "ended with exit status 1: " in told["wrong"]
    assert len(told["wrong"]) <= 65_536 + 200
    for name in ("long", "more"):
        assert told[name].endswith(f"(cut: the tool wrote more than {KEPT} bytes)")
    for name, text in told.items():
        for end in range(8, len(TOKEN)):
            assert TOKEN[:end] not in text, (name, end)
            assert TOKEN[-end:] not in text, (name, end)


@pytest.mark.requirement("F.tool-output")
async def test_output_is_capped_and_nobody_is_held_up():
    ended = await run("import os\nfor _ in range(400): os.write(1, b'o' * 9999)\nos.write(2, b'e' * 300_000 + b'end')")
    assert (ended.status, len(ended.output), ended.cut) == (0, KEPT, True)
    assert (len(ended.errors), ended.errors_cut, ended.errors[-4:]) == (65_536, True, b"eend")


async def test_a_large_body_reaches_one_that_reads_late_and_is_no_fault_of_one_that_does_not():
    body = b"b" * 900_000
    ended = await run("import os, sys\nos.write(1, b'x' * 200_000)\nprint(len(sys.stdin.read()))", body=body)
    assert ended.output.endswith(b"x900000\n")
    assert (await run("print('no')", body=body)).output == b"no\n"


@pytest.mark.requirement("F.tool-deadline")
async def test_past_its_deadline_it_ends_with_a_daemon_that_left_its_session(tmp_path):
    daemon = Daemons(tmp_path / "held")
    folder = write_tool(tmp_path / "tool", daemon.code + "time.sleep(60)", tool=ABOUT)
    began = time.monotonic()
    with Pocket() as pocket:
        tool, *_ = pocket.load_tools(str(folder))
        object.__setattr__(tool, "deadline", 0.5)
        assert (await pocket.ainvoke("bare", {})).endswith("timeout tool call: bare did not end within 0.5 s")
        assert time.monotonic() - began < 2
    await daemon.ready()
    await daemon.gone()


@pytest.mark.requirement("F.tool-deadline")
async def test_a_daemon_ends_with_the_call_that_started_it(tmp_path):
    daemon = Daemons(tmp_path / "held")
    wait = f"\nwhile os.stat({str(tmp_path / 'go')!r}).st_size == 0: pass\nprint('done')"
    (tmp_path / "go").touch()
    running = asyncio.ensure_future(run(daemon.code + wait))
    await daemon.ready()
    (tmp_path / "go").write_text("go")
    assert (await running).output == b"done\n"
    await daemon.gone()


@pytest.mark.requirement("F.tool-deadline")
async def test_one_that_does_not_care_for_being_told_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("valetkey.adapters.processes.GRACE", 0.1)
    daemon = Daemons(tmp_path / "held")
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    clock = Ahead()
    writing = "while True:\n    print('on', flush=True)\n    time.sleep(0.01)\n"  # so that the clock is looked at
    running = asyncio.ensure_future(run(deaf + daemon.code + writing, clock))
    await daemon.ready()
    clock.by = 20.0
    ended = await running
    assert (ended.status, ended.late) == (137, True)
    await daemon.gone()


async def test_cancelling_ends_it_all(tmp_path):
    daemon = Daemons(tmp_path / "held")
    running = asyncio.ensure_future(run(daemon.code + "time.sleep(60)"))
    await daemon.ready()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await daemon.gone()


@pytest.mark.requirement("F.tool-deadline")
async def test_it_does_not_outlive_the_program_that_started_it(tmp_path):
    daemon = Daemons(tmp_path / "held")
    code = (
        "import sys\nfrom valetkey.adapters.processes import ProgramRunner\nfrom valetkey.adapters.system import "
        "SystemClock\nfrom valetkey.ports.processes import Job\nProgramRunner(SystemClock()).block(Job("
        f"argv=(sys.executable, '-c', {daemon.code + 'time.sleep(60)'!r}), folder='/', deadline=60.0))"
    )
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    await daemon.ready()
    program.kill()
    await program.wait()
    await daemon.gone()


async def test_twenty_run_at_once(tmp_path):
    # Each waits until all twenty are there.
    code = f"""
import os, sys, time
open(os.path.join({str(tmp_path)!r}, str(os.getpid()) + ".pid"), "w").close()
while sum(name.endswith(".pid") for name in os.listdir({str(tmp_path)!r})) < 20:
    time.sleep(0.01)
print("all")
"""
    ended = await asyncio.gather(*(run(code) for _ in range(20)))
    assert {each.output for each in ended} == {b"all\n"}


async def test_what_cannot_be_started_says_so():
    ended = await ProgramRunner(SystemClock()).run(Job(argv=("/no/such/program",), folder="/", deadline=5.0))
    assert (ended.status, ended.errors) == (127, b"/no/such/program cannot be run: No such file or directory")


@pytest.mark.requirement("F.tool-deadline")
async def test_limits_are_set():
    code = "import resource as r\nprint(r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_CPU)[0], "
    code += "r.getrlimit(r.RLIMIT_FSIZE)[0], r.getrlimit(r.RLIMIT_AS)[0])"
    ended = await run(code, deadline=7.0, memory=1_000_000_000)
    assert ended.output == b"(0, 0) 8 268435456 1000000000\n"


@pytest.mark.requirement("hp.pocket-json")
async def test_arguments_that_do_not_fit_start_nothing(tmp_path):
    folder = write_tool(tmp_path / "tool", f"open({str(tmp_path / 'started')!r}, 'w')")
    with Pocket(tools=[str(folder)]) as pocket:
        for wrong in ({}, {"text": 3}, {"text": "a", "more": 1}, {"text": "a", "thread_id": "b"}):
            with pytest.raises(InvalidArguments, match="my_tool"):
                await pocket.ainvoke("my_tool", wrong)
        assert not (tmp_path / "started").exists()
        await pocket.ainvoke("my_tool", {"text": "a"})
        assert (tmp_path / "started").exists()


@pytest.mark.requirement("hp.pocket-json")
async def test_node_runs_too(tmp_path):
    code = "process.stdin.on('data', d => console.log('node ' + JSON.parse(d).text))"
    folder = write_tool(tmp_path / "tool", language="node", entrypoint={"run": "node main.js"})
    (folder / "main.js").write_text(code)
    with Pocket(tools=[folder]) as pocket:
        assert await pocket.ainvoke("my_tool", {"text": "hi"}) == "node hi"


def test_the_environment_of_a_tool_does_not_print(tmp_path):
    folder = write_tool(tmp_path / "tool", SEES, variables={"KEY": "hidden-value"})
    with Pocket(tools=[str(folder)]) as pocket:
        assert "hidden-value" not in repr(pocket.tools["my_tool"])
