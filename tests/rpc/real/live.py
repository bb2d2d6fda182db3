"""A server as `valetkey serve` assembles it, on a real port, its database in a file; and the real client's programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.ports import free_port
from valetkey.entrypoints.app import build_app
from valetkey.entrypoints.rpc.startup import end_services, start_services
from valetkey.model.caller import OURS, Caller, Owner
from valetkey.model.calls import SESSION, Presented
from valetkey.model.tokens import Token, TokenKind
from valetkey.model.users import UserInfo, UserPermission, create_scope
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.settings.sections import Identity as IdentitySettings
from valetkey.settings.sections import Services as Limits
from valetkey.settings.sections import Serving
from valetkey.wiring import build
from valetkey.wiring.identity import Identity, open_identity
from valetkey.wiring.services import Services, open_services
from valetkey.wiring.serving import adopt, open_listener

PROGRAMS = Path(__file__).parent / "programs"
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
DEADLINE = 40.0


@dataclass
class Live:
    """A server that runs, and can be started anew on the same port and database."""

    folder: Path
    functions: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    port: int = field(default_factory=free_port)
    identity: Identity = field(init=False)
    services: Services = field(init=False)
    _ending: contextlib.AsyncExitStack = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._ending = ending = contextlib.AsyncExitStack()
        serving = Serving(host="127.0.0.1", port=self.port)
        doors: list[Any] = []

        async def door(scope: Any, receive: Any, send: Any) -> None:
            await doors[0](scope, receive, send)

        listener = open_listener(door, serving, message=self.limits.max_message)
        await listener.reserve()
        ending.callback(listener.release)
        config = Config.load(self.folder, {}, database_url=f"sqlite:///{self.folder / 'valetkey.db'}")
        system = build.build(config)
        ending.push_async_callback(asyncio.to_thread, system.close)
        adopt(system)
        self.identity = open_identity(system, IdentitySettings(), base_url=self.url)
        ending.push_async_callback(self.identity.close)
        watching = asyncio.create_task(self.identity.stops.watch())
        ending.callback(watching.cancel)
        self.services = await open_services(self.identity, self.limits, base_url=self.url)
        ending.push_async_callback(self.services.close)
        table = await start_services(
            self.identity, self.functions, plain=self.identity.plain, base_url=self.url, services=self.services
        )
        ending.callback(end_services, self.identity, table)
        doors.append(build_app(self.identity, serving=serving, base_url=self.url, services=self.services))
        await listener.start()
        ending.push_async_callback(listener.stop)
        ending.callback(self.services.leave)

    async def stop(self) -> None:
        await self._ending.aclose()

    async def signed_in(self, name: str, kind: TokenKind = TokenKind.ACCESS, **about: Any) -> tuple[str, Token]:
        """A token of a local account, as its text and its row."""
        user = UserInfo(id=f"local|{name}", roles=[], email=f"{name}@example.com")
        user.scope = create_scope({user.get_workspace(): UserPermission.admin})
        owner = Owner(workspace=user.get_workspace(), issuer=OURS, subject=user.id)
        secret, token = await self.identity.tokens.issue(kind, user, owner, **about)
        return secret.reveal(), token

    async def token(self, name: str, **about: Any) -> str:
        return (await self.signed_in(name, **about))[0]

    async def caller(self, name: str) -> Caller:
        """Who is signed in in a browser."""
        text, _ = await self.signed_in(name, TokenKind.SESSION)
        return await self.identity.chain.identify(Presented(scheme=SESSION, value=Secret(text)))


@contextlib.asynccontextmanager
async def live(folder: Path, *functions: str, **limits: Any) -> AsyncIterator[Live]:
    server = Live(folder, functions, Limits(**limits))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Program:
    """One program of the real client, in a process of its own.

    It is given JSON or a text, prints lines as it goes, and its result after ``RESULT``.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, path: Path, given: dict[str, Any] | str, *, log: Path) -> Self:
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(path),
                given if isinstance(given, str) else json.dumps(given),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=16 * 1_048_576,
                env={**os.environ, "HYPHA_LOGLEVEL": "ERROR", "PYTHONUNBUFFERED": "1"},
            )
        return cls(process, log)

    async def line(self, beginning: str) -> str:
        """What follows on the next line that begins so."""
        seen = []
        async with asyncio.timeout(DEADLINE):
            while line := (await self._out().readline()).decode():
                if line.startswith(beginning):
                    return line.removeprefix(beginning).strip()
                seen.append(line)
        raise AssertionError(f"{beginning} was not printed:\n{''.join(seen)}\n{self._log.read_text()}")

    async def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def result(self) -> Any:
        """What it saw, once it has ended by itself."""
        found = json.loads(await self.line("RESULT "))
        async with asyncio.timeout(DEADLINE):
            await self._process.wait()
        return found

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def _out(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None
        return self._process.stdout


@contextlib.asynccontextmanager
async def program(name: str, folder: Path, **given: Any) -> AsyncIterator[Program]:
    """One of ``programs/``, or a path."""
    path = PROGRAMS / name
    started = await Program.start(path, given, log=folder / f"{Path(name).stem}.log")
    try:
        yield started
    finally:
        await started.end()
