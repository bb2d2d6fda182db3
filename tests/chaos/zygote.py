"""Starts a run's workers by forking: what they import is there already, so that a killed one is back at once.

    python -m tests.chaos.zygote CONFIG.json

A line on standard input names an incarnation to start ("2.0"); its process id comes back ("2.0 4711"), and once it
has ended its exit code ("2.0 ended -9"). At the end of the input whoever still lives is killed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
from pathlib import Path

import tests.chaos.worker as work


def main() -> None:
    """Start and bury workers until nobody asks any more."""
    config = Path(sys.argv[1])
    work.load(config)
    gc.freeze()
    alive: dict[int, str] = {}
    rest = b""
    while True:
        if select.select([0], [], [], 0.02)[0]:
            given = os.read(0, 65_536)
            if not given:
                break
            *lines, rest = (rest + given).split(b"\n")
            for line in lines:
                name = line.decode()
                alive[fork(config, name)] = name
        bury(alive)
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def fork(config: Path, name: str) -> int:
    """A new worker; its output goes to a log of its own."""
    pid = os.fork()
    if pid:
        os.write(1, f"{name} {pid}\n".encode())
        return pid
    code = 70
    try:
        log = os.open(config.parent / "logs" / f"worker-{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, place in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, place)
        work.run(config, name)
        code = 0
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def bury(alive: dict[int, str]) -> None:
    """Tell who ended."""
    while alive:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        code = os.waitstatus_to_exitcode(status)
        os.write(1, f"{alive.pop(pid)} ended {code}\n".encode())


if __name__ == "__main__":
    main()
