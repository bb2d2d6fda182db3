"""Promises of seed 002's steps and of plain calls that no other test shows: who waits, what runs, what is left."""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import APIRouter

from tests.road.forms import open_form
from tests.road.support import Ports, client_section, get, timed, write_settings
from tests.road.test_pocket_auth import PREFIX, A, B, Google, wind
from valetkey import (
    AuthContext,
    AuthExpired,
    AuthHandlerInterface,
    AuthProvider,
    AuthState,
    FutureStore,
    InvalidAnswer,
    InvalidArguments,
    InvalidAuthState,
    Pocket,
    PocketAuth,
    from_func,
    function_tool,
)
from valetkey.connections.handler import AuthenticateRequest
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import SLACK, OAuthServer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock, ports: Ports) -> Iterator[OAuthServer]:
    with OAuthServer(clock=clock, access_lifetime=3600) as server:
        write_settings(ports, client_section("google", server))
        timed(clock)
        yield server


@pytest.fixture
def google(server) -> Google:
    return Google()


async def visit(url: str):
    return await asyncio.to_thread(get, url)


class TestAuthenticate:
    async def test_a_waiting_authenticate_gets_the_account_as_soon_as_the_person_is_back(self, google, server):
        told = await google.prepare(A)
        waiting = [asyncio.create_task(google.authenticate(A)) for _ in range(2)]
        await asyncio.sleep(0)
        assert (await visit(server.approve(told.removeprefix(PREFIX)))).status == 200
        async with asyncio.timeout(5):
            first, second = await asyncio.gather(*waiting)
        assert first == second
        assert first.access_token in server.issued
        assert server.exchanges == 1

    async def test_in_do_auth_authenticate_is_an_error_that_names_the_step(self, google, server):
        await google.connect(server, A)
        assert await google.check(B) is AuthState.DO_AUTH
        with pytest.raises(InvalidAuthState, match=r"do_auth.*prepare"):
            await google.authenticate(B)
        assert await google.check(A) is AuthState.SKIP_AUTH

    async def test_an_upgrade_that_waits_and_a_token_near_its_end_is_a_refresh(self, google, server, clock):
        await google.connect(server, A)
        assert await google.prepare(B) is not None
        clock.advance(3600 - 299)
        assert await google.check(A) is AuthState.DO_REFRESH

    async def test_the_wait_of_a_pocket_ends_after_300_s(self, server, clock):
        @function_tool(auth_provider=AuthProvider.GOOGLE)
        def read(**kwargs) -> int:
            """Read."""
            return 1

        with Pocket(tools=[read]) as pocket:
            await pocket.initialize_tool_auth()
            waiting = asyncio.create_task(pocket.wait_tool_auth())
            await wind(clock, 299, waiting)
            assert not waiting.done()
            await wind(clock, 2, waiting)
            with pytest.raises(AuthExpired) as expired:
                await waiting
        assert isinstance(expired.value, asyncio.TimeoutError)


async def test_a_token_that_comes_back_short_lived_is_refreshed_every_30_s_at_most(clock, ports):
    # Security case T-18.
    with OAuthServer(clock=clock, access_lifetime=40) as server:
        write_settings(ports, client_section("google", server))
        timed(clock)
        google = Google()
        await google.connect(server, A)
        for seconds, refreshes in ((21, 1), (21, 1), (8, 1), (2, 2)):
            clock.advance(seconds)
            for _ in range(5):
                await google.authenticate(A)
            assert server.refreshes == refreshes


class DeskHandler(AuthHandlerInterface):
    """A handler of the host program, whose answer waits for whoever settles it."""

    name = "desk-own"
    router = APIRouter(prefix="/desk")

    @staticmethod
    def provider() -> AuthProvider:
        return AuthProvider.register("desk")

    def make_request(self, auth_scopes=None, **kwargs) -> AuthenticateRequest:
        return AuthenticateRequest(auth_scopes=auth_scopes)

    def prepare(self, auth_req, thread_id, profile, future_uid, *args, **kwargs) -> str:
        FutureStore.create_future(future_uid, data={"thread": thread_id})
        return f"https://desk.example/?state={future_uid}"

    async def authenticate(self, auth_req, future_uid, *args, **kwargs) -> AuthContext:
        found = FutureStore.get_future(future_uid)
        assert found is not None
        return AuthContext(access_token=f"desk-{await found.future}")


class Desk:
    def __init__(self) -> None:
        self.auth = PocketAuth(handlers=[DeskHandler])
        self.request = self.auth.make_request(auth_provider=AuthProvider("desk"))

    async def check(self) -> AuthState:
        return await self.auth.check(self.request, auth_provider=AuthProvider("desk"))

    async def prepare(self) -> str | None:
        return await self.auth.prepare(self.request, auth_provider=AuthProvider("desk"))

    async def authenticate(self) -> AuthContext:
        return await self.auth.authenticate_async(self.request, auth_provider=AuthProvider("desk"))


class TestFutures:
    @pytest.fixture
    def desk(self, ports) -> Desk:
        write_settings(ports)
        DeskHandler.provider()
        return Desk()

    async def test_prepare_does_nothing_once_the_answer_is_here_and_authenticate_exchanges_it(self, desk):
        told = await desk.prepare()
        assert told is not None
        FutureStore.resolve_future(told.rpartition("=")[2], "answer")
        assert await desk.check() is AuthState.RESOLVED
        assert await desk.prepare() is None
        assert await desk.check() is AuthState.RESOLVED
        assert (await desk.authenticate()).access_token == "desk-answer"
        assert await desk.check() is AuthState.SKIP_AUTH

    async def test_a_future_that_is_deleted_takes_no_answer_and_its_flow_is_over(self, desk):
        told = await desk.prepare()
        state = told.rpartition("=")[2]
        FutureStore.delete_future(state)
        with pytest.raises(InvalidAnswer, match="Begin again"):
            FutureStore.resolve_future(state, "late")
        assert await desk.check() is AuthState.NO_SESSION
        again = await desk.prepare()
        assert again != told


class TestCalls:
    def test_tool_call_ends_in_180_s_unless_the_tool_says_otherwise(self):
        def wait() -> None:
            """Wait."""

        assert function_tool(wait).deadline == 180.0
        assert function_tool(deadline=5)(wait).deadline == 5

    async def test_tool_call_runs_the_postprocessings(self):
        def count(text: str) -> int:
            """Count."""
            return len(text)

        tool = function_tool(count) | (lambda number: number + 1) | str
        assert await Pocket(tools=[tool]).tool_call("count", {"text": "abc"}) == "4"

    async def test_a_coroutine_form_is_the_one_that_is_called(self):
        def add(a: int) -> str:
            """Add."""
            return f"sync {a}"

        async def aadd(a: int) -> str:
            """Add."""
            return f"async {a}"

        assert await Pocket(tools=[from_func(add, aadd, name="add")]).ainvoke("add", {"a": 2}) == "async 2"

    async def test_the_tool_does_not_run_before_its_account_is_there(self, server):
        ran: list[str] = []

        @function_tool(auth_provider=AuthProvider.GOOGLE)
        def run(**kwargs) -> str:
            """Run."""
            ran.append(kwargs["GOOGLE_TOKEN"])
            return "ran"

        with Pocket(tools=[run]) as pocket:
            told, paused = await pocket.ainvoke_with_state("run", {})
            assert (paused, ran) == (True, [])
            assert (await visit(server.approve(told.removeprefix(PREFIX)))).status == 200
            assert ran == []
            assert await pocket.ainvoke_with_state("run", {}) == ("ran", False)
        assert ran == server.issued[:1]

    async def test_a_sync_tool_does_not_hold_the_loop(self):
        went = threading.Event()

        @function_tool
        def hold() -> str:
            """Wait for the loop."""
            return "the loop went on" if went.wait(10) else "the loop was held"

        call = asyncio.create_task(Pocket(tools=[hold]).ainvoke("hold", {}))
        for _ in range(3):
            await asyncio.sleep(0)
        went.set()
        assert await call == "the loop went on"

    async def test_a_direct_call_prints_the_link_to_stderr_and_goes_on_once_the_person_is_back(self, server, capsys):
        @function_tool(auth_provider=AuthProvider.GOOGLE)
        def names(limit: int, **kwargs) -> list[str]:
            """Give names."""
            return ["ann", "bob"][:limit]

        call = asyncio.create_task(asyncio.to_thread(names, limit=1))
        printed, link = "", None
        async with asyncio.timeout(20):
            while link is None:
                await asyncio.sleep(0)
                read = capsys.readouterr()
                assert read.out == ""
                printed += read.err
                link = re.search(rf"{re.escape(PREFIX)}(\S+)\n", printed)
        assert not call.done()
        assert (await visit(server.approve(link[1]))).status == 200
        assert await call == ["ann"]


class TestServer:
    async def test_the_server_starts_with_the_first_link_and_ends_with_the_last_pocket(self, server, ports):
        @function_tool(auth_provider=AuthProvider.GOOGLE)
        def read(**kwargs) -> int:
            """Read."""
            return 1

        def listening() -> list[bool]:
            found = []
            for port in (ports.internal, ports.public):
                with socket.socket() as probe:
                    probe.settimeout(5)
                    found.append(probe.connect_ex(("127.0.0.1", port)) == 0)
            return found

        first, second = Pocket(tools=[read]), Pocket(tools=[read])
        assert listening() == [False, False]
        assert await first.auth.list_session_state("default") == []
        assert listening() == [False, False], "looking needs no server"
        await first.initialize_tool_auth()
        await second.initialize_tool_auth()
        assert listening() == [True, True]
        await asyncio.to_thread(first.teardown)
        assert listening() == [True, True]
        await asyncio.to_thread(second.teardown)
        assert listening() == [False, False]


class TestOneAccount:
    """Contract 2.14 and 4.2: one account for an owner, a provider and a profile, whichever handler connected it."""

    async def test_a_pasted_token_serves_a_tool_that_names_no_handler_and_another_handler_takes_its_place(self, ports):
        def length(**kwargs) -> int:
            """Tell how long the token is."""
            return len(kwargs["SLACK_BOT_TOKEN"])

        def pocket(handler: str | None) -> Pocket:
            return Pocket(tools=[function_tool(auth_provider=AuthProvider.SLACK, auth_handler=handler)(length)])

        with OAuthServer(dialect=SLACK) as slack:
            write_settings(ports, client_section("slack", slack))
            with pocket("slack-token") as pasted, pocket(None) as either, pocket("slack-oauth2") as consented:
                (prompt,) = await pasted.initialize_tool_auth()
                form = await asyncio.to_thread(open_form, prompt.url)
                assert (await asyncio.to_thread(lambda: form.send(access_token="xoxb-token-12"))).status == 200
                assert await either.ainvoke("length", {}) == "13"
                (prompt,) = await consented.initialize_tool_auth()
                assert (await visit(slack.approve(prompt.url))).status == 200
                (row,) = await either.system.stores.connections.of_owner(owner_of("default"))
                assert row.handler == "slack-oauth2"
                assert await either.ainvoke("length", {}) == await consented.ainvoke("length", {}) != "13"
                assert (await pasted.ainvoke_with_state("length", {}))[1]

    async def test_two_tools_that_want_one_account_by_two_handlers_are_told_so(self, ports):
        write_settings(ports)

        def one(**kwargs) -> None:
            """One."""

        def two(**kwargs) -> None:
            """Two."""

        tools = [
            function_tool(auth_provider=AuthProvider.SLACK, auth_handler=handler)(func)
            for handler, func in (("slack-token", one), ("slack-oauth2", two))
        ]
        with pytest.raises(
            InvalidArguments, match=r"one wants its slack account by slack-token, and two by slack-oauth2"
        ):
            await Pocket(tools=tools).initialize_tool_auth()

    async def test_an_answer_is_not_kept_once_it_was_acted_on(self, google, server):
        told = await google.prepare(A)
        callback = server.approve(told.removeprefix(PREFIX))
        server.pause()
        coming = asyncio.create_task(visit(callback))
        await asyncio.to_thread(server.wait_held, 1)
        interactions = google.auth.system.interactions
        state = parse_qs(urlsplit(callback).query)["state"][0]
        assert interactions.answer(await interactions.by_state(state))["code"] in server.codes
        server.resume()
        assert (await coming).status == 200
        assert (await interactions.by_state(state)).answer is None


async def test_after_a_disconnect_nothing_of_the_account_is_in_any_file(google, server, home):
    await google.connect(server, A)
    (row,) = await google.auth.system.stores.connections.of_owner(owner_of("default"))
    parts = [bytes(row.sealed), bytes(row.sealed)[40:90]]
    assert len(parts[1]) == 50
    assert any(part in path.read_bytes() for part in parts for path in home.rglob("*") if path.is_file())
    assert await asyncio.to_thread(google.auth.delete_session, AuthProvider.GOOGLE) is True
    for path in home.rglob("*"):
        if path.is_file():
            assert not [part for part in parts if part in path.read_bytes()], path.name
