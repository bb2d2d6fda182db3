"""What chaos runs found, each as small as it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.connections.kit import LIFE, Kit, advanced
from tests.connections.system import allowed, held, made
from valetkey.adapters.journal import FileJournal
from valetkey.connections import rotations
from valetkey.errors import ExchangeFailed, ProviderUnavailable, RefreshFailed
from valetkey.model.calls import Connected
from valetkey.model.connections import Cause, Health
from valetkey.model.needs import Need
from valetkey.testing.clock import ManualClock


async def test_a_token_that_another_renewed_and_that_has_ended_since_is_renewed_again() -> None:
    """A machine that slept in the middle of a call: its 401 met a newer token, which had ended, too."""
    kit = Kit()
    seen = await kit.connected()
    kit.clock.advance(LIFE + 1)
    await kit.beside().fresh(seen)
    kit.clock.advance(LIFE + 1)
    new = await kit.fresh(seen, rejected=True)
    assert (new.generation, kit.token(new)) == (3, "at-3")


@pytest.mark.requirement("rel.rejected")
async def test_a_401_for_a_token_that_ends_on_its_way_says_nothing_about_the_account(home: Path) -> None:
    clock = ManualClock()
    system = made(clock)
    try:
        row = await held(system, ends_in=100.0)
        connected = Connected(allowed=allowed(Need(provider="google")), connections=(row,))
        clock.advance(99.0)
        await system.connector.give_up(connected)
        after = await system.stores.connections.by_id(row.id)
        assert after is not None
        assert after.health is Health.OK
    finally:
        system.close()


@pytest.mark.requirement("rel.rejected")
async def test_a_401_for_a_token_that_was_just_obtained_is_the_account_s(home: Path) -> None:
    clock = ManualClock()
    system = made(clock)
    try:
        row = await held(system, ends_in=100.0)
        await system.connector.give_up(Connected(allowed=allowed(Need(provider="google")), connections=(row,)))
        after = await system.stores.connections.by_id(row.id)
        assert after is not None
        assert after.health is Health.NEEDS_REAUTH
    finally:
        system.close()


@pytest.mark.requirement("B1.journal-in-time")
async def test_what_the_database_takes_too_long_to_save_is_in_the_journal_while_the_lease_holds(
    tmp_path: Path, monkeypatch
) -> None:
    """Writes stand in line behind a lock; at its end another process could take the lease before the save."""
    monkeypatch.setattr(rotations, "SAVE", 0.05)
    journal = FileJournal(tmp_path, database="a database")
    kit = Kit(journal=journal)
    row = await kit.connected()
    kit.clock.advance(LIFE + 1)
    unlocked = asyncio.Event()
    save = kit.store.save

    async def in_line(connection, *, generation):
        await unlocked.wait()
        return await save(connection, generation=generation)

    monkeypatch.setattr(kit.store, "save", in_line)
    new = await kit.fresh(row)
    assert journal.of(row.id) == (new, 1)
    unlocked.set()
    assert await kit.rotations.replay() == 0
    assert (await kit.row(row)).generation == 2


@pytest.mark.requirement("B1.journal-first")
async def test_who_waited_for_the_lease_looks_into_the_journal_before_it_sends(tmp_path: Path, monkeypatch) -> None:
    """Between its look and its lease, the last holder's rotation came into the journal."""
    journal = FileJournal(tmp_path, database="a database")
    kit = Kit(journal=journal)
    row = await kit.connected()
    kit.clock.advance(LIFE + 1)
    renewed = kit.refresher._renewed(row, kit.handler, kit.handler.grants(2))
    lease = kit.store.lease

    async def late(connection_id, **how):
        journal.put(renewed, generation=1)
        return await lease(connection_id, **how)

    monkeypatch.setattr(kit.store, "lease", late)
    waiting = asyncio.create_task(kit.fresh(row))
    await advanced(kit.clock, 0.05, waiting.done)
    new = await waiting
    assert kit.handler.seen == []
    assert kit.token(new) == "at-2"
    assert (await kit.row(row)).lease_owner == ""


@pytest.mark.requirement("B1.lost-after-look")
async def test_an_attempt_that_began_and_was_lost_after_the_look_is_remembered() -> None:
    """Seed 2027 (SQLite, strict): a lock held back a lease, and another one's answer was lost meanwhile."""
    kit = Kit()
    row = await kit.connected()
    other = kit.beside()
    kit.clock.advance(LIFE + 1)
    lease = kit.store.lease

    async def late(connection_id, **how):
        kit.store.lease = lease  # type: ignore[method-assign]
        kit.handler.answers = [ExchangeFailed("The answer was lost.", sent=True)]
        with pytest.raises(ExchangeFailed):
            await other.fresh(row)
        kit.handler.answers = [RefreshFailed("The provider says invalid_grant.")]
        return await lease(connection_id, **how)

    kit.store.lease = late  # type: ignore[method-assign]
    call = asyncio.create_task(kit.fresh(row))
    await advanced(kit.clock, 0.02, call.done)
    with pytest.raises(ProviderUnavailable) as told:
        call.result()
    kit.clock.advance(told.value.retry_after or 0.0)
    with pytest.raises(RefreshFailed):
        await kit.fresh(row)
    assert (await kit.row(row)).cause is Cause.LOST_ROTATION
