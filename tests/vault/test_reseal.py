"""The walk: everything is sealed anew, nothing is lost, and what cannot be opened fails alone (R-23, V-06, R-37)."""

import itertools
import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stores.values import Stores, in_memory, in_sql, in_sqlite
from tests.vault.keys import FULL, Dice, Given
from tests.vault.rows import Vault, token
from valetkey.adapters.keys_file import FileKeys
from valetkey.adapters.sql.sqlite import SqliteDatabase
from valetkey.adapters.system import SystemClock
from valetkey.errors import KeyUnavailable, VaultError
from valetkey.model.connections import Cause, Health, Sealed, Standing, key_id_of
from valetkey.model.events import Resealed, Unreadable
from valetkey.secret import Secret
from valetkey.services.environs import Environs
from valetkey.testing.clock import ManualClock
from valetkey.vault import held, reseal
from valetkey.vault.held import Held
from valetkey.vault.reseal import TTL, WORK, Progress
from valetkey.vault.variables import bound, written


@pytest.fixture(params=["memory", "sqlite"])
def stores(request: pytest.FixtureRequest, home: Path) -> Iterator[Stores]:
    made = in_memory() if request.param == "memory" else in_sqlite(home / "valetkey.db")
    yield made
    made.close()


@pytest.fixture
def vault(stores: Stores) -> Vault:
    return Vault(stores, Given("k1"))


def rotated(vault: Vault, *ids: str) -> Vault:
    """The same stores, as a process sees them whose source has these keys."""
    return Vault(vault.stores, Given(*ids))


async def test_everything_is_sealed_anew_with_the_newest_key(vault):
    await vault.fill(5)
    newer = rotated(vault, "k2", "k1")
    told: list[Progress] = []
    progress = await newer.resealer.walk(told.append)
    assert progress == Progress(led=True, done=15, left=0)
    assert await vault.keys() == {"k2"}
    assert await rotated(vault, "k2").open_all() == 15  # without the old key
    assert told[-1].done == 15
    assert [each.done + each.left for each in told] == [15] * len(told)
    assert sum(event.rows for event in newer.events.seen if isinstance(event, Resealed)) == 15


@pytest.mark.requirement("B3.generation")
async def test_nothing_but_what_is_sealed_changes(vault):
    rows = [await vault.keep(generation=7), await vault.keep()]
    asked, owed = await vault.ask(), await vault.owe()
    at = Standing(
        health=Health.TRANSIENT, cause=Cause.UNAVAILABLE, reason="no answer", fail_count=3, next_try_at=9.0, at=8.0
    )
    await vault.stores.connections.note(rows[0].id, generation=7, standing=at)
    assert await vault.stores.connections.lease(rows[1].id, generation=1, owner="me", attempt="a", now=5.0, ttl=20)
    before = {row.id: row for row in await vault.stores.connections.page()}
    await rotated(vault, "k2", "k1").resealer.walk()
    for row in await vault.stores.connections.page():
        assert key_id_of(row.sealed) == "k2"
        assert replace(row, sealed=before[row.id].sealed) == before[row.id]
    (kept,) = await vault.stores.interactions.page()
    assert replace(kept, payload=asked.payload, answer=asked.answer) == asked
    (still,) = await vault.stores.revocations.page()
    assert replace(still, sealed=owed.sealed) == owed


async def test_a_second_walk_finds_nothing_to_do(vault):
    await vault.fill()
    newer = rotated(vault, "k2", "k1")
    await newer.resealer.walk()
    before = [row.sealed for row in await vault.stores.connections.page()]
    newer.events.seen.clear()
    assert await newer.resealer.walk() == Progress()
    assert [row.sealed for row in await vault.stores.connections.page()] == before
    assert newer.events.seen == []


async def test_what_a_newer_version_wrote_into_a_credential_stays(vault):
    row = await vault.keep()
    bound = ("connection", row.owner.workspace, row.owner.issuer, row.owner.subject, row.id, 1, row.provider)
    text = vault.sealer.open(row.sealed, bound).reveal()
    odd = vault.sealer.seal(type(FULL.access_token)(text[:-1] + ',"of_tomorrow":[1]}'), bound=bound)
    assert await vault.stores.connections.save(replace(row, sealed=odd), generation=1)
    newer = rotated(vault, "k2", "k1")
    await newer.resealer.walk()
    (row,) = await vault.stores.connections.page()
    assert newer.sealer.open(row.sealed, bound).reveal().endswith(',"of_tomorrow":[1]}')


async def test_the_variables_of_workspaces_are_sealed_anew(vault):
    """R-23: rows of a workspace hold secrets, too."""
    row, plain = await vault.share(3), await vault.share(0)
    newer = rotated(vault, "k2", "k1")
    assert (await newer.holdings.count())["k1"] == Held(variables=3)
    assert (await newer.holdings.count())["k1"].needed
    told: list[Progress] = []
    assert await newer.resealer.walk(told.append) == Progress(done=1)
    assert await newer.holdings.count() == {"k2": Held(variables=3)}
    alone = rotated(vault, "k2")  # the old key has been removed
    kept = await vault.stores.identity.workspaces.get(row.id)
    assert Environs(alone.sealer).all(kept) == {f"V{number}": f"{row.id} {number}" for number in range(3)}
    assert kept.model_copy(update={"config": row.config}) == row
    assert await vault.stores.identity.workspaces.get(plain.id) == plain
    assert await newer.resealer.walk() == Progress()


async def test_a_variable_that_does_not_open_does_not_stop_the_others(vault):
    row = await vault.share(2)
    lost = rotated(vault, "gone")
    config = dict(row.config)
    config["environs"] = {
        **config["environs"],
        "LOST": written(lost.sealer.seal(Secret("x"), bound=bound(row.id, "LOST"))),
        "ODD": "no base64",
    }
    mixed = row.model_copy(update={"config": config})
    assert await vault.stores.identity.workspaces.save(mixed, was=row)
    newer = rotated(vault, "k2", "k1")
    progress = await newer.resealer.walk()
    assert (progress.done, progress.failed) == (0, 1)
    assert await newer.holdings.count() == {
        "": Held(variables=1),
        "gone": Held(variables=1),
        "k2": Held(variables=2),
    }
    assert [event.what for event in newer.events.seen if isinstance(event, Unreadable)] == ["workspace"]


async def test_a_variable_that_is_set_while_its_row_is_sealed_anew_stays(vault, monkeypatch):
    """Whatever somebody saved meanwhile stays: the row is walked again."""
    row = await vault.share(1)
    newer = rotated(vault, "k2", "k1")
    store = vault.stores.identity.workspaces
    reseal, others = newer.sealer.reseal, []

    def meanwhile(sealed, place):
        others.append(place)
        return reseal(sealed, place)

    async def save(newer_row, *, was, plain=store.save):
        if len(others) == 1:
            newest = (await store.get(row.id)).model_copy(deep=True)
            Environs(vault.sealer).put(newest, "NEW", "from elsewhere")
            assert await plain(newest, was=await store.get(row.id))
            others.append("somebody")
        return await plain(newer_row, was=was)

    monkeypatch.setattr(newer.sealer, "reseal", meanwhile)
    monkeypatch.setattr(store, "save", save)
    assert (await newer.resealer.walk()).left == 0
    kept = await store.get(row.id)
    assert Environs(rotated(vault, "k2").sealer).all(kept) == {"V0": f"{row.id} 0", "NEW": "from elsewhere"}


@pytest.mark.requirement("B3.lost-key")
async def test_rows_of_a_lost_key_fail_alone_and_say_so(vault, caplog):
    """R-37, V-06."""
    lost = rotated(vault, "gone")
    await lost.fill(2)
    await vault.fill(3)
    newer = rotated(vault, "k2", "k1")
    progress = await newer.resealer.walk()
    assert progress == Progress(done=9, left=0, lost={"gone": 6})
    assert progress.failed == 6
    assert await vault.keys() == {"k2", "gone"}
    row = next(row for row in await vault.stores.connections.page() if key_id_of(row.sealed) == "gone")
    with pytest.raises(KeyUnavailable, match="gone"):
        newer.sealer.open_credential(row)
    kinds = [event.what for event in newer.events.seen if isinstance(event, Unreadable)]
    assert sorted(kinds) == ["connection"] * 2 + ["interaction"] * 2 + ["revocation"] * 2
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage() == "6 stored rows need the vault key gone, which is not here."


async def test_the_alarm_for_a_lost_row_is_given_once_and_the_row_is_counted_every_time(vault, caplog):
    await rotated(vault, "gone").keep()
    newer = rotated(vault, "k2", "k1")
    for _ in range(3):
        assert (await newer.resealer.walk()).lost == {"gone": 1}
    assert len([event for event in newer.events.seen if isinstance(event, Unreadable)]) == 1
    assert len(caplog.records) == 1


async def test_the_alarm_for_a_damaged_row_is_given_once_too(vault, caplog):
    row = await vault.keep()
    assert await vault.stores.connections.reseal([(row, Sealed(row.sealed[:-1] + b"x"))]) == 1
    newer = rotated(vault, "k2", "k1")
    for _ in range(3):
        assert (await newer.resealer.walk()).damaged == 1
    assert newer.events.seen == [Unreadable(what="connection"), Resealed(rows=0, failed=1)]
    assert len(caplog.records) == 1


@pytest.mark.requirement("B3.lost-key")
async def test_a_lost_key_that_is_put_back_opens_its_rows_again(vault):
    await rotated(vault, "gone").fill(2)
    source = Given("k2")
    newer = Vault(vault.stores, source)
    assert (await newer.resealer.walk()).failed == 6
    source.ids.append("gone")
    newer.sealer.keyring.reload()
    newer.clock.advance(reseal.THOROUGH_EVERY)
    assert (await newer.resealer.walk()).done == 6
    assert await newer.keys() == {"k2"}


@pytest.mark.requirement("R-37")
async def test_a_flipped_byte_fails_its_row_alone_and_says_so(vault, caplog):
    """R-37."""
    await vault.fill(3)
    row = (await vault.stores.connections.page())[1]
    for place in (2, -1):  # in the key id, in the tag
        spoiled = bytearray(row.sealed)
        spoiled[place] ^= 1
        current = await vault.stores.connections.by_id(row.id)
        assert await vault.stores.connections.reseal([(current, Sealed(bytes(spoiled)))]) == 1
        caplog.clear()
        newer = rotated(vault, "k2", "k1")
        progress = await newer.resealer.walk()
        assert progress.failed == 1
        assert [event.what for event in newer.events.seen if isinstance(event, Unreadable)] == ["connection"]
        assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
        readable = [row.id for row in await vault.stores.connections.page()]
        assert row.id in readable
    others = [each for each in await vault.stores.connections.page() if each.id != row.id]
    assert [newer.sealer.open_credential(each) for each in others] == [FULL, FULL]


@pytest.mark.requirement("B3.generation")
async def test_a_credential_that_was_renewed_meanwhile_stays(vault):
    """The save comes between reading the row and sealing it anew: compare-and-set lets the newer one win."""
    rows = [await vault.keep() for _ in range(6)]
    newer = rotated(vault, "k2", "k1")
    again = newer.sealer.reseal_connection
    renewed = {}

    def slow(row):
        sealed = again(row)
        if row.id in {rows[1].id, rows[4].id} and row.id not in renewed:
            generation = row.generation + 1
            next_row = replace(row, generation=generation)
            renewed[row.id] = next_row
        return sealed

    reseal_rows = vault.stores.connections.reseal

    async def racing(changes):
        for row, _ in changes:
            if row.id in renewed and row.generation == 1:
                # one by a process that already writes with the new key, one by a process that does not yet
                by = newer if row.id == rows[1].id else vault
                after = renewed[row.id]
                after = replace(after, sealed=by.sealed(after, token(f"renewed {row.id}")))
                assert await vault.stores.connections.save(after, generation=1)
        return await reseal_rows(changes)

    newer.sealer.reseal_connection = slow  # type: ignore[method-assign]
    vault.stores.connections.reseal = racing
    progress = await newer.resealer.walk()
    assert (progress.left, progress.failed) == (0, 0)
    assert await vault.keys() == {"k2"}
    for row in await vault.stores.connections.page():
        opened = newer.sealer.open_credential(row)
        if row.id in renewed:
            assert row.generation == 2
            assert opened == token(f"renewed {row.id}")
        else:
            assert (row.generation, opened) == (1, FULL)


async def test_a_question_that_was_answered_meanwhile_stays_answered(vault):
    asked = await vault.ask(answered=False)
    newer = rotated(vault, "k2", "k1")
    again = vault.stores.interactions.reseal
    calls: list[object] = []

    async def racing(row, **parts):
        if not calls:
            sealed = vault.sealer.seal_private(
                {"part": "answer", "id": asked.id}, interaction_id=asked.id, owner=asked.owner, part="answer"
            )
            assert await vault.stores.interactions.save(replace(row, answer=sealed, version=2), version=1)
        calls.append(row)
        return await again(row, **parts)

    vault.stores.interactions.reseal = racing
    await newer.resealer.walk()
    assert await vault.keys() == {"k2"}
    (row,) = await vault.stores.interactions.page()
    assert newer.sealer.open_private(row, "answer") == {"part": "answer", "id": asked.id}
    assert len(calls) == 2


async def test_a_key_that_is_added_during_the_walk_gets_everything(vault, monkeypatch):
    monkeypatch.setattr(held, "BATCH", 2)
    await vault.fill(4)
    source = Given("k2", "k1")
    newer = Vault(vault.stores, source)

    def tell(progress: Progress) -> None:
        if source.ids[0] == "k2" and progress.done >= 4:
            source.ids.insert(0, "k3")
            newer.sealer.keyring.reload()

    await newer.resealer.walk(tell)
    assert await newer.keys() == {"k3"}


@pytest.mark.requirement("B3.led")
async def test_one_process_walks_and_another_is_told_so(vault):
    await vault.fill()
    assert await vault.stores.leaders.lead(WORK, owner="another", ttl=TTL)
    newer = rotated(vault, "k2", "k1")
    assert await newer.resealer.walk() == Progress(led=False)
    assert await vault.keys() == {"k1"}
    await vault.stores.leaders.resign(WORK, owner="another")
    assert (await newer.resealer.walk()).done == 9
    assert (await rotated(vault, "k3", "k2").resealer.walk()).done == 9  # it let others lead


@pytest.mark.requirement("B3.led")
async def test_it_stays_the_leader_as_long_as_it_walks(vault, monkeypatch):
    monkeypatch.setattr(held, "BATCH", 1)
    await vault.fill(8)
    clock = ManualClock()
    newer = Vault(vault.stores, Given("k2", "k1"), clock=clock)
    renewed: list[float] = []
    lead = vault.stores.leaders.lead

    async def counted(name, *, owner, ttl):
        renewed.append(clock.monotonic())
        return await lead(name, owner=owner, ttl=ttl)

    vault.stores.leaders.lead = counted
    await newer.resealer.walk(lambda progress: clock.advance(5))
    assert renewed[0] == 0
    assert len(renewed) > 5
    assert all(later - earlier <= TTL / 2 for earlier, later in itertools.pairwise(renewed))


@pytest.mark.requirement("B3.led")
async def test_one_that_leads_no_longer_ends_and_says_so(vault, monkeypatch):
    monkeypatch.setattr(held, "BATCH", 1)
    await vault.fill(4)
    clock = ManualClock()
    newer = Vault(vault.stores, Given("k2", "k1"), clock=clock)
    answers = iter([True, False])

    async def lead(name, *, owner, ttl):
        return next(answers)

    vault.stores.leaders.lead = lead
    progress = await newer.resealer.walk(lambda progress: clock.advance(TTL))
    assert (progress.led, progress.done) == (False, 1)


async def test_upkeep_looks_through_the_questions_seldom(vault):
    newer = rotated(vault, "k2", "k1")
    await newer.resealer.walk()
    looked = []
    page = vault.stores.interactions.page

    async def counted(**where):
        looked.append(where)
        return await page(**where)

    vault.stores.interactions.page = counted
    await vault.fill(1)  # by a process that is late
    assert (await newer.resealer.walk()).done == 1
    assert looked == []
    newer.clock.advance(reseal.THOROUGH_EVERY)
    assert (await newer.resealer.walk()).done == 2
    assert await vault.keys() == {"k2"}


async def test_holdings_count_every_row_by_its_keys(vault, home):
    await vault.fill(2)
    newer = rotated(vault, "k2", "k1")
    row = await newer.keep()
    newer.journal.put(replace(row, sealed=vault.sealed(row)), generation=1)
    expected = {
        "k1": Held(connections=2, interactions=2, revocations=2, waiting=1),
        "k2": Held(connections=1, interactions=0, revocations=0),
    }
    assert await newer.holdings.count() == await newer.holdings.count(thorough=True) == expected
    assert expected["k1"].total == 7


async def test_a_row_whose_key_the_database_noted_wrongly_is_found_by_a_thorough_count(home):
    stores = in_sqlite(home / "valetkey.db")
    vault = Vault(stores, Given("k1"))
    row = await vault.keep()
    with sqlite3.connect(home / "valetkey.db") as database:
        database.execute("UPDATE connections SET key_id = 'k2' WHERE id = ?", (row.id,))
    database.close()
    assert set(await vault.holdings.count()) == {"k2"}
    assert (await vault.holdings.count(thorough=True))["k1"].connections == 1
    stores.close()


@pytest.mark.requirement("V-06")
async def test_after_the_old_key_is_dropped_all_is_readable_and_the_old_key_is_nowhere(home):
    """V-06."""
    stores = in_sqlite(home / "valetkey.db")
    source = FileKeys(home / "vault.keys", entropy=Dice(), clock=ManualClock())
    vault = Vault(stores, source)
    await vault.fill(3)
    (old,) = source.keys()
    source.add()
    vault.sealer.keyring.reload()
    await vault.resealer.walk()
    assert list(await vault.holdings.count(thorough=True)) == [vault.sealer.keyring.newest]
    source.remove(old.id)
    stores.close()

    again = in_sqlite(home / "valetkey.db")
    fresh = Vault(again, FileKeys(home / "vault.keys", entropy=Dice(), clock=ManualClock()))
    assert await fresh.open_all() == 9
    again.close()
    line = (old.id.encode(), old.material)
    for path in home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(part in content for part in line), path.name


WALK = """
import asyncio, sys
from pathlib import Path
from tests.stores.values import in_sqlite
from tests.vault.keys import Dice
from tests.vault.rows import Vault
from valetkey.adapters.keys_file import FileKeys
from valetkey.adapters.system import SystemClock, SystemEntropy
from valetkey.vault import held

held.BATCH = 3
home = Path(sys.argv[1])
vault = Vault(in_sqlite(home / "valetkey.db"), FileKeys(home / "vault.keys", entropy=Dice(), clock=SystemClock()))

def tell(progress):
    print(progress.done, flush=True)
    sys.stdin.readline()  # goes on when it is told to

asyncio.run(vault.resealer.walk(tell))
"""


@pytest.mark.requirement("B.shown-rotation", "R-23", "V-06")
async def test_a_walk_that_was_killed_is_gone_on_with(home):
    """R-23: SIGKILL, in a process of its own, in the middle."""
    stores = in_sqlite(home / "valetkey.db")
    source = FileKeys(home / "vault.keys", entropy=Dice(), clock=ManualClock())
    vault = Vault(stores, source)
    await vault.fill(10)
    (old,) = source.keys()
    new = source.add()
    process = subprocess.Popen(  # noqa: ASYNC220 - the loop has nothing else to do
        [sys.executable, "-c", WALK, str(home)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    for expected in (3, 6):
        assert process.stdout.readline() == f"{expected}\n"
        process.stdin.write("\n")
        process.stdin.flush()
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    process.stdin.close()
    process.stdout.close()

    vault.sealer.keyring.reload()
    assert await vault.keys() == {old.id, new.id}
    assert await vault.open_all() == 30
    # For a while it counts as the leader; the store's clock, handed in, tells when that is over.
    assert not (await vault.resealer.walk()).led
    stores.close()
    later = in_sql(database := SqliteDatabase(home / "valetkey.db", ticks=lambda: SystemClock().monotonic() + TTL))
    vault = Vault(later, source)
    progress = await vault.resealer.walk()
    assert progress.led
    assert 18 <= progress.done <= 24
    assert await vault.keys() == {new.id}
    source.remove(old.id)
    assert await Vault(later, source).open_all() == 30
    database.close()


@pytest.mark.requirement("B.shown-moved", "V-02")
@pytest.mark.parametrize("kind", ["row", "owner", "workspace", "generation", "kind"])
async def test_a_ciphertext_that_was_moved_does_not_open_and_is_not_sealed_anew(stores, kind):
    """V-02: not in the row that it was moved to, and not by the walk either."""
    vault = Vault(stores, Given("k1"))
    mine, other = await vault.keep(), await vault.keep()
    if kind == "row":
        taken = other.sealed
    elif kind == "kind":
        taken = vault.sealer.seal_revocation(FULL, revocation_id=mine.id, owner=mine.owner, provider=mine.provider)
    else:
        wrong = {
            "owner": replace(mine, owner=replace(mine.owner, subject="mallory")),
            "workspace": replace(mine, owner=replace(mine.owner, workspace="other")),
            "generation": replace(mine, generation=2),
        }[kind]
        taken = vault.sealed(wrong)
    assert await stores.connections.reseal([(mine, taken)]) == 1
    newer = rotated(vault, "k2", "k1")
    progress = await newer.resealer.walk()
    assert (progress.done, progress.damaged) == (1, 1)
    row = await stores.connections.by_id(mine.id)
    assert row is not None
    assert row.sealed == taken
    with pytest.raises(VaultError, match="cannot be opened"):
        newer.sealer.open_credential(row)
