"""The app of the demo from outside: a program of its own that is started, listened to and ended."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from valetkey.ports.agents import Message, ToolCall, ToolText

EXAMPLE = "examples/fastAPI/app_auth.py"
TOKEN = "demo-token-of-ada"  # for show: it opens the example, and nothing else

AGAIN = "Run it again; if it fails again, please report this line as a fault of Valetkey."

_LONGEST = 16_777_216  # bytes of one line
_END = 4.0  # seconds
_OTHERS = ("VALETKEY_", "POCKET_", "BEDROCK_", "AWS_", "HYPHA_", "AUTH0_", "JWT_", "OPENAI_", "ANTHROPIC_", "GOOGLE_")

Seen = Mapping[str, Any]


class StepFailed(Exception):
    """A step did not do what it should: what, and what to do next."""

    def __init__(self, what: str, next_step: str = AGAIN) -> None:
        super().__init__(f"{what.rstrip('. ')}. {next_step}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the program is told.

    Attributes:
        example: the file of the example.
        port: where it serves, on loopback.
        mail_url: where the mail service is.
    """

    example: str
    port: int
    mail_url: str
    client_id: str
    client_secret: str = field(repr=False)

    @property
    def base(self) -> str:
        """Where browsers find it."""
        return f"http://localhost:{self.port}"


class PortGone(Exception):
    """Somebody has taken the port in between."""


class DemoApp:
    """One run of the app.

    Args:
        folder: its data folder is in it, and the folder it runs in.
        heard: called with all that it tells.

    Attributes:
        seen: all that it told: ``page``, ``frame``, ``api``, ``model``, ``reply``.
    """

    def __init__(self, folder: Path, setup: Setup, heard: Callable[[Seen], None]) -> None:
        self.setup = setup
        self.seen: list[Seen] = []
        self._folder = folder
        self._heard = heard
        self._logged = bytearray()
        self._more = asyncio.Event()
        self._ended = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start it, and wait until it serves.

        Raises:
            PortGone: its port is taken.
            StepFailed: it ended instead.
        """
        here = self._folder / "here"
        await asyncio.to_thread(here.mkdir, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(  # noqa: TID251  # the demo starts its own program, no other
            sys.executable,
            "-m",
            "valetkey.cli.demo_program",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LONGEST,
            cwd=here,
            env=_environment(self._folder),
            start_new_session=True,  # Ctrl-C is for the demo, which ends it
        )
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        if stdin is None or stdout is None or stderr is None:
            raise StepFailed("the app could not be started")
        self._tasks = [asyncio.create_task(self._read(stdout)), asyncio.create_task(self._keep(stderr))]
        stdin.write(json.dumps(asdict(self.setup)).encode() + b"\n")
        found = await self.until(lambda seen: seen["kind"] in ("ready", "taken"))
        if self.seen[found]["kind"] == "taken":
            raise PortGone

    async def until(self, fits: Callable[[Seen], bool], since: int = 0) -> int:
        """Wait for something that it tells; its place in ``seen``.

        Args:
            fits: whether this is it.
            since: how many of ``seen`` do not count.

        Raises:
            StepFailed: the app ended instead.
        """
        while True:
            for place in range(since, len(self.seen)):
                if fits(self.seen[place]):
                    return place
            since = len(self.seen)
            if self._ended:
                last = (self.logged.strip().splitlines() or ["it said nothing"])[-1]
                raise StepFailed(f"the app ended with status {self._process.returncode}: {last}")
            self._more.clear()
            await self._more.wait()

    async def stop(self) -> None:
        """End it, and read what it still had to say."""
        if not self._tasks:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_END):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await asyncio.gather(*self._tasks)
        self._tasks = []

    @property
    def logged(self) -> str:
        """All that it printed and logged, at DEBUG."""
        return self._logged.decode("utf-8", "replace")

    @property
    def conversation(self) -> tuple[list[dict[str, Any]], list[Message]]:
        """What the model saw last, tools and messages, with its answer."""
        asked = [seen for seen in self.seen if seen["kind"] == "model"]
        replies = [seen for seen in self.seen if seen["kind"] == "reply"]
        if not asked:
            return [], []
        messages = [_message(each) for each in asked[-1]["messages"]]
        if len(replies) == len(asked):
            messages.append(_message({"role": "assistant", **replies[-1]}))
        return asked[-1]["tools"], messages

    def told(self, *kinds: str) -> list[Seen]:
        """What it told of these kinds."""
        return [seen for seen in self.seen if seen["kind"] in kinds]

    async def _read(self, stream: asyncio.StreamReader) -> None:
        try:
            async for line in stream:
                seen = json.loads(line)
                self.seen.append(seen)
                self._heard(seen)
                self._more.set()
            await self._process.wait()
        finally:
            self._ended = True
            self._more.set()

    async def _keep(self, stream: asyncio.StreamReader) -> None:
        while piece := await stream.read(65_536):
            self._logged += piece


def example_file() -> str:
    """Where the example is.

    Raises:
        StepFailed: this is no checkout.
    """
    for folder in (Path.cwd(), *Path(__file__).resolve().parents):
        if (folder / EXAMPLE).is_file():
            return str(folder / EXAMPLE)
    raise StepFailed(f"{EXAMPLE} is not here", "Run the demo in a checkout of Valetkey: make demo.")


def _message(told: Mapping[str, Any]) -> Message:
    return Message(
        role=told["role"],
        text=told["text"],
        calls=tuple(ToolCall(**each) for each in told.get("calls", ())),
        results=tuple(ToolText(**each) for each in told.get("results", ())),
    )


def _environment(folder: Path) -> dict[str, str]:
    """The app's: no setting of the person's, the stand-in for the model, and everything in the log."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_OTHERS)}
    return kept | {
        "VALETKEY_HOME": str(folder / "data"),
        "BEDROCK_MODEL_ID": "offline",
        "BEDROCK_LOG_LEVEL": "DEBUG",
        "BEDROCK_LOG_API_CALLS": "true",
        "BEDROCK_SUPPRESS_THIRD_PARTY_LOGS": "false",
        "PYTHONIOENCODING": "utf-8",
    }
