"""Who is calling: the verifiers in turn, what was stopped, and what is remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.identity.chains import Chained
from valetkey.errors import CouldNotTell, Unauthenticated
from valetkey.identity.chain import Vouch
from valetkey.model.calls import BEARER, Presented
from valetkey.model.stops import StopKind
from valetkey.secret import Secret


async def test_the_first_verifier_that_knows_a_credential_decides():
    chained = Chained()
    caller = await chained.identify("good")
    assert (caller.owner.subject, caller.how) == ("alice", "first")
    assert (await chained.identify("second's")).how == "second"


@pytest.mark.requirement("A-11")
async def test_a_credential_that_its_verifier_refuses_is_not_offered_to_the_next():
    chained = Chained()
    with pytest.raises(Unauthenticated, match="bad"):
        await chained.identify("bad")
    assert chained.second.asked == []


async def test_a_credential_that_nobody_knows_is_refused():
    with pytest.raises(Unauthenticated, match="Nobody here knows"):
        await Chained().identify("unknown")


@pytest.mark.requirement("C2.cache")
async def test_a_verdict_is_remembered_as_long_as_it_may_be_and_not_longer():
    chained = Chained()
    for _ in range(3):
        await chained.identify("good")
    assert chained.first.asked == ["good"]
    chained.clock.advance(61)
    await chained.identify("good")
    assert chained.first.asked == ["good", "good"]


async def test_what_ends_is_not_remembered_past_its_end():
    chained = Chained()
    await chained.identify("short")
    chained.clock.advance(6)
    with pytest.raises(Unauthenticated, match="over"):
        await chained.identify("short")


@pytest.mark.requirement("C2.cache")
async def test_a_revoked_token_is_refused_at_once_though_it_was_remembered():
    chained = Chained()
    await chained.identify("good")
    await chained.stop(StopKind.TOKEN, "good-id")
    with pytest.raises(Unauthenticated, match="revoked"):
        await chained.identify("good")


async def test_a_token_without_an_id_is_revoked_by_its_hash():
    chained = Chained()
    await chained.identify("second's")
    await chained.stop(StopKind.TOKEN, chained.hash_of("second's"))
    with pytest.raises(Unauthenticated, match="revoked"):
        await chained.identify("second's")


@pytest.mark.parametrize(
    ("kind", "target"), [(StopKind.USER, "alice"), (StopKind.USER, "boss"), (StopKind.WORKSPACE, "ws-user-alice")]
)
async def test_a_blocked_user_the_programs_of_one_and_a_blocked_workspace_are_refused(kind, target):
    chained = Chained()
    await chained.identify("good")
    await chained.stop(kind, target)
    with pytest.raises(Unauthenticated, match="blocked"):
        await chained.identify("good")


async def test_the_id_of_another_issuers_user_is_no_block_for_ours():
    chained = Chained()
    await chained.stop(StopKind.USER, "somebody")
    assert (await chained.identify("good")).how == "first"


async def test_what_another_instance_stopped_is_known_here_within_five_seconds():
    chained = Chained()
    await chained.identify("good")
    await chained.stop_elsewhere(StopKind.TOKEN, "good-id")
    chained.clock.advance(1.5)
    await chained.identify("good")  # served still, while the database is asked
    await chained.looked()
    with pytest.raises(Unauthenticated, match="revoked"):
        await chained.identify("good")


async def test_without_a_database_nobody_is_let_on_for_longer_than_five_seconds():
    chained = Chained()
    await chained.identify("good")
    chained.store.broken = True
    chained.clock.advance(3)
    assert (await chained.identify("good")).how == "first"
    await chained.looked()
    chained.clock.advance(3)
    with pytest.raises(CouldNotTell):
        await chained.identify("good")


async def test_a_caller_on_an_open_socket_ends_with_the_token_or_the_block():
    chained = Chained()
    caller = await chained.identify("short")
    await chained.chain.still(caller)
    chained.clock.advance(6)
    with pytest.raises(Unauthenticated, match="expired"):
        await chained.chain.still(caller)
    other = await chained.identify("good")
    await chained.stop(StopKind.USER, "alice")
    with pytest.raises(Unauthenticated, match="blocked"):
        await chained.chain.still(other)


@pytest.mark.requirement("seed004.bp-storage")
async def test_no_token_is_kept_in_the_clear():
    chained = Chained()
    await chained.identify("good")
    assert b"good" not in b"".join(chained.chain._remembered)


async def test_for_counting_a_credential_that_is_asked_about_each_time_is_known_until_it_ends():
    chained = Chained()
    shown = Presented(scheme=BEARER, value=Secret("short"))
    vouch = chained.first.known["short"]
    assert isinstance(vouch, Vouch)
    chained.first.known["short"] = replace(vouch, keep=0)
    assert chained.chain.known(shown) is None
    caller = await chained.identify("short")
    assert chained.chain.known(shown) == caller
    assert await chained.identify("short") == caller
    assert chained.first.asked == ["short", "short"]  # what is known for counting is never trusted
    await chained.stop(StopKind.TOKEN, "short-id")
    with pytest.raises(Unauthenticated, match="revoked"):
        await chained.identify("short")
    assert chained.chain.known(shown) is None


async def test_for_counting_nobody_is_known_past_their_end():
    chained = Chained()
    vouch = chained.first.known["short"]
    assert isinstance(vouch, Vouch)
    chained.first.known["short"] = replace(vouch, keep=0)
    await chained.identify("short")
    chained.clock.advance(6)
    assert chained.chain.known(Presented(scheme=BEARER, value=Secret("short"))) is None
