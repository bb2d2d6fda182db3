"""The device grant in a program: its text, who polls and how often, how it ends, and what is never shown."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.connections.devices import DEVICE_CODE, PAGE, TOKENS, USER_CODE, DeviceServer, program
from valetkey import AuthProvider, AuthRefused, Pocket, config, function_tool
from valetkey.errors import ExchangeFailed, InvalidAuthState, ProviderUnavailable
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.interactions import INVITATION, Interaction, InteractionKind, Phase
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build
from valetkey.wiring.system import System

OWNER = owner_of("default")


@function_tool(auth_provider=AuthProvider.GITHUB)
def read_issues(**kwargs):
    """Read them."""
    return f"read with {len(kwargs['GITHUB_TOKEN'])}"


@function_tool(auth_provider=AuthProvider.GITHUB, auth_handler="github-device")
def read_by_code(**kwargs):
    """Read them."""
    return f"read with {len(kwargs['GITHUB_TOKEN'])}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock: ManualClock) -> DeviceServer:
    return DeviceServer(clock)


@pytest.fixture
async def system(server: DeviceServer) -> AsyncIterator[System]:
    made = program(server)
    build.use(made)
    yield made
    await asyncio.to_thread(build.use, None)


async def until(clock: ManualClock, true: Callable[[], bool], step: float = 0.5, *, sleepers: int = 0) -> None:
    """Wind the clock on until something is so; each step lets every loop get on.

    With ``sleepers`` only while so many sleep: so no poll takes any of the clock's time.
    """
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)
            if sleepers:
                await clock.sleepers(sleepers)
            clock.advance(step)


async def row(system: System) -> Interaction:
    (found,) = await system.interactions.of_owner(OWNER, InteractionKind.CONNECT)
    return found


def files_with(text: str) -> list[Path]:
    found = [path for path in Path("home").rglob("*") if path.is_file()]
    assert found
    return [path for path in found if text.encode() in path.read_bytes()]


async def connected(system: System) -> bool:
    return await system.stores.connections.get(OWNER, "github", "default") is not None


async def test_a_program_is_told_the_link_and_the_code_and_the_tool_runs_once_it_was_entered(system, server, clock):
    pocket = Pocket(tools=[read_issues])
    said, waits = await pocket.ainvoke_with_state("read_issues", {})
    assert waits
    assert said == f"{INVITATION}{PAGE}\nEnter this code there: {USER_CODE}"
    assert said.splitlines()[0].removeprefix(INVITATION).strip() == PAGE
    (prompt,) = await pocket.initialize_tool_auth()
    assert (prompt.url, prompt.user_code, prompt.verification_uri) == (PAGE, USER_CODE, PAGE)
    assert str(prompt) == said
    assert len(server.asked) == 1, "asked again, it is the same code"
    assert server.asked[0]["client_id"] == "me"
    waiting = asyncio.ensure_future(pocket.wait_tool_auth())
    await until(clock, lambda: len(server.polled) >= 2)
    server.answers = [TOKENS]
    await until(clock, waiting.done)
    assert await waiting is True
    assert await pocket.ainvoke("read_issues", {}) == f"read with {len(TOKENS['access_token'])}"
    assert min(server.pauses) >= 5
    held = await system.stores.connections.get(OWNER, "github", "default")
    assert held is not None
    assert held.handler == "github-device"
    assert held.refreshable


async def test_a_link_that_has_the_code_in_it_is_all_that_the_text_holds(clock):
    server = DeviceServer(clock, verification_uri_complete=f"{PAGE}?user_code={USER_CODE}")
    build.use(program(server))
    try:
        (prompt,) = await Pocket(tools=[read_issues]).initialize_tool_auth()
        assert prompt == f"{INVITATION}{PAGE}?user_code={USER_CODE}"
        assert (prompt.user_code, prompt.verification_uri) == (USER_CODE, PAGE)
    finally:
        await asyncio.to_thread(build.use, None)


async def test_whoever_calls_again_finds_the_answer_though_nobody_waited(system, server, clock):
    pocket = Pocket(tools=[read_issues])
    await pocket.ainvoke("read_issues", {})
    server.answers = [TOKENS]
    clock.advance(6)
    for _ in range(100):
        if (await pocket.ainvoke("read_issues", {})).startswith("read"):
            break
        await asyncio.sleep(0.01)
    assert await connected(system)
    assert len(server.polled) == 1


@pytest.mark.requirement("G-03")
async def test_a_no_ends_it_at_once_and_nobody_polls_any_more(system, server, clock):
    pocket = Pocket(tools=[read_issues])
    await pocket.initialize_tool_auth()
    waiting = asyncio.ensure_future(pocket.wait_tool_auth())
    server.answers = ["authorization_pending", "access_denied"]
    await until(clock, waiting.done)
    with pytest.raises(AuthRefused, match="denied at GitHub"):
        await waiting
    await until(clock, lambda: clock.monotonic() > 200, step=5)
    assert len(server.polled) == 2
    assert await system.interactions.of_owner(OWNER, InteractionKind.CONNECT) == []
    assert (await pocket.ainvoke("read_issues", {})).startswith(INVITATION)
    assert len(server.asked) == 2, "the next call asks for a new code"


@pytest.mark.requirement("G-03", "G-05")
async def test_a_code_that_ended_is_told_whoever_notices_first(server, clock):
    for codes, then, polls in (({}, "expired_token", 1), ({"expires_in": 12}, "authorization_pending", 2)):
        server = DeviceServer(clock, **codes)
        server.then = then
        system = program(server)
        build.use(system)
        pocket = Pocket(tools=[read_issues])
        await pocket.initialize_tool_auth()
        asked = await row(system)
        waiting = asyncio.ensure_future(pocket.wait_tool_auth())
        await until(clock, waiting.done)
        with pytest.raises(InvalidAuthState, match=r"in time\. Ask for a new one"):
            await waiting
        ended = await system.interactions.get(asked.id)
        assert ended is not None
        assert ended.phase is Phase.EXPIRED
        assert 1 <= len(server.polled) <= polls
        assert server.polled[-1] - asked.created_at <= server.codes["expires_in"]
        await asyncio.to_thread(build.use, None)


@pytest.mark.requirement("G-02", "G-04")
async def test_who_is_too_fast_is_slower_for_good_and_who_hears_nothing_for_a_while(system, server, clock):
    pocket = Pocket(tools=[read_issues])
    await pocket.initialize_tool_auth()
    lost = ExchangeFailed("No answer within 10 s.", sent=True)
    server.answers = ["authorization_pending", "slow_down", "authorization_pending", lost, 503, 502]
    await until(clock, lambda: len(server.polled) >= 8, sleepers=1)
    first, *rest = server.pauses
    assert 5 <= first < 6
    assert [round(each // 5) * 5 for each in rest] == [10, 10, 20, 40, 80, 10]
    assert (await row(system)).phase is Phase.OPEN


@pytest.mark.requirement("G-10")
async def test_of_many_instances_one_polls_and_one_keeps_what_comes(server, clock):
    systems = [program(server, in_memory=False) for _ in range(3)]
    try:
        build.use(systems[0])
        await Pocket(tools=[read_issues]).initialize_tool_auth()
        asked = await row(systems[0])
        for each in systems:
            for _ in range(3):
                each.answering.follow(asked)
        await until(clock, lambda: len(server.polled) >= 4, sleepers=3)
        assert min(server.pauses) >= 5, server.pauses
        assert max(server.pauses) < 8
        server.answers = [TOKENS]
        async with asyncio.timeout(10):
            while not await connected(systems[2]):
                await asyncio.sleep(0.002)
                clock.advance(0.5)
        polls = len(server.polled)
        clock.advance(30)
        await asyncio.sleep(0.05)
        assert len(server.polled) == polls
        held = await systems[1].stores.connections.get(OWNER, "github", "default")
        assert held is not None
        assert held.generation == 1
    finally:
        build.use(None)
        for each in systems[1:]:
            await asyncio.to_thread(each.close)


@pytest.mark.requirement("G-09")
async def test_after_a_restart_the_next_poll_comes_when_it_was_due(server, clock):
    first = program(server, in_memory=False)
    build.use(first)
    pocket = Pocket(tools=[read_issues])
    await pocket.initialize_tool_auth()
    server.answers = ["slow_down"]
    await until(clock, lambda: len(server.polled) == 1)
    await asyncio.sleep(0.05)  # its answer is written down
    await asyncio.to_thread(build.use, None)
    last = server.polled[-1]
    again = program(server, in_memory=False)
    build.use(again)
    try:
        waiting = asyncio.ensure_future(Pocket(tools=[read_issues]).wait_tool_auth())
        server.answers = ["authorization_pending", TOKENS]
        await until(clock, waiting.done)
        assert await waiting is True
        assert server.polled[1] - last >= 10, "the interval as slow_down left it, and no burst"
        assert min(server.pauses) >= 10
        assert len(server.asked) == 1
    finally:
        await asyncio.to_thread(build.use, None)


@pytest.mark.requirement("G-10")
async def test_a_crash_between_the_answer_and_its_row_ends_the_flow_instead_of_leaving_it_stuck(server, clock):
    crashing = program(server, in_memory=False)
    build.use(crashing)
    await Pocket(tools=[read_issues]).initialize_tool_auth()
    asked = await row(crashing)
    gone = asyncio.Event()

    async def never() -> None:
        gone.set()
        server.then = "invalid_grant"
        await asyncio.sleep(3600)

    server.answers = [never]
    await until(clock, gone.is_set)
    during = server.polled[-1]
    await asyncio.to_thread(build.use, None)  # with the answer on its way
    again = program(server, in_memory=False)
    build.use(again)
    try:
        again.answering.follow(asked)
        for _ in range(3000):
            found = await again.interactions.get(asked.id)
            assert found is not None
            if found.phase is Phase.REFUSED:
                break
            await asyncio.sleep(0.002)
            clock.advance(0.5)
        assert found is not None
        assert found.phase is Phase.REFUSED
        assert "Ask for a new one" in found.reason
        assert server.polled[-1] - during > 10, "while somebody may be polling nobody else does"
    finally:
        await asyncio.to_thread(build.use, None)


async def test_tokens_that_come_when_nobody_wants_them_any_more_are_revoked(system, server, clock):
    pocket = Pocket(tools=[read_issues])
    await pocket.initialize_tool_auth()

    fetch = server.fetch

    async def slow(request):
        answer = await fetch(request)
        if b"at-canary" in answer.body:
            await system.disconnector.disconnect(OWNER, "github", "default")
        return answer

    object.__setattr__(server, "fetch", slow)
    server.answers = [TOKENS]
    await until(clock, lambda: bool(server.revoked))
    assert server.revoked == [TOKENS["refresh_token"]]
    assert not await connected(system)


@pytest.mark.requirement("G-07")
async def test_the_device_code_is_in_no_text_no_log_and_no_file(server, clock, caplog):
    caplog.set_level(logging.DEBUG)
    system = program(server, in_memory=False)
    build.use(system)
    try:
        pocket = Pocket(tools=[read_issues])
        said = await pocket.ainvoke("read_issues", {})
        prompts = await pocket.initialize_tool_auth()
        server.answers = ["authorization_pending", "slow_down", "server_error"]
        await until(clock, lambda: len(server.polled) >= 3)
        asked = await row(system)
        states = await pocket.auth.list_session_state("default")
        failed = await system.handling.find("github-device").look(
            {**system.interactions.payload(asked)["private"], "token_url": "https://elsewhere.test"}
        )
        listed = [repr(asked), asked.about, repr(system.interactions.payload(asked)["shown"]), states, failed]
        for shown in (said, prompts, listed, caplog.text, server.asked):
            assert DEVICE_CODE not in f"{shown!r}{shown}"
        assert asked.about["device"] == {"user_code": USER_CODE, "verification_uri": PAGE}
    finally:
        await asyncio.to_thread(build.use, None)
    assert files_with(DEVICE_CODE) == []


async def test_a_page_that_nobody_should_open_begins_nothing(clock):
    server = DeviceServer(clock, verification_uri="javascript:alert(1)")
    system = program(server)
    build.use(system)
    try:
        with pytest.raises(ProviderUnavailable, match="verification_uri that nobody should open") as caught:
            await Pocket(tools=[read_issues]).initialize_tool_auth()
        assert DEVICE_CODE not in str(caught.value)
        assert await system.interactions.of_owner(OWNER, InteractionKind.CONNECT) == []
    finally:
        await asyncio.to_thread(build.use, None)


@pytest.mark.requirement("G-09")
async def test_upkeep_goes_on_with_a_flow_whose_process_has_ended_and_nobody_waits_for(server, clock):
    first = program(server, in_memory=False)
    build.use(first)
    await Pocket(tools=[read_issues]).initialize_tool_auth()
    await asyncio.to_thread(build.use, None)
    polls = len(server.polled)
    again = program(server, in_memory=False)
    build.use(again)
    try:
        clock.advance(30)
        await asyncio.sleep(0.02)
        assert len(server.polled) == polls, "nobody looks"
        server.answers = [TOKENS]
        upkeep = build._upkeep(again)
        (job,) = [each for each in upkeep.jobs if each.name == "devices"]
        assert job.led
        assert await again.home.run(lambda: upkeep.round(job)) == 1
        for _ in range(1000):
            if await connected(again):
                break
            await asyncio.sleep(0.002)
        assert await connected(again)
        assert await again.home.run(lambda: upkeep.round(job)) == 0
        assert len(server.polled) == polls + 1
    finally:
        await asyncio.to_thread(build.use, None)


CODE = {"client_id": "me", "device_url": "https://github.test/device/code", "token_url": "https://github.test/token"}
DEVICE = {**CODE, "handler": "github-device"}


@pytest.fixture
async def without(clock: ManualClock) -> AsyncIterator[DeviceServer]:
    """A system whose settings choose no handler yet."""
    server = DeviceServer(clock)
    made = program(server)
    made.config.auth.github = CODE
    build.use(made)
    yield server
    await asyncio.to_thread(build.use, None)


async def test_a_handler_that_settings_choose_serves_though_a_link_of_another_is_open(without):
    pocket = Pocket(tools=[read_issues])
    (first,) = await pocket.initialize_tool_auth()
    assert "login/oauth/authorize" in first.url
    config().auth.github = DEVICE
    (then,) = await pocket.initialize_tool_auth()
    assert (then.url, then.user_code) == (PAGE, USER_CODE)
    config().auth.github = CODE
    (last,) = await pocket.initialize_tool_auth()
    assert "login/oauth/authorize" in last.url
    assert last.user_code == ""


async def test_a_link_of_the_handler_that_a_tool_names_stays_for_the_tools_that_name_none(without):
    (first,) = await Pocket(tools=[read_by_code]).initialize_tool_auth()
    (then,) = await Pocket(tools=[read_issues]).initialize_tool_auth()
    assert first == then
    assert len(without.asked) == 1
