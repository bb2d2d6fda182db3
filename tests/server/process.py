"""The real server as a process of its own."""

import http.client
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any, Self

from tests.ports import free_port

DEADLINE = 30.0


class Server:
    """``python -m valetkey.server``, started; what it printed is in ``lines``."""

    def __init__(self, *options: str, environ: Mapping[str, str] | None = None, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self.lines: list[str] = []
        self._told = threading.Condition()
        self._ended = False
        # A secret in the environment of whoever runs the tests is none of these servers'.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HYPHA_", "AUTH0_", "JWT_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "valetkey.server", f"--port={self.port}", *options],
            env={**kept, "PYTHONUNBUFFERED": "1", **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def text(self) -> str:
        """All that it printed."""
        return "\n".join(self.lines)

    def line(self, pattern: str) -> re.Match[str]:
        """The first line with that, as soon as it is printed."""
        found: list[re.Match[str]] = []

        def there() -> bool:
            found.extend(match for line in self.lines if (match := re.search(pattern, line)))
            return bool(found) or self._ended

        with self._told:
            self._told.wait_for(there, DEADLINE)
        assert found, f"{pattern!r} was not printed:\n{self.text}"
        return found[0]

    def ended(self, seconds: float = DEADLINE) -> int:
        """Its exit status, once it has ended by itself."""
        status = self.process.wait(seconds)
        self._reader.join(seconds)
        return status

    def get(self, path: str, token: str = "", tls: ssl.SSLContext | None = None) -> tuple[int, str, Message]:
        """Status, body and headers of an answer."""
        connection = (
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=tls)
            if tls
            else http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        )
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers
        finally:
            connection.close()

    def told(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and give the exit status."""
        self.process.send_signal(number)
        return self.ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.ended()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._told:
                self.lines.append(line.rstrip("\n"))
                self._told.notify_all()
        with self._told:
            self._ended = True
            self._told.notify_all()


@contextmanager
def running(*options: str, **about: Any) -> Iterator[Server]:
    """One that answers."""
    with Server(*options, **about) as server:
        server.line("listens on")
        yield server


def startup(text: str, name: str = "mine.py") -> str:
    """A file with a startup function ``begin``, in the current folder."""
    Path(name).write_text(text)
    return f"{name}:begin"
