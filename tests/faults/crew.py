"""The test's side of the workers: start them, tell them, wait for their answers, kill and stop them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 40.0


def wait_until(done: Callable[[], object], what: str, *, timeout: float = 15.0) -> None:
    """Look again and again; fails in time."""
    end = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < end, f"not within {timeout:g} s: {what}"
        time.sleep(0.01)


class Worker:
    """One process with a system of its own."""

    def __init__(self, pid: int, channel: socket.socket, log: Path) -> None:
        self.pid = pid
        self.log = log
        self._channel = channel
        self._lines = channel.makefile("rb")
        self._numbers = itertools.count()
        self._answers: dict[int, Any] = {}

    def begin(self, command: str, **arguments: Any) -> int:
        """Tell it to begin; its answer is waited for by `end`."""
        number = next(self._numbers)
        self._channel.sendall(json.dumps([number, command, arguments]).encode() + b"\n")
        return number

    def end(self, number: int, *, timeout: float = PATIENCE) -> Any:
        """What came of it."""
        while number not in self._answers:
            self._channel.settimeout(timeout)
            line = self._lines.readline()
            assert line, f"the worker ended: {self.log.read_text(errors='replace')[-3000:]}"
            told = json.loads(line)
            self._answers[told.pop("number")] = told
        answer = self._answers.pop(number)
        assert "raised" not in answer, answer["raised"]
        return answer["result"]

    def do(self, command: str, **arguments: Any) -> Any:
        """Tell it, and wait."""
        return self.end(self.begin(command, **arguments))

    def call(self, owner: str, **how: Any) -> dict[str, Any]:
        """One call; its token or its error."""
        (outcome,) = self.do("call", owner=owner, **how)
        found: dict[str, Any] = outcome
        return found

    def kill(self) -> None:
        """End it as a crash does."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait_dead()

    def stop(self) -> None:
        """Hold it still."""
        os.kill(self.pid, signal.SIGSTOP)
        self.wait_stopped()

    def go_on(self) -> None:
        """Let it go on where it was held."""
        os.kill(self.pid, signal.SIGCONT)

    def wait_dead(self) -> None:
        wait_until(lambda: self._state() in {"", "Z"}, "the worker is dead")

    def wait_stopped(self) -> None:
        wait_until(lambda: self._state() == "T", "the worker stands still")

    def dismiss(self) -> None:
        """The test is over."""
        self._lines.close()
        self._channel.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _state(self) -> str:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][:1]
        except OSError:
            return ""


class Nursery:
    """The process that workers are forked from; it has imported everything, and does nothing else."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        self._process = subprocess.Popen([sys.executable, str(WORKER)], stdin=theirs.fileno())
        theirs.close()

    def worker(self, plan: dict[str, Any]) -> Worker:
        """A new worker."""
        ours, theirs = socket.socketpair()
        self._orders.settimeout(PATIENCE)
        socket.send_fds(self._orders, [json.dumps(plan).encode()], [theirs.fileno()])
        theirs.close()
        told = b""
        while not told.endswith(b"\n"):
            part = self._orders.recv(64)
            assert part, "the nursery ended"
            told += part
        return Worker(int(told), ours, Path(plan["log"]))

    def close(self) -> None:
        self._orders.close()
        self._process.wait(10)
