"""What runs by itself: refresh ahead, revoke upstream, sweep, bring the journal home; one leader each."""

import asyncio
from dataclasses import replace

import pytest

from tests.connections.kit import Kit, advanced
from tests.stores.values import a_stop, a_token, an_interaction
from valetkey.adapters.memory import MemoryInteractions
from valetkey.adapters.memory_queues import MemoryLeaders
from valetkey.errors import ProviderUnavailable, RefreshFailed, StoreUnavailable
from valetkey.model.connections import Health
from valetkey.model.events import Swept
from valetkey.model.interactions import Phase
from valetkey.wiring import upkeep as module
from valetkey.wiring.stores import in_memory
from valetkey.wiring.upkeep import KEPT, TTL, UNSETTLED, Upkeep


@pytest.fixture
async def kit():
    return Kit()


class Home:
    """The upkeep of one process; ``beside`` another one over the same stores."""

    def __init__(self, kit, other=None):
        self.kit = kit
        self.stores = (
            other.stores
            if other
            else replace(
                in_memory(kit.clock),
                connections=kit.store,
                revocations=kit.revocations,
                interactions=MemoryInteractions(),
                leaders=MemoryLeaders(ticks=kit.clock.monotonic),
            )
        )
        self.resealed = 0
        self.upkeep = Upkeep(
            stores=self.stores,
            finder=kit,
            refresher=kit.refresher,
            rotations=kit.rotations,
            revoker=kit.revoker,
            reseal=self.reseal,
            follow=lambda row: None,
            clock=kit.clock,
            entropy=kit.dice,
            recorder=kit.recorder,
        )

    async def reseal(self):
        self.resealed += 1
        return 0

    def job(self, name):
        (found,) = [job for job in self.upkeep.jobs if job.name == name]
        return found

    async def round(self, name):
        return await self.upkeep.round(self.job(name))


def soft(kit):
    """What makes a connection due now."""
    return {"refresh_at": kit.clock.now()}


@pytest.mark.requirement("B4.ahead")
async def test_what_is_in_its_soft_window_is_refreshed_and_nothing_else(kit):
    home = Home(kit)
    due = await kit.connected(profile="due", **soft(kit))
    for profile, changes in {
        "young": {"refresh_at": kit.clock.now() + 1},
        "pasted": soft(kit) | {"refreshable": False},
        "dead": soft(kit) | {"health": Health.NEEDS_REAUTH},
        "waits": soft(kit) | {"next_try_at": kit.clock.now() + 1},
    }.items():
        await kit.connected(profile=profile, **changes)
    assert await home.round("refresh") == 1
    assert kit.handler.seen == ["rt-1"]
    assert (await kit.row(due)).generation == 2


async def test_more_than_a_batch_is_done_in_one_round(kit, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 3)
    for number in range(10):
        await kit.connected(profile=str(number), **soft(kit))
    assert await Home(kit).round("refresh") == 10
    assert await kit.store.due(now=kit.clock.now(), limit=99) == []


@pytest.mark.requirement("B4.ahead")
async def test_one_that_fails_is_left_to_its_pause_and_does_not_stop_the_others(kit):
    home = Home(kit)
    rows = [await kit.connected(profile=str(number), **soft(kit)) for number in range(4)]
    kit.handler.answers = [ProviderUnavailable("500"), RefreshFailed("invalid_grant")]
    assert await home.round("refresh") == 2
    assert await home.round("refresh") == 0
    states = [(await kit.row(row)).health for row in rows]
    assert sorted(states) == ["needs_reauth", "ok", "ok", "transient"]
    assert len(kit.handler.seen) == 4


async def test_one_that_failed_is_tried_again_when_its_pause_is_over(kit):
    home = Home(kit)
    row = await kit.connected(life=1, **soft(kit))
    kit.clock.advance(2)
    kit.handler.answers = [ProviderUnavailable("500")]
    assert await home.round("refresh") == 0
    kit.clock.advance(10)
    assert await home.round("refresh") == 1
    assert (await kit.row(row)).health is Health.OK


async def test_another_programs_accounts_are_passed_over_and_block_nothing(kit, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    for number in range(5):
        await kit.connected(profile=str(number), provider="theirs", refresh_at=0.0)
    ours = await kit.connected(profile="ours", **soft(kit))
    home = Home(kit)
    assert await home.round("refresh") == 1
    assert (await kit.row(ours)).generation == 2


@pytest.mark.requirement("R-37")
async def test_an_account_that_cannot_be_opened_here_blocks_nothing(kit):
    broken = await kit.connected(profile="broken", refresh_at=0.0)
    await kit.store.save(replace(broken, sealed=broken.sealed[:-1] + b"x"), generation=1)
    ours = await kit.connected(profile="ours", **soft(kit))
    home = Home(kit)
    assert await home.round("refresh") == 1
    assert await home.round("refresh") == 0
    assert (await kit.row(ours)).generation == 2


@pytest.mark.requirement("B4.leader")
async def test_one_process_leads_and_another_follows_when_it_is_gone(kit):
    first, second = Home(kit), None
    second = Home(kit.beside(), first)
    second.upkeep._me = "another"
    await kit.connected(profile="1", **soft(kit))
    assert await first.round("refresh") == 1
    await kit.connected(profile="2", **soft(kit))
    assert await second.round("refresh") == 0
    kit.clock.advance(TTL)
    assert await second.round("refresh") == 1
    assert await first.round("refresh") == 0


@pytest.mark.requirement("B4.revoking")
async def test_revocations_are_done_when_their_time_has_come(kit):
    home = Home(kit)
    row = await kit.connected()
    revocation = kit.revoker.prepare(row, kit.sealer.open_credential(row))
    await kit.store.delete(row.id, revocation=revocation)
    assert await home.round("revoke") == 1
    assert kit.handler.revoked == ["at-1"]
    assert await home.round("revoke") == 0


@pytest.mark.requirement("B4.sweeping")
async def test_questions_are_swept_a_day_after_their_end_and_answers_after_a_week(kit):
    home = Home(kit)
    now = kit.clock.now()
    old = [an_interaction(topic=phase, phase=phase, expires_at=now - KEPT - 1) for phase in Phase]
    young = an_interaction(topic="young", phase=Phase.DONE, expires_at=now - KEPT + 1)
    for row in (*old, young):
        await home.stores.interactions.open(row)
    assert await home.round("sweep") == len(Phase) - 2
    assert kit.recorder.of(Swept) == (Swept(rows=len(Phase) - 2),)
    kit.clock.advance(UNSETTLED)
    assert await home.round("sweep") == 3
    assert await home.stores.interactions.page() == []


@pytest.mark.requirement("B4.server")
async def test_tokens_stops_and_counts_are_swept_a_day_after_their_end(kit):
    home = Home(kit)
    now = kit.clock.now()
    for end in (now - KEPT - 1, now - KEPT + 1, None):
        await home.stores.tokens.insert(a_token(expires_at=end))
        await home.stores.stops.put(a_stop(target=str(end), ends_at=end))
    assert await home.round("sweep") == 2
    assert len(await home.stores.tokens.page()) == 2
    assert len(await home.stores.stops.since(0)) == 2


async def test_a_database_of_identity_that_nobody_opened_here_is_left_closed(kit):
    home = Home(kit)
    home.upkeep._stores = replace(home.stores, identity_opened=lambda: False)
    await home.stores.tokens.insert(a_token(expires_at=0.0))
    assert await home.round("sweep") == 0
    assert len(await home.stores.tokens.page()) == 1


@pytest.mark.requirement("B4.script")
async def test_all_of_it_runs_by_itself_until_it_is_ended_and_then_others_lead(kit):
    home = Home(kit)
    row = await kit.connected(**soft(kit))
    running = asyncio.create_task(home.upkeep.run())
    await advanced(kit.clock, 1.0, lambda: bool(kit.handler.seen and home.resealed))
    assert (await kit.row(row)).generation == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    for job in home.upkeep.jobs:
        assert await home.stores.leaders.lead(job.name, owner="another", ttl=TTL)


async def test_a_round_that_fails_is_told_and_the_next_one_comes(kit, caplog):
    home = Home(kit)
    rounds = []

    async def away(*, now, limit):
        rounds.append(now)
        if len(rounds) == 1:
            raise StoreUnavailable("The database is away.")
        raise ValueError("a bug")

    kit.store.due = away
    caplog.set_level("INFO", "valetkey")
    running = asyncio.create_task(home.upkeep.run())
    await advanced(kit.clock, 1.0, lambda: len(rounds) >= 3 and home.resealed > 0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert "upkeep (refresh) goes on later: The database is away." in caplog.text
    assert "upkeep (refresh) failed with ValueError" in caplog.text


async def test_processes_that_start_together_do_not_come_together(kit):
    kit.dice.fraction = 0.9
    home = Home(kit)
    await kit.connected(**soft(kit))
    began = kit.clock.monotonic()
    running = asyncio.create_task(home.upkeep.run())
    await advanced(kit.clock, 0.5, lambda: bool(kit.handler.seen))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert kit.clock.monotonic() - began >= 0.9 * home.job("refresh").every
