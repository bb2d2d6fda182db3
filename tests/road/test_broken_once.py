"""What a hostile reader broke once."""

import asyncio
import os
import signal
import threading
import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.road.support import client_section, get, write_settings
from valetkey import (
    AuthContext,
    AuthenticateRequest,
    AuthHandlerInterface,
    AuthProvider,
    FutureStore,
    InvalidSetting,
    Pocket,
    PocketAuth,
    ProviderUnavailable,
    function_tool,
    tool,
)
from valetkey.connections import flights
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.interactions.states import Event
from valetkey.model.interactions import InteractionKind
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import OAuthServer
from valetkey.tools.threads import THREADS, Threads
from valetkey.wiring import build

CALENDAR = "https://www.googleapis.com/auth/calendar"
MAIL = "https://www.googleapis.com/auth/gmail.readonly"


class Odd:
    """A client's answer object, which nobody knows but by its text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f"answer {self.text}"


class Broken:
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        raise ValueError(f"no text for {self.text}")


SHAPES = {
    "object": Odd,
    "in a list": lambda token: {"rows": [Odd(token)]},
    "generator": lambda token: (part for part in (token, "b")),
    "exception": ValueError,
    "path": lambda token: Path("/tmp") / token,  # noqa: S108
    "namespace": lambda token: types.SimpleNamespace(token=token),
    "bytearray": lambda token: bytearray(token.encode()),
    "text that fails": Broken,
}


@function_tool(auth_provider=AuthProvider.GOOGLE, scopes=[CALENDAR])
async def read(shape: str = "", **kwargs) -> object:
    """Read the calendar."""
    token = kwargs["GOOGLE_TOKEN"]
    return SHAPES[shape](token) if shape else len(token)


@function_tool(auth_provider=AuthProvider.GOOGLE, scopes=[CALENDAR, MAIL])
async def read_more(**kwargs) -> int:
    """Read the calendar and the mail."""
    return len(kwargs)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock, ports):
    with OAuthServer(clock=clock, access_lifetime=3600) as server:
        write_settings(ports, client_section("google", server))
        start(clock)
        yield server


def start(clock: ManualClock) -> None:
    """Start the program, or start it again."""
    build.use(build.build(Config.load(Path.cwd(), os.environ), clock=clock))


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)


async def connected(server: OAuthServer) -> Pocket:
    pocket = Pocket(tools=[read])
    (prompt,) = await pocket.initialize_tool_auth()
    await asyncio.to_thread(get, server.approve(prompt.url))
    await pocket.wait_tool_auth()
    return pocket


async def test_a_follower_who_gives_up_takes_nobody_with_it(server, clock):
    pocket = await connected(server)
    clock.advance(3601)
    server.pause()
    calls = [asyncio.create_task(pocket.ainvoke("read", {})) for _ in range(5)]
    await asyncio.to_thread(server.wait_held, 1)
    calls[3].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls.pop(3)
    server.resume()
    assert all(result.isdigit() for result in await asyncio.gather(*calls))
    assert server.refreshes == 1


@pytest.mark.parametrize("shape", SHAPES)
async def test_what_only_rendering_shows_is_starred_too(server, shape):
    pocket = await connected(server)
    text = await pocket.ainvoke("read", {"shape": shape})
    assert server.issued[0] not in text
    assert "***" in text


async def test_a_tool_that_exits_or_cancels_its_own_task_has_failed(ports):
    write_settings(ports)

    @tool
    def leave() -> None:
        """Leave."""
        raise SystemExit("bye")

    @tool
    async def give_up() -> None:
        """Give up."""
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task

    pocket = Pocket(tools=[leave, give_up])
    assert await pocket.ainvoke("leave", {}) == "There was an error while executing the tool: bye"
    assert "CancelledError" in await pocket.ainvoke("give_up", {})


async def test_a_caller_who_gives_up_is_cancelled_still(ports):
    write_settings(ports)
    started = asyncio.Event()

    @tool
    async def wait() -> None:
        """Wait."""
        started.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(Pocket(tools=[wait]).ainvoke("wait", {}))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_synchronous_tool_runs_in_a_forked_child():
    asyncio.run(THREADS.run(lambda: None))
    while not THREADS._idle:  # the thread comes back for more
        threading.Event().wait(0.001)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
        signal.alarm(10)
        asyncio.run(THREADS.run(lambda: None))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


async def test_what_was_cancelled_while_it_waited_for_a_thread_does_not_run():
    pool, gate, ran = Threads(most=1), threading.Event(), []
    first = asyncio.create_task(pool.run(gate.wait))
    await asyncio.sleep(0)
    late = asyncio.create_task(pool.run(lambda: ran.append("late")))
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    gate.set()
    await first
    await pool.run(lambda: ran.append("next"))
    assert ran == ["next"]


async def test_an_open_link_of_another_handler_is_no_key_error(slack, ports):
    write_settings(ports, client_section("slack", slack))

    def by(name: str, handler: str, *scopes: str):
        def run(**kwargs) -> int:
            return len(kwargs)

        run.__name__ = name
        return function_tool(auth_provider=AuthProvider.SLACK, auth_handler=handler, scopes=list(scopes))(run)

    pocket = Pocket(tools=[by("pasted", "slack-token"), by("linked", "slack-oauth2", "channels:read")])
    assert "/slack/token?state=" in await pocket.ainvoke("pasted", {})
    assert slack.authorize_url in await pocket.ainvoke("linked", {})
    assert "/slack/token?state=" in await pocket.ainvoke("pasted", {})


async def test_settings_that_were_corrected_give_another_link(server, ports, clock):
    pocket = Pocket(tools=[read])
    assert f"client_id={server.client.id}&" in await pocket.ainvoke("read", {})
    write_settings(ports, client_section("google", server, client_id="corrected"))
    start(clock)
    assert "client_id=corrected&" in await Pocket(tools=[read]).ainvoke("read", {})


async def test_an_answer_for_fewer_scopes_does_not_meet_a_need_for_more(server):
    pocket = Pocket(tools=[read])
    (prompt,) = await pocket.initialize_tool_auth()
    (code,) = parse_qs(urlsplit(server.approve(prompt.url)).query)["code"]
    questions = pocket.system.interactions
    (row,) = await questions.of_owner(owner_of("default"), InteractionKind.CONNECT)
    # As a process leaves it that is killed between the answer and settling it.
    await questions.move(row, Event.ANSWER, answer={"code": code})
    pocket.load_tools([read_more])
    text, paused = await pocket.ainvoke_with_state("read_more", {})
    assert paused, text
    assert (await pocket.ainvoke("read", {})).isdigit()


async def test_who_waits_after_a_restart_can_be_answered(server, clock):
    pocket = Pocket(tools=[read])
    (prompt,) = await pocket.initialize_tool_auth()
    start(clock)
    waiting = asyncio.create_task(Pocket(tools=[read]).wait_tool_auth())
    callback = server.approve(prompt.url)
    await until(lambda: getattr(build.default().links.server, "_listeners", ()))
    assert (await asyncio.to_thread(get, callback)).status == 200
    assert await waiting is True


def test_a_dotenv_that_is_no_text_is_an_error_of_settings():
    Path(".env").write_bytes(b"VALETKEY_VAULT_KEY=\xff\xfe\n")
    with pytest.raises(InvalidSetting, match=r"\.env cannot be read as UTF-8"):
        Config.load(Path.cwd(), {})


AuthProvider.register("brittle")


class Brittle(AuthHandlerInterface):
    """A handler of the program's own, whose refresh raises whatever its client does."""

    name = "brittle-own"
    clock: ManualClock
    fault: BaseException | None = None
    entered: asyncio.Event | None = None

    @staticmethod
    def provider() -> AuthProvider:
        return AuthProvider("brittle")

    @staticmethod
    def provider_default() -> bool:
        return True

    def make_request(self, auth_scopes=None, **kwargs):
        return AuthenticateRequest(auth_scopes=auth_scopes)

    def prepare(self, auth_req, thread_id, profile, future_uid, *args, **kwargs):
        FutureStore.create_future(future_uid)
        return f"http://localhost/?state={future_uid}"

    def context(self, token: str) -> AuthContext:
        end = datetime.fromtimestamp(self.clock.now(), UTC) + timedelta(hours=1)
        return AuthContext(access_token=token, expires_at=end)

    async def authenticate(self, auth_req, future_uid, *args, **kwargs):
        future = FutureStore.get_future(future_uid)
        assert future is not None
        return self.context(await future.future)

    async def refresh(self, auth_req, context, *args, **kwargs):
        if Brittle.entered is not None:
            Brittle.entered.set()
            await asyncio.Event().wait()
        if Brittle.fault is not None:
            raise Brittle.fault
        return self.context(context.access_token + "-renewed")


@function_tool(auth_provider=AuthProvider("brittle"))
async def use(**kwargs) -> int:
    """Use it."""
    return len(kwargs["BRITTLE_TOKEN"])


@pytest.fixture
async def brittle(server, clock, monkeypatch) -> Pocket:
    monkeypatch.setattr(Brittle, "clock", clock, raising=False)
    monkeypatch.setattr(Brittle, "fault", None)
    monkeypatch.setattr(Brittle, "entered", None)
    pocket = Pocket(tools=[use], auth=PocketAuth(handlers=[Brittle]))
    state = (await pocket.ainvoke("use", {})).rpartition("=")[2]
    FutureStore.resolve_future(state, "a-token-of-brittle")
    assert await pocket.ainvoke("use", {}) == "18"
    return pocket


@pytest.mark.requirement("R-11")
async def test_an_own_refresh_that_raises_loses_no_token_that_is_still_good(brittle, clock, monkeypatch):
    monkeypatch.setattr(Brittle, "fault", ValueError("refused a-token-of-brittle"))
    clock.advance(3600 - 200)
    assert await brittle.ainvoke("use", {}) == "18"
    clock.advance(300)
    with pytest.raises(ProviderUnavailable, match="raised ValueError") as raised:
        await brittle.ainvoke("use", {})
    assert "a-token-of-brittle" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


async def test_an_own_refresh_that_is_refused_asks_the_person_again(brittle, clock, monkeypatch):
    refused = ValueError("400")
    refused.response = types.SimpleNamespace(status_code=400)  # type: ignore[attr-defined]
    monkeypatch.setattr(Brittle, "fault", refused)
    clock.advance(3700)
    assert (await brittle.ainvoke_with_state("use", {}))[1]


async def test_a_synchronous_call_on_the_loop_that_refreshes_does_not_hang_for_ever(brittle, clock, monkeypatch):
    clock.advance(3700)
    entered = asyncio.Event()
    monkeypatch.setattr(Brittle, "entered", entered)
    monkeypatch.setattr(flights, "FOLLOW", 0.2)
    first = asyncio.create_task(brittle.ainvoke("use", {}))
    await entered.wait()
    with pytest.raises(ProviderUnavailable, match="does not end"):
        brittle.invoke("use", {})
    monkeypatch.setattr(Brittle, "entered", None)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_a_refresh_that_was_cancelled_before_its_first_step_is_begun_again(brittle, clock):
    clock.advance(3700)
    call = asyncio.create_task(brittle.ainvoke("use", {}))
    refresher = brittle.system.refresher
    await until(lambda: refresher.flights.busy)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # as asyncio.run does at its end
    await asyncio.gather(call, return_exceptions=True)
    async with asyncio.timeout(5):
        assert await brittle.ainvoke("use", {}) == "26"
