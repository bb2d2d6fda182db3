"""Runs one program, and ends it with all that it started: a script of its own, started by ``processes.py``.

It adopts whatever the program leaves behind, a daemon with a session of its own too (``PR_SET_CHILD_SUBREAPER``, which
Linux has): nothing of it stays when the program has ended, when its time is over, or when our own process is gone, as
then the pipe that it holds on to is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 200


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _environ(lifeline: int) -> dict[str, str] | None:
    """The program's environment, which comes first through the pipe; None: our own process is gone already."""
    told = b""
    while not told.endswith(b"\n"):
        piece = os.read(lifeline, 65_536)
        if not piece:
            return None
        told += piece
    environ: dict[str, str] = json.loads(told)
    return environ


def _become(argv: list[str], limits: dict[str, int], lifeline: int, environ: dict[str, str]) -> None:
    """In the child: its limits, and then it is the program."""
    try:
        os.close(lifeline)
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for name, value in limits.items():
            kind = getattr(resource, f"RLIMIT_{name}")
            most = resource.getrlimit(kind)[1]
            least = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(kind, (least, least))
        for number in (signal.SIGCHLD, signal.SIGALRM, signal.SIGPIPE, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.execve(argv[0], argv, environ)  # noqa: S606  # a list of arguments; no shell reads it
    except OSError as error:
        os.write(2, f"{argv[0]} cannot be run: {error.strerror}".encode())
    finally:
        os._exit(127)


def below(pid: int) -> list[int]:
    """All processes that come from that one."""
    if sys.platform != "linux":
        return []
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  # this script starts with every call: it imports little
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123  # as above
                fields = file.read().rpartition(b")")[2].split()
            if fields[0] != b"Z":
                children.setdefault(int(fields[1]), []).append(int(name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _send(number: int, group: int) -> None:
    """A signal for all; where nobody tells who they are, for the program's own group."""
    if sys.platform != "linux":
        with contextlib.suppress(OSError):
            os.killpg(group, number)
    for process in below(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(process, number)


def _kill(group: int) -> None:
    """End all; first they are stopped, so that none of them starts another meanwhile."""
    known: set[int] = set()
    for _ in range(_ROUNDS):
        there = set(below(os.getpid()))
        if there <= known:
            break
        known |= there
        _send(signal.SIGSTOP, group)
    while True:
        _send(signal.SIGKILL, group)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _reap(main: int) -> int | None:
    """Take the ends that are there; that of the program itself."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0] != 0:
            if found[0] == main:
                status = found[1]
    return status


def main() -> int:
    """Run what the first argument tells, with this end of the pipe as its lifeline."""
    told = json.loads(sys.argv[1])
    lifeline, grace = int(told["lifeline"]), float(told["grace"])
    environ = _environ(lifeline)
    if environ is None:
        return 1
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    readable, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(readable, False)
    for number in (signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake)
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        _become(told["argv"], told["limits"], lifeline, environ)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    ending = False
    while True:
        watched = [readable] if ending else [readable, lifeline]
        ready = select.select(watched, [], [])[0]
        if lifeline in ready:
            ending = True
            _send(signal.SIGTERM, child)
            signal.setitimer(signal.ITIMER_REAL, grace)
        heard = b""
        with contextlib.suppress(BlockingIOError):
            heard = os.read(readable, 4096)
        status = _reap(child)
        if status is not None or (ending and signal.SIGALRM in heard):
            # The program has ended, and the call with it: what it left behind ends now.
            _kill(child)
            return 128 + signal.SIGKILL if status is None else _code(status)


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    os._exit(main())
