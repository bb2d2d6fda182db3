"""An account at a token endpoint that misbehaves: what its row says, what callers get, how often it is asked."""

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.road.support import read
from valetkey import AuthProvider, Pocket, ValetkeyError, config
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import Cause, Connection, Health
from valetkey.ports.world import Fetcher, Request, Response
from valetkey.testing.canary import find
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import OAuthServer

OWNER = owner_of("default")
LIFE = 3600.0
CROWD = 20
LINK = "User needs to authenticate"

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Hurried:
    """The real way out, with a deadline that a test can wait for where one is set."""

    inner: Fetcher
    deadline: float | None = None

    async def fetch(self, request: Request) -> Response:
        return await self.inner.fetch(request if self.deadline is None else replace(request, deadline=self.deadline))


class Names:
    """A resolver that fails as long as a test wants it to; what it was asked."""

    def __init__(self) -> None:
        self.down = False
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if self.down:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ["127.0.0.1"]


class RawServer:
    """Takes a request and lets a script answer it, byte by byte; counts the requests."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, tls: ssl.SSLContext | None = None) -> "RawServer":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            await self.script(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()


@dataclass
class Account:
    """One connected account, whose token lives an hour."""

    pocket: Pocket
    server: OAuthServer
    clock: ManualClock
    fetcher: Hurried
    told: list[str] = field(default_factory=list)
    raw: RawServer | None = None

    @property
    def calls(self) -> int:
        """How often a token was asked for."""
        asked = len([request for request in self.server.requests if request.path == "/token"])
        return asked + (self.raw.requests if self.raw else 0)

    async def row(self) -> Connection:
        (row,) = await self.pocket.system.stores.connections.of_owner(OWNER)
        return row

    async def call(self) -> str | ValetkeyError:
        """What a caller gets."""
        try:
            result = await self.pocket.ainvoke("read", {})
        except ValetkeyError as error:
            self.told.append("".join(traceback.format_exception(error)))
            return error
        self.told.append(result)
        return result

    async def crowd(self) -> set[str]:
        """What twenty callers get who come at once: the errors by their code."""
        results = await asyncio.gather(*(self.call() for _ in range(CROWD)))
        return {result.code if isinstance(result, ValetkeyError) else result for result in results}

    async def wait(self) -> None:
        """Until the row may be tried again."""
        left = (await self.row()).next_try_at - self.clock.now()
        self.clock.advance(max(left, 0) + 0.001)

    @contextlib.contextmanager
    def meeting(self, name: str) -> Iterator[None]:
        """Which of several faults a failure is about."""
        try:
            yield
        except AssertionError as error:
            error.add_note(f"met: {name}")
            raise

    def end(self) -> None:
        """The token ends."""
        self.clock.advance(LIFE + 1)

    def age(self) -> None:
        """The token is about to end, and is still good."""
        self.clock.advance(LIFE - 200)

    async def lends(self) -> bool:
        """Whether a call is lent a token."""
        result = await self.call()
        return isinstance(result, str) and result.isdigit()

    async def stands(self, health: Health, cause: Cause) -> Connection:
        row = await self.row()
        assert (row.health, row.cause) == (health, cause), row.reason
        assert (row.lease_owner, row.lease_until) == ("", 0.0), "a lease is left"
        return row

    async def settles_in_transient(self, cause: Cause, heal: Callable[[], None], *, rounds: int = 2) -> None:
        """A token has ended: nobody is asked to connect again, nothing is hurried, and it works once it is healed."""
        before = await self.row()
        error = await self.call()
        assert isinstance(error, ValetkeyError), error
        assert error.code in ("provider_unavailable", "exchange_failed"), error
        for _ in range(rounds):
            row = await self.stands(Health.TRANSIENT, cause)
            assert (row.generation, row.sealed) == (before.generation, before.sealed)
            pause = row.next_try_at - self.clock.now()
            assert 0 < pause <= 3600
            calls = self.calls
            assert await self.crowd() == {"provider_unavailable"}
            late = await self.call()
            assert getattr(late, "retry_after", None) == pytest.approx(pause)
            assert self.calls == calls, "asked again before its time"
            await self.wait()
            assert await self.crowd() <= {"provider_unavailable", "exchange_failed"}
            assert self.calls <= calls + 1, "asked more than once when its time had come"
        heal()
        await self.heals()

    async def heals(self) -> None:
        for _ in range(2):  # the breaker may have its own pause
            await self.wait()
            error = await self.call()
            if not isinstance(error, ValetkeyError):
                break
            self.clock.advance(getattr(error, "retry_after", 0) + 0.001)
        assert await self.lends()
        await self.stands(Health.OK, Cause.NONE)

    async def goes_on(self, cause: Cause, heal: Callable[[], None], health: Health = Health.TRANSIENT) -> None:
        """A token is still good: callers do not notice, and one asks."""
        assert await self.lends()
        await self.stands(health, cause)
        calls = self.calls
        assert await self.crowd() == {str(await self.call())}
        assert self.calls == calls, "asked again before its time"
        heal()
        await self.heals()

    async def asks_a_person(self, cause: Cause) -> None:
        """The account has to be connected again, and the endpoint is left alone."""
        calls = self.calls
        first = await self.call()
        assert isinstance(first, str)
        assert first.startswith(LINK), first
        await self.stands(Health.NEEDS_REAUTH, cause)
        assert self.calls == calls + 1
        assert await self.crowd() == {first}
        self.clock.advance(400)
        assert await self.crowd() == {first}
        assert self.calls == calls + 1, "a dead refresh token is tried again"
        self.server.heal()
        await self.reconnect()

    async def disconnect(self) -> bool:
        return bool(await asyncio.to_thread(self.pocket.auth.delete_session, AuthProvider.GOOGLE))

    async def reconnect(self) -> None:
        (prompt,) = await self.pocket.initialize_tool_auth()
        await self.answer(prompt.url)
        assert await self.lends()
        await self.stands(Health.OK, Cause.NONE)

    async def answer(self, url: str) -> None:
        """A person says yes; the callback comes without a browser."""
        parameters = parse_qsl(urlsplit(self.server.approve(url)).query)
        await self.pocket.system.answering.answered("google", parameters)

    def fail(self, **fault: Any) -> None:
        """The token endpoint answers so until it is healed."""
        self.server.fail_next(times=1000, **fault)

    def gives(self, **members: Any) -> None:
        """The next token answer is this one."""
        body = {"access_token": "at-canary-1", "token_type": "Bearer", "expires_in": 3600} | members
        self.server.fail_next(status=200, body=json.dumps(body))

    def dated(self, date: int | str) -> None:
        """The next token answer has that Date header: text, or so many seconds off."""
        text = date if isinstance(date, str) else formatdate(self.clock.now() + date, usegmt=True)
        body = {"access_token": "at-canary-1", "token_type": "Bearer", "expires_in": 3600}
        self.server.fail_next(status=200, body=json.dumps(body), headers={"date": text})

    def move(self, url: str) -> Callable[[], None]:
        """Settings name another token endpoint; the result moves back."""
        given = config().auth.google.given()

        def back() -> None:
            config().auth.google = given
            self.fetcher.deadline = None

        config().auth.google = {**given, "token_url": url}
        return back

    async def serve(self, script: Script, tls: ssl.SSLContext | None = None) -> RawServer:
        """A server of this test, that is stopped at its end."""
        if self.raw is not None:
            await self.raw.stop()
        before = self.raw.requests if self.raw else 0
        self.raw = await RawServer(script).start(tls)
        self.raw.requests = before  # calls are counted over all of them
        return self.raw

    def look(self, caplog: pytest.LogCaptureFixture, *more: str) -> None:
        """No secret is in what was told and logged."""
        secrets = [*self.server.issued, self.server.client.secret or "", "at-canary-", "rt-canary-", *more]
        log = "\n".join([caplog.text, *(str(vars(record)) for record in caplog.records)])
        assert find({"log": log, "told": "\n".join(self.told)}, secrets) == []


@contextlib.asynccontextmanager
async def account(
    server: OAuthServer, clock: ManualClock, fetcher: Hurried, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Account]:
    """The account; at the end its secrets are looked for."""
    caplog.set_level(logging.DEBUG)
    with Pocket(tools=[read]) as pocket:
        found = Account(pocket, server, clock, fetcher)
        (prompt,) = await pocket.initialize_tool_auth()
        await found.answer(prompt.url)
        assert await found.lends()
        yield found
        found.look(caplog)
