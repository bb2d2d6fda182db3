"""One refresh in flight, decided in the row: several processes over one store, faults told by the test."""

import asyncio
from dataclasses import replace

import pytest

from tests.connections.kit import LIFE, Kit, advanced
from valetkey.connections.pace import MINIMUM
from valetkey.connections.refresh import LEASE, PATIENCE, START
from valetkey.errors import (
    ExchangeFailed,
    InvalidSetting,
    ProviderUnavailable,
    RefreshFailed,
    StoreUnavailable,
)
from valetkey.model.connections import Cause, Health
from valetkey.model.events import Outcome, Refreshed


@pytest.fixture
async def kit():
    return Kit()


async def ended(kit, **changes):
    row = await kit.connected(**changes)
    kit.clock.advance(LIFE + 1)
    return row


class TestOneCall:
    async def test_an_ended_token_is_renewed_and_its_life_begins_anew(self, kit):
        row = await ended(kit)
        new = await kit.fresh(row)
        now = kit.clock.now()
        assert kit.token(new) == "at-2"
        assert new == await kit.row(row)
        assert (new.generation, new.issued_at, new.expires_at) == (2, now, now + LIFE)
        assert new.refresh_at == now + LIFE - 720
        assert (new.lease_owner, new.lease_until, new.attempt_id) == ("", 0.0, "")
        assert kit.recorder.of(Refreshed) == (
            Refreshed(provider="example", outcome=Outcome.OK, seconds=0.0, ahead=False),
        )

    @pytest.mark.requirement("B1.attempt")
    async def test_the_attempt_is_in_the_row_before_the_request_goes_out(self, kit):
        row = await ended(kit)

        async def look():
            held = await kit.row(row)
            assert held.attempt_id
            assert held.attempt_started == kit.clock.now()
            assert held.lease_until == kit.clock.monotonic() + LEASE
            return kit.handler.grants(2)

        kit.handler.answers = [look]
        assert kit.token(await kit.fresh(row)) == "at-2"

    @pytest.mark.requirement("R-01")
    async def test_a_thousand_callers_make_one_request(self, kit):
        """R-01."""
        row = await ended(kit)
        results = await asyncio.gather(*(kit.fresh(row) for _ in range(1000)))
        assert kit.handler.seen == ["rt-1"]
        assert {kit.token(result) for result in results} == {"at-2"}

    @pytest.mark.requirement("B1.serving")
    async def test_while_the_token_serves_one_refreshes_and_the_others_do_not_wait(self, kit):
        row = await kit.connected()
        kit.clock.advance(LIFE - 10)
        go = asyncio.Event()

        async def slow():
            await go.wait()
            return kit.handler.grants(2)

        kit.handler.answers = [slow]
        leader = asyncio.create_task(kit.fresh(row))
        await kit.handler.asked.wait()
        async with asyncio.timeout(1):
            assert [await kit.fresh(row) for _ in range(10)] == [row] * 10
        go.set()
        assert kit.token(await leader) == "at-2"
        assert kit.handler.seen == ["rt-1"]

    async def test_a_token_that_serves_is_not_refreshed_again_at_once(self, kit):
        row = await ended(kit)
        kit.handler.answers = [kit.handler.grants(2, life=40), kit.handler.grants(3)]
        short = await kit.fresh(row)
        kit.clock.advance(MINIMUM - 1)
        assert await kit.fresh(short) == short
        kit.clock.advance(1)
        assert kit.token(await kit.fresh(short)) == "at-3"

    async def test_who_comes_with_an_old_row_gets_the_new_one(self, kit):
        row = await ended(kit)
        new = await kit.fresh(row)
        assert await kit.fresh(row, rejected=True) == new
        assert kit.handler.seen == ["rt-1"]

    async def test_a_rejected_token_is_renewed_although_it_has_not_ended(self, kit):
        row = await kit.connected()
        assert kit.token(await kit.fresh(row, rejected=True)) == "at-2"


class TestManyProcesses:
    @pytest.mark.requirement("B1.row", "R-02")
    async def test_two_processes_make_one_request(self, kit):
        """R-02."""
        other, row = kit.beside(), await ended(kit)
        go = asyncio.Event()

        async def slow():
            await go.wait()
            return kit.handler.grants(2)

        kit.handler.answers = [slow]
        both = [asyncio.create_task(each.fresh(row)) for each in (kit, other)]
        await kit.handler.asked.wait()
        await kit.clock.sleepers(1)
        go.set()
        await advanced(kit.clock, 0.02, lambda: all(task.done() for task in both))
        assert {kit.token(task.result()) for task in both} == {"at-2"}
        assert kit.handler.seen == ["rt-1"]

    @pytest.mark.requirement("B1.row")
    async def test_a_process_that_died_is_followed_when_its_lease_has_ended(self, kit):
        row = await ended(kit)
        assert await kit.store.lease(row.id, generation=1, owner="dead", attempt="a", now=0.0, ttl=LEASE)
        call = asyncio.create_task(kit.fresh(row))
        began = kit.clock.monotonic()
        await advanced(kit.clock, 0.05, call.done)
        assert kit.token(call.result()) == "at-2"
        assert LEASE <= kit.clock.monotonic() - began < LEASE + 1

    @pytest.mark.requirement("rel.waits-end")
    async def test_nobody_waits_for_ever(self, kit):
        row = await ended(kit)

        async def renewed_all_the_time(connection_id, **_):
            return False

        kit.store.lease = renewed_all_the_time
        call = asyncio.create_task(kit.fresh(row))
        began = kit.clock.monotonic()
        await advanced(kit.clock, 0.5, call.done)
        with pytest.raises(ProviderUnavailable, match="does not end"):
            call.result()
        assert kit.clock.monotonic() - began <= PATIENCE + 2

    @pytest.mark.requirement("R-04")
    async def test_a_process_that_stood_still_after_its_lease_sends_nothing(self, kit):
        """R-04: paused between the lease and the request."""
        row = await ended(kit)
        lease = kit.store.lease

        async def paused(*args, **kwargs):
            taken = await lease(*args, **kwargs)
            kit.clock.advance(START + 1)
            return taken

        kit.store.lease = paused
        with pytest.raises(ProviderUnavailable, match="stood still"):
            await kit.fresh(row)
        assert kit.handler.seen == []
        assert (await kit.row(row)).lease_owner == ""
        kit.store.lease = lease
        assert kit.token(await kit.fresh(row)) == "at-2"

    @pytest.mark.requirement("R-04")
    async def test_a_late_answer_loses_against_a_newer_generation_and_is_not_revoked(self, kit):
        """R-04: revoking it would end the whole family, the newer credential's too."""
        other, row = kit.beside(), await ended(kit)

        async def late():
            kit.clock.advance(LEASE + 1)
            assert kit.token(await other.fresh(row)) == "at-3"
            return kit.handler.grants(2)

        kit.handler.answers = [late, kit.handler.grants(3)]
        assert kit.token(await kit.fresh(row)) == "at-3"
        assert (await kit.row(row)).generation == 2
        assert kit.handler.revoked == []

    @pytest.mark.requirement("R-04")
    async def test_a_late_answer_heals_what_a_second_try_believed_lost(self, kit):
        other, row = kit.beside(), await ended(kit)

        async def late():
            kit.clock.advance(LEASE + 1)
            with pytest.raises(RefreshFailed):
                await other.fresh(row)
            assert (await kit.row(row)).cause is Cause.LOST_ROTATION
            return kit.handler.grants(2)

        kit.handler.answers = [late, RefreshFailed("invalid_grant")]
        assert kit.token(await kit.fresh(row)) == "at-2"
        assert (await kit.row(row)).health is Health.OK

    @pytest.mark.requirement("rel.steady-clock")
    async def test_a_machine_that_was_restarted_leaves_no_lease_behind(self, kit):
        row = await ended(kit, lease_owner="before", lease_until=9e9, attempt_id="a")
        assert kit.token(await kit.fresh(row)) == "at-2"

    @pytest.mark.requirement("R-13")
    @pytest.mark.parametrize("step", [3600, -3600])
    async def test_a_wall_clock_that_is_set_lets_no_second_one_in(self, kit, step):
        """R-13."""
        other, row = kit.beside(), await ended(kit)

        async def stepped():
            kit.clock.jump(step)
            second = asyncio.create_task(other.fresh(row, rejected=True))
            await kit.clock.sleepers(1)
            second.cancel()
            return kit.handler.grants(2)

        kit.handler.answers = [stepped]
        await kit.fresh(row)
        assert kit.handler.seen == ["rt-1"]


class TestFailures:
    @pytest.mark.requirement("B1.states", "rel.states")
    @pytest.mark.parametrize(
        ("error", "health", "cause", "outcome"),
        [
            (ProviderUnavailable("500"), Health.TRANSIENT, Cause.UNAVAILABLE, Outcome.TRANSIENT),
            (ProviderUnavailable("429", retry_after=7), Health.TRANSIENT, Cause.RATE_LIMITED, Outcome.TRANSIENT),
            (ExchangeFailed("reset", sent=True), Health.TRANSIENT, Cause.UNAVAILABLE, Outcome.TRANSIENT),
            (InvalidSetting("invalid_client"), Health.CONFIG_ERROR, Cause.SETUP, Outcome.CONFIG_ERROR),
            (RefreshFailed("invalid_grant"), Health.NEEDS_REAUTH, Cause.REFUSED, Outcome.REFUSED),
        ],
    )
    async def test_the_row_says_what_went_wrong_and_keeps_the_credential(self, kit, error, health, cause, outcome):
        row = await ended(kit)
        kit.handler.answers = [error]
        with pytest.raises(type(error)):
            await kit.fresh(row)
        noted = await kit.row(row)
        assert (noted.health, noted.cause, noted.reason, noted.fail_count) == (health, cause, str(error), 1)
        assert (noted.generation, noted.sealed, noted.lease_owner) == (1, row.sealed, "")
        assert [event.outcome for event in kit.recorder.of(Refreshed)] == [outcome]

    @pytest.mark.requirement("B1.serving")
    @pytest.mark.parametrize("error", [ProviderUnavailable("500"), InvalidSetting("invalid_client")])
    async def test_a_failure_costs_nothing_while_the_token_serves(self, kit, error):
        row = await kit.connected()
        kit.clock.advance(LIFE - 100)
        kit.handler.answers = [error]
        assert await kit.fresh(row) == row
        noted = await kit.row(row)
        assert await kit.fresh(noted) == noted
        assert len(kit.handler.seen) == 1

    @pytest.mark.requirement("T-05.honoured", "rel.retry-after")
    async def test_an_ended_token_is_not_tried_before_its_time_and_callers_are_told_when(self, kit):
        row = await ended(kit)
        kit.handler.answers = [ProviderUnavailable("429", retry_after=120)]
        with pytest.raises(ProviderUnavailable) as first:
            await kit.fresh(row)
        assert first.value.retry_after == 120
        kit.clock.advance(100)
        for _ in range(5):
            with pytest.raises(ProviderUnavailable) as told:
                await kit.fresh(row)
            assert told.value.retry_after == pytest.approx(20)
        assert len(kit.handler.seen) == 1
        kit.clock.advance(20)
        assert kit.token(await kit.fresh(row)) == "at-2"

    @pytest.mark.requirement("T-06.backoff")
    async def test_pauses_grow_and_a_success_ends_them(self, kit):
        row = await ended(kit)
        waits = []
        for _ in range(4):
            kit.handler.answers = [ProviderUnavailable("500")]
            with pytest.raises(ProviderUnavailable) as told:
                await kit.fresh(row)
            waits.append(told.value.retry_after)
            kit.clock.advance(told.value.retry_after)
        assert waits == [pytest.approx((1 + longest) / 2) for longest in (2, 4, 8, 16)]
        new = await kit.fresh(row)
        assert (new.fail_count, new.health) == (0, Health.OK)

    @pytest.mark.requirement("R-13")
    async def test_a_wall_clock_set_back_does_not_lengthen_a_pause(self, kit):
        row = await ended(kit)
        kit.handler.answers = [ProviderUnavailable("500")]
        with pytest.raises(ProviderUnavailable):
            await kit.fresh(row)
        kit.clock.jump(-3600)
        assert kit.token(await kit.fresh(row, rejected=True)) == "at-2"

    async def test_a_dead_refresh_token_is_not_tried_again(self, kit):
        row = await ended(kit)
        kit.handler.answers = [RefreshFailed("invalid_grant")]
        for _ in range(3):
            with pytest.raises(RefreshFailed):
                await kit.fresh(row)
        assert len(kit.handler.seen) == 1

    @pytest.mark.requirement("B1.states")
    @pytest.mark.parametrize(
        "unclear", [ExchangeFailed("cut", sent=True), ProviderUnavailable("an answer without sense")]
    )
    async def test_refused_after_an_answer_that_never_came_is_a_lost_rotation(self, kit, unclear):
        row = await ended(kit)
        kit.handler.answers = [unclear, RefreshFailed("invalid_grant")]
        with pytest.raises(ProviderUnavailable) as told:
            await kit.fresh(row)
        kit.clock.advance(told.value.retry_after)
        with pytest.raises(RefreshFailed):
            await kit.fresh(row)
        noted = await kit.row(row)
        assert (noted.health, noted.cause) == (Health.NEEDS_REAUTH, Cause.LOST_ROTATION)

    @pytest.mark.requirement("rel.states")
    @pytest.mark.parametrize(
        "clear", [ExchangeFailed("refused", sent=False), ProviderUnavailable("429", retry_after=1)]
    )
    async def test_refused_after_a_request_that_did_nothing_is_a_refusal(self, kit, clear):
        row = await ended(kit)
        kit.handler.answers = [clear, RefreshFailed("invalid_grant")]
        with pytest.raises(ProviderUnavailable) as told:
            await kit.fresh(row)
        kit.clock.advance(told.value.retry_after)
        with pytest.raises(RefreshFailed):
            await kit.fresh(row)
        assert (await kit.row(row)).cause is Cause.REFUSED

    @pytest.mark.requirement("rel.states")
    async def test_a_lost_answer_is_remembered_over_later_failures_that_were_clear(self, kit):
        row = await ended(kit)
        kit.handler.answers = [
            ExchangeFailed("cut", sent=True),
            ProviderUnavailable("429", retry_after=1),
            RefreshFailed("invalid_grant"),
        ]
        for _ in range(2):
            with pytest.raises(ProviderUnavailable) as told:
                await kit.fresh(row)
            kit.clock.advance(told.value.retry_after)
        with pytest.raises(RefreshFailed):
            await kit.fresh(row)
        assert (await kit.row(row)).cause is Cause.LOST_ROTATION

    @pytest.mark.requirement("B1.attempt", "R-06")
    async def test_a_process_that_died_after_sending_leaves_the_same_trace(self, kit):
        row = await ended(kit, lease_owner="dead", attempt_id="sent")
        kit.handler.answers = [RefreshFailed("invalid_grant")]
        with pytest.raises(RefreshFailed):
            await kit.fresh(row)
        assert (await kit.row(row)).cause is Cause.LOST_ROTATION

    @pytest.mark.requirement("T-03.row")
    async def test_refused_while_another_process_succeeded_is_no_failure(self, kit):
        """T-03."""
        other, row = kit.beside(), await ended(kit)

        async def refused():
            held = await kit.row(row)
            await kit.store.release(row.id, owner=held.lease_owner, attempt=held.attempt_id, unclear=True)
            assert kit.token(await other.fresh(row)) == "at-2"
            raise RefreshFailed("invalid_grant")

        kit.handler.answers = [refused]
        assert kit.token(await kit.fresh(row)) == "at-2"
        assert (await kit.row(row)).health is Health.OK

    @pytest.mark.requirement("rel.waits-end")
    async def test_a_cancelled_caller_leaves_the_others_their_answer(self, kit):
        row = await ended(kit)
        go = asyncio.Event()

        async def slow():
            await go.wait()
            return kit.handler.grants(2)

        kit.handler.answers = [slow]
        tasks = [asyncio.create_task(kit.fresh(row)) for _ in range(3)]
        await kit.handler.asked.wait()
        for task in tasks[:2]:
            task.cancel()
        go.set()
        assert kit.token(await tasks[2]) == "at-2"

    @pytest.mark.requirement("B1.breaker")
    async def test_after_many_failures_the_provider_is_left_alone_for_all_accounts(self, kit):
        rows = [await kit.connected(profile=str(number)) for number in range(8)]
        kit.clock.advance(LIFE + 1)
        kit.handler.answers = [ProviderUnavailable("500") for _ in rows]
        for row in rows:
            with pytest.raises(ProviderUnavailable):
                await kit.fresh(row)
        assert len(kit.handler.seen) == 5
        untouched = await kit.row(rows[-1])
        assert (untouched.health, untouched.attempt_id) == (Health.OK, "")

    @pytest.mark.requirement("B1.states", "rel.states")
    async def test_what_the_api_refuses_though_it_was_just_renewed_needs_a_person(self, kit):
        row = await ended(kit)
        new = await kit.fresh(row)
        await kit.refresher.reject(new, "The provider refused the credential (401).")
        noted = await kit.row(row)
        assert (noted.health, noted.cause) == (Health.NEEDS_REAUTH, Cause.REJECTED)
        await kit.refresher.reject(replace(new, generation=1), "an old one")
        assert (await kit.row(row)).reason == "The provider refused the credential (401)."


class TestDeletion:
    @pytest.mark.requirement("B1.deletion")
    async def test_a_deletion_wins_and_what_the_refresh_brings_is_revoked(self, kit):
        """R-08, L-13."""
        row = await ended(kit)

        async def gone():
            await kit.store.delete(row.id)
            return kit.handler.grants(2)

        kit.handler.answers = [gone]
        with pytest.raises(RefreshFailed, match="disconnected meanwhile"):
            await kit.fresh(row)
        assert await kit.store.by_id(row.id) is None
        assert kit.handler.revoked == ["at-2"]
        assert await kit.revocations.page() == []
        assert [event.outcome for event in kit.recorder.of(Refreshed)] == [Outcome.DISCARDED]

    @pytest.mark.requirement("B1.deletion")
    async def test_what_cannot_be_revoked_now_is_revoked_later(self, kit):
        row = await ended(kit)

        async def gone():
            await kit.store.delete(row.id)
            return kit.handler.grants(2)

        kit.handler.answers, kit.handler.revoking = [gone], [ProviderUnavailable("503")]
        with pytest.raises(RefreshFailed):
            await kit.fresh(row)
        assert len(await kit.revocations.page()) == 1
        kit.clock.advance(3600)
        assert await kit.beside().revoker.catch_up() == 1
        assert kit.handler.revoked == ["at-2"]
        assert await kit.revocations.page() == []


class TestDatabase:
    @pytest.mark.requirement("B1.serving")
    async def test_a_database_that_is_away_costs_nothing_while_the_token_serves(self, kit):
        row = await kit.connected()
        kit.clock.advance(LIFE - 100)

        async def away(*_, **__):
            raise StoreUnavailable("The database is away.")

        kit.store.lease = away
        assert await kit.fresh(row) == row
        kit.clock.advance(200)
        with pytest.raises(StoreUnavailable):
            await kit.fresh(row)
        assert kit.handler.seen == []

    async def test_a_failure_that_cannot_be_noted_is_told_all_the_same(self, kit):
        row = await ended(kit)

        async def away(*_, **__):
            raise StoreUnavailable("The database is away.")

        kit.store.note = away
        kit.handler.answers = [ProviderUnavailable("500")]
        with pytest.raises(ProviderUnavailable, match="500"):
            await kit.fresh(row)
        assert (await kit.row(row)).attempt_id, "the lease ends by itself, and leaves its trace"
