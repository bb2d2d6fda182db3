"""Seed 000's programs run with only their import lines changed, pointed at local servers by settings alone."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from tests.road.support import Ports, client_section, get, write_settings
from valetkey.testing.oauth_server import SLACK, OAuthServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LINK = re.compile(r"User needs to authenticate using the following URL: (\S+)")


class Program:
    """A program in a process of its own; what it prints is read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._queue: Queue[str | None] = Queue()
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream) -> None:
        for line in stream:
            self._queue.put(line.rstrip())
        self._queue.put(None)

    def link(self) -> str:
        """The next link that it prints."""
        while True:
            line = self._queue.get(timeout=30)
            assert line is not None, f"it ended without a link: {self.lines}"
            self.lines.append(line)
            if found := LINK.search(line):
                return found[1]

    def end(self) -> str:
        """Wait for its end; all that it printed."""
        assert self.process.wait(timeout=30) == 0, self.rest()
        return self.rest()

    def rest(self) -> str:
        for _ in range(2):
            while (line := self._queue.get(timeout=10)) is not None:
                self.lines.append(line)
        return "\n".join(self.lines)


@contextmanager
def started(example: str, *prelude: str) -> Iterator[Program]:
    """Start an example of ours; ``prelude`` is a program that runs it, where something goes before."""
    command = [sys.executable, "-c", prelude[0]] if prelude else [sys.executable, str(EXAMPLES / example)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    try:
        yield Program(process)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_the_second_program_connects_two_accounts_and_then_runs_without_a_break(both):
    slack, google = both
    with started("two_accounts.py") as program:
        for server in (slack, google):
            assert get(server.approve(program.link())).status == 200
        printed = program.end()
    assert re.search(r"^1\. User needs to authenticate using the following URL: ", printed, re.MULTILINE)
    assert "slack auth function result:  success to test slack" in printed
    assert "google auth function result:  success to test google" in printed


def test_the_first_programs_second_half_stays_an_ordinary_function(ports: Ports):
    with OAuthServer() as slack:
        write_settings(ports, client_section("slack", slack))
        with started("inline_oauth.py") as program:
            link = program.link()
            assert link.startswith(slack.authorize_url)
            assert get(slack.approve(link)).status == 200
            printed = program.end()
        assert slack.exchanges == 1
    assert "[{'user': 'Alice', 'message': 'Hello!'}, {'user': 'Bob', 'message': 'Hi!'}]" in printed


def test_the_first_programs_first_half_hands_the_token_to_slacks_own_client(ports: Ports):
    pytest.importorskip("slack_sdk")
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    seen: list[str] = []

    async def history(request):
        seen.append(request.headers["authorization"])
        return JSONResponse({"ok": True, "messages": [{"text": "hello"}], "has_more": False})

    with OAuthServer(
        dialect=SLACK, routes=[Route("/api/conversations.history", history, methods=["GET", "POST"])]
    ) as slack:
        write_settings(ports, client_section("slack", slack))
        prelude = (
            "import functools, runpy, slack_sdk\n"
            "first = slack_sdk.WebClient.__init__\n"
            f"slack_sdk.WebClient.__init__ = functools.partialmethod(first, base_url='{slack.url}/api/')\n"
            f"runpy.run_path({str(EXAMPLES / 'slack_messages.py')!r}, run_name='__main__')\n"
        )
        with started("slack_messages.py", prelude) as program:
            assert get(slack.approve(program.link())).status == 200
            printed = program.end()
        assert seen == [f"Bearer {token}" for token in slack.issued if token.startswith("xoxp") or token in seen[0]][:1]
        assert "hello" in printed
        for token in slack.issued:
            assert token not in printed
