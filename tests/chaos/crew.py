"""The processes of one leg: started, told, met with faults, stopped, and looked through."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos import scale
from tests.chaos.checker import DAMAGED, PARKED
from tests.chaos.faults import Hands, plan
from tests.chaos.history import Reader, Teller
from tests.chaos.legs import KEYS, ROOT, WORKERS, Leg, Say
from tests.chaos.provider import MOODS, Provider
from tests.chaos.worker import commands_of

START_SECONDS = 30.0
STOP_SECONDS = 20.0
MOST_INCARNATIONS = 1000
NOISE = "Traceback", "never retrieved", "never awaited", "failed with"
DRIVERS_OWN = "unexpected connection_lost() call"
"""asyncpg forgets a future of its own where making a connection is given up while the server goes away."""


class Crew:
    """The processes of one leg."""

    def __init__(
        self,
        leg: Leg,
        folder: Path,
        teller: Teller,
        provider: Provider,
        reader: Reader,
        say: Say,
        postgres: Any,
        valkey: Any,
    ) -> None:
        self._leg = leg
        self._folder = folder
        self._tell = teller.tell
        self._provider = provider
        self._reader = reader
        self._say = say
        self._incarnations: Counter[int] = Counter()
        self._workers: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._killed: set[str] = set()
        self._rest = ""
        url = postgres.fresh() if postgres is not None else ""
        settings: dict[str, Any] = {f"auth.google.{name}": value for name, value in provider.settings.items()}
        if url:
            settings["database_url"] = url
        if valkey is not None:
            settings["redis_url"] = valkey.url
        config = {
            "seed": leg.seed,
            "workers": WORKERS,
            "keys": KEYS,
            "home": str(folder / "home"),
            "histories": str(folder / "histories"),
            "mail_url": provider.server.mail_url,
            "consent_url": f"{provider.server.url}/chaos/consent",
            "settings": settings,
        }
        self._config = folder / "config.json"
        self._config.touch(0o600)
        self._config.write_text(json.dumps(config))
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("VALETKEY_", "POCKET_"))},
            "HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)])),
        }
        with (folder / "logs" / "zygote.log").open("ab") as log:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.zygote", str(self._config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=environment,
            )
        self._hands = Hands(
            teller=teller,
            provider=provider,
            home=folder / "home",
            accounts=[key for key in KEYS if key not in (DAMAGED, PARKED)],
            start=self.start,
            workers=self._workers,
            names=self._names,
            count=WORKERS,
            command=self.command,
            bury=self.bury,
            postgres=postgres,
            database_url=url,
            valkey=valkey,
        )

    def start(self, number: int) -> None:
        """Start a worker, or its next incarnation."""
        name = f"{number}.{self._incarnations[number]}"
        self._incarnations[number] += 1
        self._names[number] = name
        self._write(name)
        self._hear(lambda: number in self._workers, 10.0)

    def command(self, number: int, line: str) -> None:
        """Tell a worker something; one that is down does not hear it."""
        path = commands_of({"home": self._folder / "home"}, self._names[number])
        with path.open("a") as file:
            file.write(f"{line}\n")

    def bury(self, number: int) -> None:
        """Wait until a worker that was killed is gone."""
        self._killed.add(self._names[number])
        self._hear(lambda: number not in self._workers, 10.0)

    def _write(self, line: str) -> None:
        assert self._zygote.stdin is not None
        self._zygote.stdin.write(f"{line}\n".encode())
        self._zygote.stdin.flush()

    def _hear(self, reached: Callable[[], bool] = lambda: True, seconds: float = 0.0) -> None:
        """Take note of who began and who ended, until that is so."""
        assert self._zygote.stdout is not None
        end = time.monotonic() + seconds
        while True:
            while select.select([self._zygote.stdout], [], [], 0 if reached() else 0.02)[0]:
                told = os.read(self._zygote.stdout.fileno(), 65_536)
                if not told:
                    raise RuntimeError(f"the workers' parent ended; see {self._folder}/logs")
                *lines, self._rest = (self._rest + told.decode()).split("\n")
                for line in lines:
                    self._heard(line)
            if reached():
                return
            if time.monotonic() > end:
                raise TimeoutError("a worker did not begin, or did not end")

    def _heard(self, line: str) -> None:
        name, *rest = line.split()
        number = int(name.partition(".")[0])
        if rest[0] != "ended":
            self._workers[number] = int(rest[0])
            return
        self._workers.pop(number, None)
        if name not in self._killed:
            self._tell("exit", w=name, code=int(rest[1]))

    def work(self) -> None:
        """All of it, in order."""
        for number in range(WORKERS):
            self.start(number)
        self._until(self._all_ready, START_SECONDS, "the workers did not start")
        self._provider.mood = MOODS["usual"]
        self._tell("phase", name="chaos")
        began = time.monotonic()
        coming = plan(self._leg.seed, self._leg.seconds)
        said = 0.0
        while (now := time.monotonic()) < began + self._leg.seconds:
            while coming and began + coming[0].at <= now:
                self._hands.do(coming.pop(0))
            self._hands.due(time.monotonic())
            self._alive()
            if now - began - said >= 5:
                said = now - began
                self._progress(said)
            time.sleep(0.02)
        self._hands.heal()
        for number in range(WORKERS):
            self.command(number, "calm")
            # Time passes: what a clock that was ahead has put off comes due.
            self.command(number, "clock 60")
        self._tell("phase", name="heal")
        with contextlib.suppress(TimeoutError):
            self._until(self._settled, scale.BOUND, "")
        self._tell("phase", name="end")

    def end(self) -> None:
        """Stop the workers, each by its id; look through what they wrote."""
        self._hands.heal()
        for number in list(self._workers):
            self.command(number, "stop")
        with contextlib.suppress(TimeoutError):
            self._hear(lambda: not self._workers, STOP_SECONDS)
        for number in list(self._workers):
            self._tell("exit", w=self._names[number], code="nothing: it did not stop")
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.wait(10)
        self._zygote.stdout.close()
        self._tell("alive", families=self._provider.alive())
        self._look_through()

    def _until(self, reached: Callable[[], bool], seconds: float, otherwise: str) -> None:
        end = time.monotonic() + seconds
        while not reached():
            self._alive()
            if time.monotonic() > end:
                raise TimeoutError(f"{otherwise} within {seconds:g} s; see {self._folder}/logs")
            time.sleep(0.05)

    def _alive(self) -> None:
        """A worker that ended by itself was told; another one takes its place."""
        before = set(self._workers)
        self._hear()
        for number in before - set(self._workers):
            if self._incarnations[number] > MOST_INCARNATIONS:
                raise RuntimeError(f"workers end by themselves; see {self._folder}/logs")
            self.start(number)

    def _all_ready(self) -> bool:
        self._reader.more()
        return len([event for event in self._reader.events if event["kind"] == "ready"]) >= WORKERS

    def _settled(self) -> bool:
        """Whether everything serves, and nothing waits."""
        self._reader.more()
        events = self._reader.events
        healed = next(event["t"] for event in events if event["kind"] == "phase" and event["name"] == "heal")
        states = [event for event in events if event["kind"] == "state" and event["t0"] > healed]
        if not states:
            return False
        state = max(states, key=lambda event: float(event["t"]))
        served = {
            event["key"]
            for event in events
            if event["kind"] == "call" and event["t0"] > healed and event["error"] is None
        }
        settled: bool = all(
            row["key"] == DAMAGED
            or (
                row["sealed_by"] == state["newest"]
                and (row["health"] == "needs_reauth" or (row["key"] in served and not row["lease"]))
            )
            for row in state["rows"]
        )
        return settled and not state["journal"] and not state["revocations"]

    def _progress(self, seconds: float) -> None:
        self._reader.more()
        kinds = Counter(event["kind"] for event in self._reader.events)
        refreshed = sum(event["kind"] == "issued" and event["parent"] is not None for event in self._reader.events)
        self._say(
            f"{self._leg.name}: {seconds:.0f} s, {kinds['call']} calls, {refreshed} refreshes, {kinds['fault']} faults"
        )

    def _look_through(self) -> None:
        """No token, and no failure that nobody handled, in what the workers wrote; no token in the histories."""
        server = self._provider.server
        secrets = {each.encode() for each in (*server.issued, server.client.secret or "") if each}
        folders = [self._folder / "logs", self._folder / "histories", self._folder / "home"]
        for path in (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()):
            content = path.read_bytes()
            if holds(content, secrets):
                self._tell("leak", where=path.name, what="a token")
            if path.suffix == ".log":
                lines = content.decode(errors="replace").splitlines()
                for line, following in zip(lines, [*lines[1:], ""], strict=False):
                    if any(word in line for word in NOISE) and DRIVERS_OWN not in following:
                        self._tell("noise", where=path.name, line=f"{line} {following}"[:300])


def holds(content: bytes, secrets: set[bytes]) -> bool:
    """Whether one of these secrets, of letters, digits, "-" and "_", is anywhere in it."""
    sizes = {len(secret) for secret in secrets}
    least = min(sizes, default=1)
    words = re.finditer(rb"[A-Za-z0-9_-]{%d,}" % least, content)
    return any(
        word[place : place + size] in secrets
        for word in {found.group() for found in words}
        for size in sizes
        for place in range(len(word) - size + 1)
    )
