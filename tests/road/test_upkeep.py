"""What runs by itself in a script, as long as that lives."""

import asyncio
from pathlib import Path

from tests.road.support import connected
from valetkey.settings.pocket import Config
from valetkey.wiring import build


def with_upkeep(clock):
    build.use(build.build(Config.load(Path.cwd(), {}), clock=clock, upkeep=True))


async def until(clock, step, so):
    async with asyncio.timeout(20):
        while not so():
            clock.advance(step)
            await asyncio.sleep(0.005)


async def test_a_token_is_refreshed_ahead_without_any_call(server, clock):
    with_upkeep(clock)
    pocket = await connected(server)
    clock.advance(3600 - 1080)
    assert server.refreshes == 0
    await until(clock, 1, lambda: server.refreshes == 1)
    (row,) = await pocket.system.stores.connections.page()
    assert row.expires_at is not None
    assert clock.now() < row.expires_at
    calls = server.refreshes
    assert (await pocket.ainvoke("read", {})).isdigit()
    assert server.refreshes == calls


async def test_a_revocation_that_the_provider_did_not_confirm_is_made_up_for(server, clock):
    with_upkeep(clock)
    pocket = await connected(server)
    server.stop()
    system = pocket.system
    (row,) = await system.stores.connections.page()
    report = await system.disconnector.disconnect(row.owner, row.provider, row.profile)
    assert (report.deleted, report.revoked, report.queued) == (True, False, True)
    assert len(await system.stores.revocations.page()) == 1
    server.start()
    left = [1]

    async def count():
        while left[0]:
            left[0] = len(await system.stores.revocations.page())
            await asyncio.sleep(0.01)

    counting = asyncio.create_task(count())
    await until(clock, 5, counting.done)
    assert not server.family_alive(server.issued[-1])
