"""Servers that services are registered with, as processes of their own: ours, and hypha's; limits out of the way."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.ports import free_port

PEERS = Path(__file__).resolve().parent / "peers"
ME = Path(sys.executable)
START = 90.0  # seconds
_LIMITS = (
    "HTTP_RATE_LIMIT",
    "HTTP_RATE_BURST",
    "HTTP_BURST_LIMIT",
    "HTTP_AUTHENTICATED_RATE_LIMIT",
    "HTTP_AUTHENTICATED_RATE_BURST",
    "HTTP_AUTHENTICATED_BURST_LIMIT",
    "WS_MSG_RATE_LIMIT",
    "WS_MSG_RATE_BURST",
    "WS_MSG_BURST_LIMIT",
)


@dataclass(frozen=True)
class Served:
    """A server with one service, ``bench``, in a connected client.

    Attributes:
        workspace: of the service.
        token: a bearer token for it.
    """

    port: int
    pid: int
    workspace: str
    token: str

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def path(self) -> str:
        """Where the service's function is called over HTTP."""
        return f"/{self.workspace}/services/bench/say"

    def resident(self) -> int:
        """Bytes that the server has in memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def processor(self) -> float:
        """Seconds of a processor that the server has used."""
        used = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")

    def http(self, *, calls: int, clients: int) -> tuple[float, float, float]:
        """Calls a second over HTTP; seconds of the median, and of the slowest in a hundred."""
        found = said("http_calls.py", str(self.port), self.path, self.token, str(calls), str(clients))
        return found[0], found[1], found[2]

    def rpc(self, *, calls: int, in_flight: int) -> float:
        """Calls a second from another connected client."""
        return float(said("rpc_calls.py", self.url, self.token, self.workspace, str(calls), str(in_flight)))


def said(script: str, *arguments: str) -> Any:
    """What a script prints last, as JSON."""
    ended = subprocess.run([ME, PEERS / script, *arguments], check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    return json.loads(ended.stdout.strip().splitlines()[-1])


@contextmanager
def ours() -> Iterator[Served]:
    """``valetkey serve``."""
    with _served(ME, "valetkey.server") as served:
        yield served


def hypha(python: Path) -> Callable[[], Any]:
    """Hypha's server, of the environment with that Python."""
    return lambda: _served(python, "hypha.server")


@contextmanager
def _served(python: Path, module: str) -> Iterator[Served]:
    port, token = free_port(), secrets.token_urlsafe(40)
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HYPHA_", "AUTH0_", "JWT_"))}
        limits = {f"HYPHA_{name}": "1000000" for name in _LIMITS}
        home = {"HOME": folder, "VALETKEY_HOME": f"{folder}/.valetkey", "JWT_SECRET": secrets.token_urlsafe(40)}
        log = stack.enter_context((Path(folder) / "log").open("wb"))
        options = ["--host=127.0.0.1", f"--port={port}", f"--root-token={token}"]
        process = subprocess.Popen(
            [python, "-m", module, *options], cwd=folder, env={**kept, **limits, **home}, stdout=log, stderr=log
        )
        stack.callback(_end, process)
        _wait(process, port, Path(folder) / "log")
        provider = subprocess.Popen(
            [ME, PEERS / "service_provider.py", f"http://127.0.0.1:{port}", token],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(_end, provider)
        assert provider.stdout is not None
        told = next(json.loads(line) for line in provider.stdout if line.startswith("{"))
        yield Served(port, process.pid, told["workspace"], told["token"])


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until it answers and is ready."""
    end = time.monotonic() + START
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/readiness", timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"it did not start:\n{log.read_text(errors='replace')[-2000:]}") from None
            time.sleep(0.1)


def _end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
