"""Many callers, one refresh; a process killed in the middle; two callbacks at once."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.road.support import Ports, client_section, connected, get, read, write_settings
from valetkey import Pocket, ProviderUnavailable
from valetkey.testing.oauth_server import OAuthServer


async def test_fifty_calls_on_an_expired_token_make_one_refresh(server, clock):
    pocket = await connected(server)
    clock.advance(3601)
    server.pause()
    calls = [asyncio.create_task(pocket.ainvoke("read", {})) for _ in range(50)]
    await asyncio.to_thread(server.wait_held, 1)
    server.resume()
    results = await asyncio.gather(*calls)
    assert len(set(results)) == 1
    assert results[0].isdigit()
    assert server.refreshes == 1
    assert server.family_alive(server.issued[-1])


async def test_while_one_refreshes_the_others_use_the_token_that_is_still_good(server, clock):
    pocket = await connected(server)
    clock.advance(3600 - 200)
    server.pause()
    first = asyncio.create_task(pocket.ainvoke("read", {}))
    await asyncio.to_thread(server.wait_held, 1)
    async with asyncio.timeout(5):
        assert (await pocket.ainvoke("read", {})).isdigit(), "it does not wait for the refresh"
    assert not first.done()
    server.resume()
    assert (await first).isdigit()
    assert server.refreshes == 1


async def test_a_cancelled_caller_does_not_lose_the_rotation(server, clock):
    pocket = await connected(server)
    clock.advance(3601)
    server.pause()
    first = asyncio.create_task(pocket.ainvoke("read", {}))
    await asyncio.to_thread(server.wait_held, 1)
    first.cancel()
    server.resume()
    assert (await pocket.ainvoke("read", {})).isdigit()
    assert server.refreshes == 1


async def test_a_provider_that_fails_loses_nothing(server, clock):
    pocket = await connected(server)
    clock.advance(3601)
    for fault in ({"status": 500}, {"html": True}, {"huge": True}, {"drop": True}, {"body": "", "status": 200}):
        server.fail_next(**fault)
        with pytest.raises(ProviderUnavailable):
            await pocket.ainvoke("read", {})
        # A connection that the fault before cut may have failed the call before the fault could.
        server.heal()
        clock.advance(301)
    assert (await pocket.ainvoke("read", {})).isdigit()
    assert server.refreshes >= 1
    assert server.family_alive(server.issued[-1])


@pytest.mark.requirement("R-33")
async def test_two_callbacks_of_one_flow_make_one_exchange(server):
    pocket = Pocket(tools=[read])
    (prompt,) = await pocket.initialize_tool_auth()
    callback = server.approve(prompt.url)
    pages = await asyncio.gather(*(asyncio.to_thread(get, callback) for _ in range(4)))
    assert min(page.status for page in pages) == 200
    assert {page.status for page in pages} <= {200, 400}
    assert server.exchanges == 1
    assert (await pocket.ainvoke("read", {})).isdigit()


PREPARE = """
    import asyncio, sys
    from valetkey import AuthProvider, Pocket, function_tool

    @function_tool(auth_provider=AuthProvider.GOOGLE, scopes=["https://www.googleapis.com/auth/calendar"])
    async def read(**kwargs) -> int:
        '''Read the calendar.'''
        return len(kwargs["GOOGLE_TOKEN"])

    async def main():
        pocket = Pocket(tools=[read])
        if sys.argv[1] == "prepare":
            (prompt,) = await pocket.initialize_tool_auth()
            print(prompt.url, flush=True)
            await asyncio.Event().wait()
        (prompt,) = await pocket.initialize_tool_auth()
        print(prompt.url, flush=True)
        await pocket.wait_tool_auth()
        print(await pocket.ainvoke("read", {}), flush=True)

    asyncio.run(main())
"""


@pytest.mark.requirement("R-20")
def test_killed_between_prepare_and_callback_the_old_link_finishes(ports: Ports):
    with OAuthServer() as server:
        write_settings(ports, client_section("google", server))
        Path("program.py").write_text(textwrap.dedent(PREPARE), "utf-8")

        def start(step: str) -> subprocess.Popen[str]:
            return subprocess.Popen(
                [sys.executable, "program.py", step], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
            )

        first = start("prepare")
        assert first.stdout is not None
        old = first.stdout.readline().strip()
        first.send_signal(signal.SIGKILL)
        first.wait()
        first.stdout.close()
        second = start("again")
        assert second.stdout is not None
        try:
            assert second.stdout.readline().strip() == old
            assert get(server.approve(old)).status == 200
            assert json.loads(second.stdout.readline()) > 20
            assert second.wait(timeout=20) == 0
        finally:
            second.kill()
            second.wait()
            second.stdout.close()
    assert server.exchanges == 1
