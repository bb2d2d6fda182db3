"""What a reader who tried to break it found: each test says what is promised."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import text

from tests.connections.kit import ADA, LIFE, Kit, advanced
from tests.connections.system import ANN, held, made
from tests.wiring.test_upkeep import Home, soft
from valetkey.adapters.journal import FileJournal
from valetkey.adapters.sql.connections import SqlConnections
from valetkey.adapters.sql.sqlite import SqliteDatabase
from valetkey.connections import refresh, rotations
from valetkey.connections.breaker import AT_ONCE, FIRST_PAUSE, OPENS_AFTER, Breakers
from valetkey.connections.disconnect import Disconnector
from valetkey.connections.driven import Driven
from valetkey.connections.handler import AuthContext, AuthHandlerInterface
from valetkey.errors import (
    InvalidSetting,
    KeyUnavailable,
    MissingSetting,
    ProviderUnavailable,
    RefreshFailed,
    StoreUnavailable,
    ValetkeyError,
)
from valetkey.model.connections import Credential, Health
from valetkey.model.needs import Need
from valetkey.oauth.client import DEADLINE
from valetkey.providers.base import Provider
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock
from valetkey.testing.recorder import KeepingRecorder
from valetkey.wiring import system


@pytest.fixture
async def kit():
    return Kit()


@pytest.fixture
async def kept(tmp_path):
    return Kit(journal=FileJournal(tmp_path, database="a database"))


class Gone(BaseException):
    """The end of a loop that has no end."""


@pytest.mark.requirement("rel.journal-home")
async def test_an_entry_that_cannot_be_removed_does_not_turn_the_refresh_into_a_hot_loop(kept, monkeypatch):
    """Its folder became read-only: the row is right, the entry stays, and the account has to go on."""
    row = await kept.connected()
    kept.clock.advance(LIFE + 1)
    new = await kept.fresh(row)
    kept.journal.put(new, generation=row.generation)  # brought home already; and it cannot be unlinked:
    monkeypatch.setattr(kept.journal, "remove", lambda connection: None)
    lease, taken = kept.store.lease, 0

    async def counted(*args, **kwargs):
        nonlocal taken
        taken += 1
        if taken > 200:
            raise Gone
        return await lease(*args, **kwargs)

    monkeypatch.setattr(kept.store, "lease", counted)
    kept.clock.advance(LIFE + 1)
    try:
        renewed = await kept.fresh(new)
    except (Gone, ValetkeyError):
        renewed = None
    assert taken < 200, "200 leases taken and given back without a pause"
    assert renewed is not None
    assert kept.token(renewed) == "at-3"


async def test_a_program_without_the_client_settings_leaves_the_shared_row_alone(kit):
    """Upkeep of another program, with the same data folder and no client id, speaks for itself only."""
    row = await kit.connected()
    kit.clock.advance(LIFE + 1)
    stranger = kit.beside()
    kit.handler.answers = [MissingSetting("Example does not know this program yet: auth.example.client_id is not set.")]
    with pytest.raises(MissingSetting):
        await stranger.fresh(row)
    assert (await kit.row(row)).health is Health.OK
    assert kit.token(await kit.fresh(row)) == "at-2"


@pytest.mark.requirement("B1.serving")
async def test_who_has_a_token_that_serves_does_not_wait_for_another_process(kit):
    """Security-cases 2.1, 1: the others use the still valid token and do not wait."""
    row = await kit.connected()
    kit.clock.advance(LIFE - 10)
    assert await kit.store.lease(row.id, generation=1, owner="other", attempt="a", now=kit.clock.now(), ttl=20)
    call = asyncio.create_task(kit.fresh(row))
    for _ in range(50):
        await asyncio.sleep(0)
    waits = not call.done()
    await advanced(kit.clock, 0.5, call.done)
    await asyncio.gather(call, return_exceptions=True)
    assert not waits


@pytest.mark.requirement("B1.journal-in-time")
async def test_a_renewed_credential_outlives_the_cancellation_of_its_saving(kept, monkeypatch):
    """The home loop is closed, or ``asyncio.run`` ends, while the database takes its time."""
    row = await kept.connected()
    kept.clock.advance(LIFE + 1)
    saving = asyncio.Event()

    async def slow(connection, *, generation):
        saving.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(kept.store, "save", slow)
    renewed = replace(row, generation=2)
    keeping = asyncio.create_task(kept.rotations.keep(renewed, generation=1))
    await saving.wait()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert kept.journal.of(row.id) is not None


@pytest.mark.requirement("rel.program-ends")
def test_an_end_waits_as_long_as_a_refresh_may_take():
    assert system.DRAIN >= refresh.START + DEADLINE + rotations.SAVE


@pytest.mark.requirement("B1.journal-in-time", "R-03")
def test_a_refresh_with_a_handler_of_the_programs_own_is_saved_within_its_lease():
    """R-03: asked for, sent, answered and saved before another process may take the lease."""
    assert refresh.START + refresh.OWN + rotations.SAVE <= refresh.LEASE


def test_failures_that_were_under_way_together_open_the_breaker_for_one_pause_only(kit):
    one = Breakers(clock=kit.clock, entropy=kit.dice, recorder=KeepingRecorder()).of("slack")
    for _ in range(2 * OPENS_AFTER):
        one.failed()
    kit.clock.advance(FIRST_PAUSE)
    one._check()  # a probe may go, 15 s after one blip


async def test_a_401_of_the_newest_token_is_not_answered_with_that_very_token(kit):
    """A's 401 is of the token before, B's of the one of now: who follows A gets what was refused."""
    first = await kit.connected()
    second = await kit.fresh(first, rejected=True)
    by_id, looking, go = kit.store.by_id, asyncio.Event(), asyncio.Event()

    async def slow(connection_id):
        looking.set()
        await go.wait()
        return await by_id(connection_id)

    kit.store.by_id = slow
    a = asyncio.create_task(kit.fresh(first, rejected=True))
    await looking.wait()
    b = asyncio.create_task(kit.fresh(second, rejected=True))
    await asyncio.sleep(0)
    go.set()
    await a
    assert kit.token(await b) == "at-3"


async def test_an_invalid_client_of_a_programs_own_handler_is_no_matter_for_its_users():
    """T-04; RFC 6749 §5.2 has 401 for invalid_client. ``raise_for_status`` is what such a handler does."""

    class Answer:
        status_code = 401
        text = '{"error": "invalid_client"}'

    class Refused(Exception):
        response = Answer()

    class Own(AuthHandlerInterface):
        name = "own"

        async def authenticate(self, auth_req, future_uid, **kwargs):
            raise NotImplementedError

        async def refresh(self, auth_req, context, **kwargs):
            raise Refused

        def make_request(self, auth_scopes=None, **kwargs):
            return None

        @staticmethod
        def provider_default():
            return False

    driven = Driven(Own(), Provider(name="own", title="Own", handlers=()))
    driven._context = lambda credential: AuthContext(access_token="t", description="d")  # type: ignore[method-assign]
    with pytest.raises(ValetkeyError) as caught:
        await driven.refresh(Credential(access_token=Secret("t")), frozenset())
    assert not isinstance(caught.value, RefreshFailed)


@pytest.mark.parametrize("error", [KeyUnavailable("KMS does not answer."), InvalidSetting("invalid_client")])
async def test_what_failed_for_a_moment_is_refreshed_ahead_again(kit, monkeypatch, error):
    home = Home(kit)
    row = await kit.connected(life=1, **soft(kit))
    kit.clock.advance(2)
    if isinstance(error, KeyUnavailable):
        with monkeypatch.context() as patch:

            def closed(connection):
                raise error

            patch.setattr(kit.sealer, "open_credential", closed)
            assert await home.round("refresh") == 0
    else:
        kit.handler.answers = [error]
        assert await home.round("refresh") == 0
    kit.clock.advance(700)
    for _ in range(3):
        await home.round("refresh")
        kit.clock.advance(15)
    assert (await kit.row(row)).generation == 2


async def test_a_provider_that_is_down_does_not_make_upkeep_read_everything_again_for_each_batch(kit, monkeypatch):
    """1,000 accounts are due and the breaker is open: what one round reads grows with them, not with their square."""
    home, number, read = Home(kit), 1000, 0
    for each in range(number):
        await kit.connected(profile=str(each), **soft(kit))
    breaker = kit.breakers.of("example")
    for _ in range(OPENS_AFTER):
        breaker.failed()
    due = kit.store.due

    async def counted(**kwargs):
        nonlocal read
        rows = await due(**kwargs)
        read += len(rows)
        return rows

    monkeypatch.setattr(kit.store, "due", counted)
    await home.round("refresh")
    assert kit.handler.seen == []
    assert read <= 2 * number


async def test_disconnecting_tells_the_truth_while_a_renewed_credential_waits(kept, monkeypatch):
    """What lives at the provider is in the journal: revoking what the row has revokes nothing."""
    save = kept.store.save

    async def away(connection, *, generation):
        raise StoreUnavailable("The database takes no writes.")

    monkeypatch.setattr(kept.store, "save", away)
    row = await kept.connected()
    kept.clock.advance(LIFE + 1)
    assert kept.token(await kept.fresh(row)) == "at-2"
    monkeypatch.setattr(kept.store, "save", save)

    class Ending(Disconnector):
        async def _withdraw(self, owner, provider, profile):
            return None

    ending = Ending(
        store=kept.store,
        interactions=None,  # type: ignore[arg-type]  # not asked
        answering=None,  # type: ignore[arg-type]  # not asked
        finder=kept,
        sealer=kept.sealer,
        rotations=kept.rotations,
        revoker=kept.revoker,
        wakeups=kept.wakeups,
    )
    report = await ending.disconnect(ADA, "example", "default")
    assert report.deleted
    assert "at-2" in kept.handler.revoked or not report.revoked


@pytest.mark.requirement("R-08")
async def test_what_a_late_refresh_brought_is_revoked_although_the_keys_were_away(kept, monkeypatch):
    """R-08: the row is gone, KMS does not answer for a moment, and the live token is forgotten."""
    row = await kept.connected()
    renewed = await renewed_into(kept, row)
    await kept.store.delete(row.id)
    with monkeypatch.context() as patch:

        def closed(connection):
            raise KeyUnavailable("KMS does not answer.")

        patch.setattr(kept.sealer, "open_credential", closed)
        await kept.rotations.replay()
    await kept.rotations.replay()
    assert kept.handler.revoked == [kept.token(renewed)]


async def renewed_into(kit, row):
    """A renewed credential of that row, in the journal."""
    sealed = kit.sealer.seal_credential(
        kit.handler.grants(2).credential,
        connection_id=row.id,
        owner=row.owner,
        provider=row.provider,
        generation=2,
    )
    renewed = replace(row, generation=2, sealed=sealed)
    kit.journal.put(renewed, generation=1)
    return renewed


@pytest.mark.requirement("R-21.leases")
async def test_an_entry_of_a_newer_version_is_left_for_that_version(kept):
    """R-21: both run over one data folder; the newer one has a health that this one does not know."""
    row = await kept.connected()
    await renewed_into(kept, row)
    path = kept.journal._path(row.id)
    path.write_bytes(path.read_bytes().replace(b'"health": "ok"', b'"health": "resting"'))
    kept.journal.of(row.id)
    assert path.exists()


async def sqlite(tmp_path, kit):
    database = SqliteDatabase(tmp_path / "valetkey.db", ticks=time.monotonic)
    return database, SqlConnections(database)


@pytest.mark.requirement("R-21.leases")
async def test_the_version_before_does_not_take_a_lease_that_is_held(tmp_path, kit):
    """R-21: it began before the migration, and runs on. Its leases are told by the wall clock."""
    database, store = await sqlite(tmp_path, kit)
    row = await kit.connected()
    assert await store.insert(row)
    assert await store.lease(row.id, generation=1, owner="new", attempt="a", now=time.time(), ttl=20)
    before = text(
        "UPDATE connections SET lease_owner = 'old' WHERE id = :id AND generation = 1 AND lease_until <= :now"
    )
    (outcome,) = await database.write((before, {"id": row.id, "now": time.time()}))
    database.close()
    assert outcome.count == 0


@pytest.mark.requirement("R-21.leases")
async def test_the_version_befores_lease_is_not_taken(tmp_path, kit):
    """The other way round: a lease until so many seconds of the epoch looks like one before a restart."""
    database, store = await sqlite(tmp_path, kit)
    row = await kit.connected()
    assert await store.insert(replace(row, lease_owner="old", lease_until=time.time() + 20, attempt_id="a"))
    taken = await store.lease(row.id, generation=1, owner="new", attempt="b", now=time.time(), ttl=20)
    database.close()
    assert not taken


@pytest.mark.requirement("R-37")
async def test_a_page_of_damaged_rows_hides_none_that_are_whole(tmp_path, kit):
    """R-37, and a newer version's rows after a rollback: those rows alone; whoever walks gets to the others."""
    database, store = await sqlite(tmp_path, kit)
    row = await kit.connected()
    for number in range(100):
        assert await store.insert(replace(row, id=f"{number:032x}", profile=str(number), refresh_at=1.0))
    await database.write((text("UPDATE connections SET health = 'resting'"), {}))
    whole = replace(row, id="f" * 32, refresh_at=2.0)
    assert await store.insert(whole)
    due = await store.due(now=kit.clock.now(), limit=100)
    page = await store.page(limit=100)
    database.close()
    assert [each.id for each in due] == [whole.id]
    assert page


async def test_a_row_that_needs_a_person_by_now_is_not_given_out_as_fresh(kit):
    """Another process renewed it, and then the provider ended it."""
    row = await kit.connected()
    newer = await kit.fresh(row, rejected=True)
    await kit.refresher.reject(newer, "The provider refused the credential (401).")
    with pytest.raises(RefreshFailed):
        await kit.fresh(row, rejected=True)


@pytest.mark.requirement("rel.retry-after")
async def test_a_caller_who_waited_in_vain_is_told_when_to_come_back(kit, monkeypatch):
    """docs/reliability.md: ProviderUnavailable.retry_after, in seconds."""
    row = await kit.connected()
    kit.clock.advance(LIFE + 1)

    async def held(connection_id, **_):
        return False

    monkeypatch.setattr(kit.store, "lease", held)
    call = asyncio.create_task(kit.fresh(row))
    await advanced(kit.clock, 0.5, call.done)
    with pytest.raises(ProviderUnavailable) as caught:
        call.result()
    assert caught.value.retry_after is not None


async def test_authenticate_does_not_end_an_account_that_cannot_be_renewed_but_still_serves():
    """``PocketAuth.authenticate`` and ``wait_tool_auth``: the provider gave no refresh token, 200 s are left."""
    clock = ManualClock()
    made_ = made(clock, **{"auth.google.client_id": "an id", "auth.google.client_secret": "a secret"})
    row = await held(made_, refresh=None)
    clock.advance(3400)
    need = Need(provider="google", scopes=frozenset({"read"}))
    with suppress(RefreshFailed):
        await made_.connecting.authenticate(ANN, need, "default")
    now = await made_.stores.connections.by_id(row.id)
    made_.close()
    assert now is not None
    assert now.health is Health.OK


async def test_authenticate_refreshes_with_the_handler_that_made_the_account():
    """Two handlers of one provider: the need names none, and the account is not the default one's."""
    clock = ManualClock()
    made_ = made(clock, **{"auth.google.client_id": "an id", "auth.google.client_secret": "a secret"})
    row = await held(made_)
    row2 = replace(row, handler="google-of-the-program", generation=2)
    sealed = made_.sealer.seal_credential(
        Credential(access_token=Secret("t"), context_class="x", context=Secret("{}")),
        connection_id=row.id,
        owner=row.owner,
        provider=row.provider,
        generation=2,
    )
    assert await made_.stores.connections.save(replace(row2, sealed=sealed), generation=1)
    clock.advance(3400)
    need = Need(provider="google", scopes=frozenset({"read"}))
    with suppress(RefreshFailed):
        await made_.connecting.authenticate(ANN, need, "default")
    now = await made_.stores.connections.by_id(row.id)
    made_.close()
    assert now is not None
    assert now.health is Health.OK


@pytest.mark.requirement("B1.limit")
async def test_refreshing_ahead_does_not_stand_in_the_way_of_a_call(kit):
    """100 tokens that still serve are in line for ten places; a call whose token has ended comes behind them all."""
    urgent = await kit.connected(profile="urgent")
    urgent = await kit.fresh(urgent, rejected=True)  # its refresh token is rt-2
    urgent = replace(urgent, refresh_at=None)  # upkeep leaves it alone
    assert await kit.store.save(urgent, generation=2)
    kit.clock.advance(LIFE + 1)
    for number in range(100):
        await kit.connected(profile=str(number), **soft(kit))
    kit.handler.seen.clear()
    go = asyncio.Event()

    async def slow():
        await go.wait()
        return kit.handler.grants(7)

    kit.handler.answers = [slow] * 101
    ahead = asyncio.create_task(Home(kit).round("refresh"))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(kit.handler.seen) == AT_ONCE
    call = asyncio.create_task(kit.fresh(urgent))
    for _ in range(50):
        await asyncio.sleep(0)
    go.set()
    await asyncio.gather(ahead, call)
    assert kit.handler.seen.index("rt-2") <= 2 * AT_ONCE
