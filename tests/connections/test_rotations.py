"""A renewed credential is never thrown away, however long the database cannot take it."""

import pytest

from tests.connections.kit import LIFE, Kit
from valetkey.adapters.journal import FileJournal
from valetkey.errors import RefreshFailed, StoreUnavailable
from valetkey.model.events import Outcome, Refreshed


@pytest.fixture
def journal(tmp_path):
    return FileJournal(tmp_path, database="a database")


@pytest.fixture
async def kit(journal):
    return Kit(journal=journal)


class Away:
    """A store whose saves fail as long as it is away."""

    def __init__(self, kit, monkeypatch):
        self.refused = 0
        self.away = True
        save = kit.store.save

        async def refusing(connection, *, generation):
            if self.away:
                self.refused += 1
                raise StoreUnavailable("The database is away.")
            return await save(connection, generation=generation)

        monkeypatch.setattr(kit.store, "save", refusing)


async def renewed_while_away(kit, away):
    row = await kit.connected()
    kit.clock.advance(LIFE + 1)
    new = await kit.fresh(row)
    assert kit.token(new) == "at-2"
    assert away.refused == 1
    assert (await kit.row(row)).generation == 1
    return row, new


@pytest.mark.requirement("B1.journal")
async def test_callers_get_the_new_token_although_the_database_could_not_take_it(kit, journal, monkeypatch):
    away = Away(kit, monkeypatch)
    row, new = await renewed_while_away(kit, away)
    assert await kit.fresh(row) == new
    assert kit.handler.seen == ["rt-1"]
    assert journal.of(row.id) == (new, 1)
    assert [event.outcome for event in kit.recorder.of(Refreshed)] == [Outcome.JOURNALED]


@pytest.mark.requirement("rel.journal-home")
async def test_it_reaches_the_row_as_soon_as_that_can_be(kit, journal, monkeypatch):
    away = Away(kit, monkeypatch)
    row, new = await renewed_while_away(kit, away)
    assert await kit.rotations.replay() == 1
    away.away = False
    assert await kit.rotations.replay() == 0
    assert await kit.row(row) == new
    assert journal.entries() == []


@pytest.mark.requirement("B1.journal-first")
async def test_another_process_brings_it_home_before_it_refreshes(kit, journal, monkeypatch):
    away = Away(kit, monkeypatch)
    row, new = await renewed_while_away(kit, away)
    away.away = False
    other = kit.beside()
    assert kit.token(await other.fresh(row)) == "at-2"
    assert kit.handler.seen == ["rt-1"]
    assert await kit.row(row) == new
    assert journal.entries() == []


@pytest.mark.requirement("B1.journal")
async def test_what_the_disk_cannot_take_either_this_process_holds(kit, journal, monkeypatch):
    away = Away(kit, monkeypatch)

    def full(connection, *, generation):
        raise StoreUnavailable("The journal cannot be written: no space.")

    monkeypatch.setattr(journal, "put", full)
    row, new = await renewed_while_away(kit, away)
    assert await kit.fresh(row) == new
    away.away = False
    assert await kit.rotations.replay() == 0
    assert await kit.row(row) == new


async def test_a_save_whose_acknowledgement_was_lost_is_one_that_came_through(kit, journal, monkeypatch):
    row = await kit.connected()
    kit.clock.advance(LIFE + 1)
    save = kit.store.save

    async def unacknowledged(connection, *, generation):
        await save(connection, generation=generation)
        raise StoreUnavailable("The connection to the database broke.")

    monkeypatch.setattr(kit.store, "save", unacknowledged)
    new = await kit.fresh(row)
    monkeypatch.setattr(kit.store, "save", save)
    assert await kit.rotations.replay() == 0
    assert await kit.row(row) == new
    assert kit.handler.revoked == []


async def test_a_connection_that_was_deleted_meanwhile_has_it_revoked(kit, journal, monkeypatch):
    away = Away(kit, monkeypatch)
    row, _ = await renewed_while_away(kit, away)
    await kit.store.delete(row.id)
    away.away = False
    assert await kit.rotations.replay() == 0
    assert await kit.store.by_id(row.id) is None
    assert kit.handler.revoked == ["at-2"]
    assert journal.entries() == []


@pytest.mark.requirement("B1.journal-first")
async def test_a_row_that_moved_on_meanwhile_stays_and_nothing_is_revoked(kit, journal, monkeypatch):
    away = Away(kit, monkeypatch)
    row, _ = await renewed_while_away(kit, away)
    away.away = False
    other = Kit(kit, journal=FileJournal(journal._folder / "elsewhere", database="a database"))
    kit.handler.answers = [kit.handler.grants(7)]
    kit.clock.advance(60)
    assert kit.token(await other.fresh(row)) == "at-7"
    assert await kit.rotations.replay() == 0
    assert kit.token(await kit.row(row)) == "at-7"
    assert journal.entries() == []
    assert kit.handler.revoked == []


async def test_a_waiting_one_does_not_stand_above_a_newer_row(kit, journal, monkeypatch):
    away = Away(kit, monkeypatch)
    row, _ = await renewed_while_away(kit, away)
    away.away = False
    other = Kit(kit, journal=FileJournal(journal._folder / "elsewhere", database="a database"))
    kit.handler.answers = [kit.handler.grants(7)]
    kit.clock.advance(60)
    newer = await other.fresh(row)
    assert await kit.fresh(row) == newer
    assert journal.entries() == []


async def test_what_waits_for_a_deleted_connection_gives_nobody_a_token(kit, monkeypatch):
    away = Away(kit, monkeypatch)
    row, _ = await renewed_while_away(kit, away)
    await kit.store.delete(row.id)
    with pytest.raises(RefreshFailed):
        await kit.fresh(row)
