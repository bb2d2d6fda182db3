"""A tool call with a person's own account, end to end, in one process."""

import asyncio
import json

import pytest

from tests.road.support import get
from valetkey import AuthProvider, AuthRefused, Pocket, function_tool
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build

SCOPE = "https://www.googleapis.com/auth/calendar"


@function_tool(auth_provider=AuthProvider.SLACK)
def read_slack(**kwargs):
    """Read Slack."""
    return {"token": kwargs["SLACK_BOT_TOKEN"], "thread": kwargs["thread_id"]}


@function_tool(auth_provider=AuthProvider.GOOGLE, scopes=[SCOPE])
async def read_google(day: str, GOOGLE_TOKEN: str) -> str:  # noqa: N803
    """Read the calendar.

    Args:
        day: which day
    """
    return f"{day}: {len(GOOGLE_TOKEN)} characters"


async def connect(pocket: Pocket, *servers: OAuthServer, thread_id: str = "default") -> None:
    prompts = await pocket.initialize_tool_auth(thread_id)
    by_port = {str(server.port): server for server in servers}
    for prompt in prompts:
        server = next(server for port, server in by_port.items() if f":{port}/" in prompt.url)
        page = await asyncio.to_thread(get, server.approve(prompt.url))
        assert page.status == 200, page.body
    assert await pocket.wait_tool_auth(thread_id) is True


async def test_a_tool_runs_with_the_account_that_a_person_connected(both):
    slack, google = both
    with Pocket(tools=[read_slack, read_google]) as pocket:
        asked, paused = await pocket.ainvoke_with_state("read_slack", {})
        assert paused
        assert asked.startswith("User needs to authenticate using the following URL: " + slack.authorize_url)

        await connect(pocket, slack, google)

        assert await pocket.ainvoke("read_google", {"day": "monday"}) == f"monday: {len(google.issued[0])} characters"
        result = await pocket.ainvoke("read_slack", {})
    assert json.loads(result) == {"token": "***", "thread": "default"}
    assert slack.exchanges == google.exchanges == 1


async def test_the_prompts_are_one_for_each_provider_and_print_as_the_seed_prints_them(both):
    slack, _ = both
    with Pocket(tools=[read_slack, read_google]) as pocket:
        first, second = await pocket.initialize_tool_auth()
        again, _ = await pocket.initialize_tool_auth()
    assert first == f"User needs to authenticate using the following URL: {first.url}"
    assert (first.provider, second.provider) == ("slack", "google")
    assert first.url.startswith(slack.authorize_url)
    assert again == first, "a flow that waits keeps its link"


async def test_a_refusal_ends_the_wait_at_once(both):
    slack, _ = both
    with Pocket(tools=[read_slack, read_google]) as pocket:
        prompts = await pocket.initialize_tool_auth()
        waiting = asyncio.create_task(pocket.wait_tool_auth())
        page = await asyncio.to_thread(get, slack.deny(prompts[0].url))
        assert page.status == 403
        async with asyncio.timeout(5):
            with pytest.raises(AuthRefused):
                await waiting
        assert (await pocket.ainvoke_with_state("read_slack", {}))[1], "and the tool can be asked for again"


async def test_the_account_is_still_there_for_a_new_system_over_the_same_folder(both):
    slack, google = both
    with Pocket(tools=[read_slack, read_google]) as pocket:
        await connect(pocket, slack, google)
    build.use(None)
    with Pocket(tools=[read_slack]) as again:
        assert "***" in await again.ainvoke("read_slack", {})
    assert slack.exchanges == 1


async def test_threads_do_not_share_accounts(both):
    slack, google = both
    with Pocket(tools=[read_slack]) as pocket:
        await connect(pocket, slack, google, thread_id="ann")
        assert (await pocket.ainvoke_with_state("read_slack", {}, thread_id="bob"))[1]
        assert not (await pocket.ainvoke_with_state("read_slack", {}, thread_id="ann"))[1]
