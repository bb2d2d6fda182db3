"""Wrong input, from whoever it comes: an error that names the next step; nothing is lost and nothing is stuck."""

import asyncio
import json
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Visit
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.road.forms import over_http
from tests.road.support import Page, Ports, client_section, get, write_settings
from valetkey import (
    AuthProvider,
    InvalidArguments,
    InvalidAuthState,
    InvalidSetting,
    MissingSetting,
    Pocket,
    PocketAuth,
    PortTaken,
    ProviderUnavailable,
    UnknownProvider,
    UnknownTool,
    ValetkeyError,
    config,
    function_tool,
)
from valetkey.adapters.http import HttpClient
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import Cause, Connection, Health
from valetkey.ports.world import Fetcher, Request
from valetkey.ports.world import Response as Answer
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.testing.loopback import Loopback
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build

OWNER = owner_of("default")
SCOPE = "https://www.googleapis.com/auth/calendar"


class Impatient:
    """The real way out, with a deadline that a test can wait for."""

    inner: Fetcher

    async def fetch(self, request: Request) -> Answer:
        return await self.inner.fetch(replace(request, deadline=0.5))


@function_tool(auth_provider=AuthProvider.GOOGLE, scopes=[SCOPE])
async def read(day: str, limit: int = 3, **kwargs) -> str:
    """Read the calendar.

    Args:
        day: which day
        limit: how many entries
    """
    return f"{day}: {limit} entries, {len(kwargs['GOOGLE_TOKEN'])} characters"


@function_tool
def add(first: int, second: int = 0) -> int:
    """Add two numbers.

    Args:
        first: one
        second: another
    """
    return first + second


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock) -> Iterator[OAuthServer]:
    with OAuthServer(clock=clock, access_lifetime=3600) as server:
        yield server


@pytest.fixture
def pocket(server, clock, ports) -> Iterator[Pocket]:
    write_settings(ports, client_section("google", server))
    fetcher = Impatient()
    system = build.build(Config.load(Path.cwd(), {}), clock=clock, fetcher=fetcher)
    fetcher.inner = HttpClient(home=system.home)
    build.use(system)
    with Pocket(tools=[read, add]) as pocket:
        yield pocket
    system.home.block(fetcher.inner.close)


def token_calls(server: OAuthServer) -> int:
    return len([request for request in server.requests if request.path == "/token"])


def rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that the database holds, by table."""
    file = folder / "valetkey.db"
    if not file.exists():
        return {}
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return {name: database.execute(f"SELECT * FROM {name} ORDER BY id").fetchall() for name in TABLES}  # noqa: S608


TABLES = ("connections", "interactions")


async def link(pocket: Pocket) -> str:
    (prompt,) = await pocket.initialize_tool_auth()
    return prompt.url


async def visit(pocket: Pocket, url: str) -> Page:
    """What a person's browser shows there; without TLS, which takes time."""
    callbacks = pocket.system.config.callbacks
    ports = Ports(callbacks.internal_server_port, callbacks.public_server_port)
    return await asyncio.to_thread(get, over_http(url, ports))


async def connect(pocket: Pocket, server: OAuthServer) -> None:
    page = await visit(pocket, server.approve(await link(pocket)))
    assert page.status == 200, page.body


HUGE = "x" * 5_000_000
BODIES: dict[str, tuple[Any, str]] = {
    "an argument is missing": ({}, "first"),
    "one is of another type": ({"first": "three"}, "first"),
    "one is half a number": ({"first": 1.5}, "first"),
    "one is nothing": ({"first": None}, "first"),
    "one has an unknown name": ({"first": 1, "sceond": 2}, "second"),
    "it is a list": ([1, 2], "object"),
    "it is a number": (7, "object"),
    "it is text, and no JSON": ("first=1", "JSON"),
    "it is text of a list": ("[1]", "object"),
    "it is text, nested without an end": ("[" * 200_000, ""),
    "it is text, nested without an end, as an object": ('{"first":' * 200_000, ""),
    "it is text with a number that is too long": ('{"first": ' + "9" * 10_000 + "}", ""),
    "one is huge, and of another type": ({"first": HUGE}, ""),
    "an unknown one is huge": ({"first": 1, HUGE: 2}, ""),
    "there are far too many": ({"first": 1} | {f"x{number}": number for number in range(100_000)}, ""),
    "a name is no text": ({"first": 1, 2: 3}, ""),
}


ENDPOINTS = (
    ("token_url", "http://tokens.example/token"),
    ("token_url", "ftp://localhost/token"),
    ("token_url", "https://me:password@tokens.example/token"),
    ("authorize_url", "javascript:alert(1)"),
    ("authorize_url", "https://accounts.example/#here"),
    ("authorize_url", "not a url"),
)


class TestProgram:
    """What the program itself gets wrong."""

    async def test_an_unknown_tool_names_the_nearest(self, pocket, home):
        with pytest.raises(UnknownTool, match=r"red.*read") as told:
            await pocket.ainvoke("red", {})
        assert isinstance(told.value, KeyError)
        assert rows(home) == {}

    @pytest.mark.parametrize("wrong", BODIES)
    async def test_arguments_that_do_not_fit(self, pocket, wrong):
        body, named = BODIES[wrong]
        with pytest.raises(InvalidArguments) as told:
            await pocket.ainvoke("add", body)
        text = str(told.value)
        assert named in text
        assert 10 < len(text) < 2000
        assert told.value.__cause__ is None
        assert await pocket.ainvoke("add", {"first": 1, "second": 2}) == "3"

    async def test_arguments_are_looked_at_before_a_person_is_bothered(self, pocket, home):
        with pytest.raises(InvalidArguments, match="day"):
            await pocket.ainvoke("read", {"limit": 3})
        assert rows(home) == {}

    async def test_a_thread_that_is_none(self, pocket, home):
        none: Any
        for none in ("", "x" * 257, 7, None, ["a"]):
            with pytest.raises(ValetkeyError, match="thread_id has to be"):
                await pocket.ainvoke("read", {"day": "monday"}, thread_id=none)
        assert rows(home) == {}

    async def test_a_missing_client_id_is_told_with_the_lines_to_write_and_works_once_it_is_there(self, pocket, server):
        given = config().auth.google.given()
        config().auth.google = {name: value for name, value in given.items() if name != "client_id"}
        for ask in (pocket.initialize_tool_auth, lambda: pocket.ainvoke("read", {"day": "monday"})):
            with pytest.raises(
                MissingSetting, match=r"(?s)\[auth\.google\].*client_id = .*VALETKEY_AUTH__GOOGLE__CLIENT_ID"
            ):
                await ask()
        assert rows(pocket.system.folder).get("interactions", []) == []
        config().auth.google = given
        await connect(pocket, server)
        assert (await pocket.ainvoke("read", {"day": "monday"})).startswith("monday: 3")

    async def test_an_unknown_provider_names_the_nearest(self, pocket):
        with pytest.raises(AttributeError, match="SLACK"):
            _ = AuthProvider.SLAK
        unknown = AuthProvider.register("googel")
        with pytest.raises(UnknownProvider, match="google"):
            await PocketAuth().prepare(
                PocketAuth().make_request(auth_provider=AuthProvider.GOOGLE), auth_provider=unknown
            )

        @function_tool(auth_provider=unknown)
        def tell(**kwargs) -> int:
            """Tell."""
            return 1

        with pytest.raises(UnknownProvider, match="google"):
            await Pocket(tools=[tell]).ainvoke("tell", {})

    async def test_an_unknown_handler_names_the_nearest(self, pocket):
        with pytest.raises(UnknownProvider, match="google-oauth2"):
            PocketAuth().make_request(auth_handler_name="google-oauth")

        @function_tool(auth_handler="google-oauth")
        def tell(**kwargs) -> int:
            """Tell."""
            return 1

        with pytest.raises(UnknownProvider, match="google-oauth2"):
            await Pocket(tools=[tell]).ainvoke("tell", {})

    async def test_an_endpoint_that_cannot_be_used_names_its_setting(self, pocket, server, home):
        given = config().auth.google.given()
        for key, url in ENDPOINTS:
            config().auth.google = {**given, key: url}
            with pytest.raises(InvalidSetting, match=rf"auth\.google\.{key}") as told:
                await pocket.initialize_tool_auth()
            assert "password" not in str(told.value)
            assert rows(home).get("interactions", []) == []
        config().auth.google = given
        await connect(pocket, server)

    @pytest.mark.parametrize("which", ["internal", "public"])
    async def test_a_taken_port_names_the_port_and_its_setting(self, pocket, server, ports: Ports, which):
        port = getattr(ports, which)
        with taken(port), pytest.raises(PortTaken, match=rf"{port}.*{which}_server_port") as told:
            await pocket.initialize_tool_auth()
        assert isinstance(told.value, OSError)
        with taken(port), pytest.raises(PortTaken):
            await pocket.ainvoke("read", {"day": "monday"})
        await connect(pocket, server)
        assert (await pocket.ainvoke("read", {"day": "monday"})).startswith("monday: 3")


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        yield


class Elsewhere:
    """Where a token endpoint redirects to; it wants to see what it gets."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def take(self, visit: Visit) -> Response:
        self.seen.append(await visit.body())
        return PlainTextResponse("{}")


@pytest.fixture
def trap() -> Iterator[tuple[Elsewhere, str]]:
    elsewhere = Elsewhere()
    routes = [Route("/{path:path}", elsewhere.take, methods=["GET", "POST"])]
    with Loopback(Starlette(routes=routes)) as running:
        yield elsewhere, running.url


def faults(trap: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Wrong answers of a token endpoint; redirects lead to the trap."""
    yield "a page", {"html": True}
    yield "a page and 500", {"html": True, "status": 500}
    yield "500", {"status": 500}
    yield "503", {"status": 503}
    yield "nothing", {"status": 200, "body": ""}
    yield "204", {"status": 204, "body": ""}
    yield "a huge body", {"huge": True}
    yield "no answer", {"hang": True}
    yield "a cut", {"drop": True}
    yield "a list", {"status": 200, "body": "[]"}
    yield "half an answer", {"status": 200, "body": '{"access_token": "half'}
    yield "a twofold answer", {"status": 200, "body": '{"token_type":"bearer","access_token":"a","access_token":"b"}'}
    for status in (301, 302, 303, 307, 308):
        yield f"a redirect ({status})", {"status": status, "headers": {"location": f"{trap}/token"}}


def facts(held: Sequence[Connection]) -> list[tuple[Any, ...]]:
    """What a failed refresh must not change; and no lease is left."""
    return [(row.id, row.generation, row.sealed, row.scopes, row.expires_at, row.lease_owner) for row in held]


class TestProvider:
    """A token endpoint that answers wrongly."""

    async def test_on_the_exchange_of_a_code(self, pocket, server, home, trap):
        for name, fault in faults(trap[1]):
            calls = token_calls(server)
            first = await link(pocket)
            waiting = asyncio.create_task(pocket.wait_tool_auth())
            callback = server.approve(first)
            server.fail_next(**fault)
            page = await visit(pocket, callback)
            assert (name, page.status) == (name, 409)
            assert "start again" in page.body, name
            assert server.client.secret not in page.body, name
            async with asyncio.timeout(5):
                with pytest.raises((InvalidAuthState, ProviderUnavailable)):
                    await waiting
            assert rows(home)["connections"] == [], name

            # A code that was sent and got no answer is never sent twice (O-31), whoever comes back with it.
            for _ in range(2):
                assert (await visit(pocket, callback)).status == 400, name
            assert token_calls(server) == calls + 1, name

            second = await link(pocket)
            assert second != first, name
            assert (await visit(pocket, server.approve(second))).status == 200, name
            assert (await pocket.ainvoke("read", {"day": "monday"})).startswith("monday: 3"), name
            assert await asyncio.to_thread(pocket.auth.delete_session, AuthProvider.GOOGLE)
        assert trap[0].seen == [], "neither code nor secret went to where the endpoint pointed (O-25)"

    async def test_on_a_refresh(self, pocket, server, clock, home, trap):
        await connect(pocket, server)
        for name, fault in faults(trap[1]):
            before = facts(await pocket.system.stores.connections.of_owner(OWNER))
            clock.advance(3601)
            server.fail_next(**fault)
            async with asyncio.timeout(5):
                with pytest.raises(ProviderUnavailable, match=r"(?i)try again|call again|repeat") as told:
                    await pocket.ainvoke("read", {"day": "monday"})
            calls = token_calls(server)
            with pytest.raises(ProviderUnavailable) as again:
                await pocket.ainvoke("read", {"day": "monday"})
            assert token_calls(server) == calls, f"{name}: asked again before the time that was told"
            first, second = told.value.retry_after or 0, again.value.retry_after or 0
            assert 0 < second <= first + 0.001 <= 3600, name
            clock.advance(first + 0.001)
            assert facts(await pocket.system.stores.connections.of_owner(OWNER)) == before, name
            assert len(rows(home)["interactions"]) == 1, name
            # It healed: the next call works, and nobody was asked to connect again.
            assert (await pocket.ainvoke("read", {"day": "monday"})).startswith("monday: 3"), name
            assert server.family_alive(server.issued[-1]), name
        assert trap[0].seen == []

    async def test_on_a_refresh_while_the_old_token_is_still_good(self, pocket, server, clock, trap):
        await connect(pocket, server)
        for name, fault in faults(trap[1]):
            clock.advance(3400)
            server.fail_next(**fault)
            assert (await pocket.ainvoke("read", {"day": "monday"})).startswith("monday: 3"), name
            clock.advance(3400)
            assert (await pocket.ainvoke("read", {"day": "monday"})).startswith("monday: 3"), name
        assert trap[0].seen == []

    @pytest.mark.requirement("T-03")
    async def test_a_rotation_whose_answer_was_lost_ends_in_a_new_link_and_not_in_a_loop(self, pocket, server, clock):
        await connect(pocket, server)
        clock.advance(3601)
        server.fail_next(drop=True, processed=True)
        with pytest.raises(ProviderUnavailable) as told:
            await pocket.ainvoke("read", {"day": "monday"})
        clock.advance((told.value.retry_after or 0) + 0.001)
        asked, waits = await pocket.ainvoke_with_state("read", {"day": "monday"})
        assert waits
        assert asked.startswith("User needs to authenticate")
        assert await pocket.ainvoke_with_state("read", {"day": "monday"}) == (asked, True)
        assert server.refreshes == 2, "a dead refresh token is not tried for ever"
        (held,) = await pocket.system.stores.connections.of_owner(OWNER)
        assert (held.health, held.cause) == (Health.NEEDS_REAUTH, Cause.LOST_ROTATION)
        await connect(pocket, server)
        assert (await pocket.ainvoke("read", {"day": "monday"})).startswith("monday: 3")

    async def test_a_token_of_a_type_that_is_not_understood(self, pocket, server, home):
        # RFC 6749 §7.1; security case O-28.
        kinds: list[dict[str, Any]] = [{"token_type": kind} for kind in ("", "mac", "DPoP", "N_A", 7, ["bearer"])]
        for kind in ({}, *kinds):
            server.fail_next(status=200, body=json.dumps({"access_token": "t" * 20, "expires_in": 60, **kind}))
            page = await visit(pocket, server.approve(await link(pocket)))
            assert (kind, page.status) == (kind, 409)
            assert rows(home)["connections"] == []
        await connect(pocket, server)

    async def test_a_bearer_token_in_any_case(self, pocket, server):
        for kind in ("bearer", "Bearer", "BEARER"):
            server.fail_next(status=200, body=json.dumps({"access_token": "t" * 20, "token_type": kind}))
            assert (await visit(pocket, server.approve(await link(pocket)))).status == 200
            assert await pocket.ainvoke("read", {"day": "monday"}) == "monday: 3 entries, 20 characters"
            assert await asyncio.to_thread(pocket.auth.delete_session, AuthProvider.GOOGLE)

    async def test_a_provider_that_is_not_there_lets_the_code_be_tried_later(self, pocket, server):
        # Nothing was sent: that much is sure, so the code is still good for one try.
        callback = server.approve(await link(pocket))
        server.stop()
        page = await visit(pocket, callback)
        assert page.status == 503
        server.start()
        assert await pocket.wait_tool_auth() is True
        assert token_calls(server) == 1
