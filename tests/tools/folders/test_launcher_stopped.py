"""Nothing of a tool's program outlives its call."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tools.folders.kit import write_tool
from valetkey import Pocket, from_local

SETTLED = 10.0
"""Seconds by which all is over: it is told to end, killed 2 s later, and its launcher 4 s later."""

DAEMON = """
import ctypes, os, signal, sys, time
above = os.getppid()
if os.fork():
    time.sleep(20)
os.setsid()
if os.fork():
    os._exit(0)
{act}
for _ in range(250):
    open({beat!r}, "w").write(str(time.time()))
    time.sleep(0.1)
"""


def beats(beat: Path) -> bool:
    """Whether something still writes."""
    assert beat.exists()
    time.sleep(SETTLED)
    before = beat.read_text()
    time.sleep(0.5)
    return beat.read_text() != before


def tool(folder: Path, act: str):
    """One whose daemon does that, and goes on."""
    beat = folder.parent / "beat"
    return replace(from_local(write_tool(folder, DAEMON.format(act=act, beat=str(beat)))), deadline=1.5)


@pytest.mark.long
def test_a_program_that_stops_its_launcher_ends_with_its_call(tmp_path, home):
    with Pocket(tools=[tool(tmp_path / "tool", "os.kill(above, signal.SIGSTOP)")]) as pocket:
        pocket.invoke("my_tool", {"text": "hi"})
    assert not beats(tmp_path / "beat")


@pytest.mark.long
def test_a_program_ends_at_its_deadline_where_the_host_program_has_forked_meanwhile(tmp_path, home):
    beat = tmp_path / "beat"
    made = tool(tmp_path / "tool", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    with Pocket(tools=[made]) as pocket:
        thread = threading.Thread(target=lambda: pocket.invoke("my_tool", {"text": "hi"}))
        thread.start()
        while not beat.exists():
            time.sleep(0.02)
        child = os.fork()
        if child == 0:
            time.sleep(25)
            os._exit(0)
        try:
            thread.join()
            assert not beats(beat)
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
