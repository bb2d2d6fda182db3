"""A credential ends at its provider, too: over crashes, bad days and settings that were wrong."""

import pytest

from tests.connections.kit import Kit
from valetkey.connections.revoke import FIRST_PAUSE, GIVEN_UP, LONGEST_PAUSE, Ended
from valetkey.errors import InvalidSetting, ProviderUnavailable
from valetkey.model.events import Outcome, Revoked


@pytest.fixture
async def kit():
    return Kit()


async def asked_for(kit):
    row = await kit.connected()
    revocation = kit.revoker.prepare(row, kit.sealer.open_credential(row))
    assert await kit.store.delete(row.id, generation=1, revocation=revocation) == row
    return revocation


async def test_it_is_revoked_and_forgotten(kit):
    revocation = await asked_for(kit)
    assert await kit.revoker.revoke(revocation) == Ended(revoked=True)
    assert kit.handler.revoked == ["at-1"]
    assert await kit.revocations.page() == []
    assert kit.recorder.of(Revoked) == (Revoked(provider="example", outcome=Outcome.OK),)


async def test_a_provider_without_a_way_is_said_and_not_asked_again(kit):
    revocation = await asked_for(kit)
    kit.handler.revoking = [False]
    assert await kit.revoker.revoke(revocation) == Ended(reason="Example offers no way to revoke it.")
    assert await kit.revocations.page() == []


@pytest.mark.requirement("rel.revocations")
@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ProviderUnavailable("503"), Outcome.TRANSIENT), (InvalidSetting("no client"), Outcome.CONFIG_ERROR)],
)
async def test_one_that_failed_is_tried_again_with_growing_pauses_until_it_is_confirmed(kit, error, outcome):
    revocation = await asked_for(kit)
    kit.handler.revoking = [error] * 3
    assert await kit.revoker.revoke(revocation) == Ended(queued=True, reason=str(error))
    waits = []
    for _ in range(3):
        (row,) = await kit.revocations.page()
        assert row.reason == str(error)
        waits.append(row.next_try_at - kit.clock.now())
        kit.clock.advance(waits[-1] - 1)
        assert await kit.revoker.catch_up() == 0
        kit.clock.advance(1)
        assert await kit.beside().revoker.catch_up() == 1
    assert waits == [1.5 * FIRST_PAUSE, 3 * FIRST_PAUSE, 6 * FIRST_PAUSE]
    assert await kit.revocations.page() == []
    assert kit.handler.revoked == ["at-1"]
    assert kit.recorder.of(Revoked)[0].outcome is outcome


@pytest.mark.requirement("rel.revocations")
async def test_two_processes_do_not_ask_twice(kit):
    revocation = await asked_for(kit)
    assert (await kit.revoker.revoke(revocation)).revoked
    told = await kit.beside().revoker.revoke(revocation)
    assert told.queued
    assert kit.handler.revoked == ["at-1"]


@pytest.mark.requirement("rel.revocations")
async def test_what_nobody_confirms_is_given_up_in_the_end_and_said(kit, caplog):
    revocation = await asked_for(kit)
    kit.handler.revoking = [ProviderUnavailable("503")] * 100
    await kit.revoker.revoke(revocation)
    began = kit.clock.now()
    while await kit.revocations.page():
        kit.clock.advance(2 * LONGEST_PAUSE)
        assert await kit.revoker.catch_up() == 1
    assert GIVEN_UP <= kit.clock.now() - began < GIVEN_UP + 2 * LONGEST_PAUSE
    assert "given up" in caplog.text


async def test_a_row_that_was_changed_is_nobodys_credential(kit):
    first, second = await asked_for(kit), await asked_for(kit)
    await kit.revocations.reseal(second, first.sealed)
    kit.clock.advance(1)
    await kit.revoker.catch_up()
    assert kit.handler.revoked == ["at-1"]
    (left,) = await kit.revocations.page()
    assert left.id == second.id


@pytest.mark.requirement("rel.connected-again")
async def test_an_account_that_was_connected_again_is_not_ended_where_a_revocation_ends_all(kit):
    """At Google a revocation ends all that the person granted to this client."""
    kit.handler.revocation_ends_all = True
    revocation = await asked_for(kit)
    kit.handler.revoking = [ProviderUnavailable("503")]
    assert (await kit.revoker.revoke(revocation)).queued
    kit.clock.advance(3600)
    await kit.connected()
    assert await kit.revoker.catch_up() == 1
    assert kit.handler.revoked == []
    assert await kit.revocations.page() == []


async def test_elsewhere_the_old_token_ends_although_the_account_was_connected_again(kit):
    revocation = await asked_for(kit)
    kit.handler.revoking = [ProviderUnavailable("503")]
    assert (await kit.revoker.revoke(revocation)).queued
    kit.clock.advance(3600)
    await kit.connected()
    assert await kit.revoker.catch_up() == 1
    assert kit.handler.revoked == ["at-1"]


async def test_an_account_of_another_profile_that_was_there_before_changes_nothing(kit):
    kit.handler.revocation_ends_all = True
    await kit.connected(profile="work")
    kit.clock.advance(1)
    assert (await kit.revoker.revoke(await asked_for(kit))).revoked
