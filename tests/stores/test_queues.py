"""Revocations to do upstream, and who leads what."""

import asyncio
from dataclasses import replace

from tests.stores.values import NOW, a_revocation, an_interaction, fresh_id
from valetkey.model.connections import Sealed
from valetkey.model.interactions import Phase


async def test_revocations_are_due_when_their_time_has_come_the_oldest_first(stores):
    first, second = a_revocation(next_try_at=NOW - 2), a_revocation(next_try_at=NOW - 1)
    for row in (second, first, a_revocation(next_try_at=NOW + 1)):
        await stores.revocations.add(row)
    assert list(await stores.revocations.due(now=NOW, limit=9)) == [first, second]
    assert list(await stores.revocations.due(now=NOW, limit=1)) == [first]


async def test_a_revocation_is_asked_for_once(stores):
    row = a_revocation()
    await stores.revocations.add(row)
    await stores.revocations.add(replace(row, reason="again"))
    assert list(await stores.revocations.page()) == [row]


async def test_of_many_who_claim_a_revocation_one_tries(stores):
    row = a_revocation()
    await stores.revocations.add(row)
    claims = await asyncio.gather(*(stores.revocations.claim(row, next_try_at=NOW + 60) for _ in range(20)))
    assert claims.count(True) == 1
    assert list(await stores.revocations.due(now=NOW, limit=9)) == []
    (tried,) = await stores.revocations.due(now=NOW + 60, limit=9)
    assert tried == replace(row, tries=1, next_try_at=NOW + 60)
    await stores.revocations.fail(row.id, reason="no answer\0")
    assert [each.reason for each in await stores.revocations.page()] in (["no answer?"], ["no answer\0"])
    assert await stores.revocations.claim(replace(row, id=fresh_id()[:32]), next_try_at=NOW) is False


async def test_a_revocation_that_is_done_is_gone(stores):
    row = a_revocation()
    await stores.revocations.add(row)
    await stores.revocations.remove(row.id)
    await stores.revocations.remove(row.id)
    assert list(await stores.revocations.page()) == []
    assert await stores.revocations.claim(row, next_try_at=NOW) is False


async def test_pages_of_revocations_follow_each_other(stores):
    rows = sorted((a_revocation() for _ in range(5)), key=lambda row: row.id)
    for row in rows:
        await stores.revocations.add(row)
    assert list(await stores.revocations.page(limit=2)) == rows[:2]
    assert list(await stores.revocations.page(after=rows[1].id, limit=9)) == rows[2:]


async def test_a_revocation_is_sealed_anew_where_it_is_as_it_was(stores):
    row, new = a_revocation(), Sealed(b"\x01new")
    await stores.revocations.add(row)
    assert await stores.revocations.reseal(row, new) is True
    assert list(await stores.revocations.page()) == [replace(row, sealed=new)]
    assert await stores.revocations.reseal(row, new) is False


async def test_one_leads_at_a_time(stores):
    leads = await asyncio.gather(*(stores.leaders.lead("sweep", owner=f"p{number}", ttl=60) for number in range(20)))
    assert leads.count(True) == 1
    leader = f"p{leads.index(True)}"
    assert await stores.leaders.lead("sweep", owner=leader, ttl=60) is True
    assert await stores.leaders.lead("sweep", owner="other", ttl=60) is False
    assert await stores.leaders.lead("reseal", owner="other", ttl=60) is True


async def test_who_resigns_makes_room_at_once(stores):
    assert await stores.leaders.lead("sweep", owner="p1", ttl=60)
    await stores.leaders.resign("sweep", owner="p2")
    assert await stores.leaders.lead("sweep", owner="p2", ttl=60) is False
    await stores.leaders.resign("sweep", owner="p1")
    assert await stores.leaders.lead("sweep", owner="p2", ttl=60) is True


async def test_a_leader_who_is_not_heard_of_is_followed(stores):
    assert await stores.leaders.lead("sweep", owner="p1", ttl=0.2)
    async with asyncio.timeout(5):
        while not await stores.leaders.lead("sweep", owner="p2", ttl=60):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    assert await stores.leaders.lead("sweep", owner="p1", ttl=60) is False


async def test_pages_of_questions_follow_each_other_in_every_phase(stores):
    rows = sorted(
        (an_interaction(topic=str(number), phase=phase) for number, phase in enumerate(Phase)), key=lambda row: row.id
    )
    for row in rows:
        await stores.interactions.open(row)
    assert list(await stores.interactions.page(limit=3)) == rows[:3]
    assert list(await stores.interactions.page(after=rows[2].id)) == rows[3:]


async def test_a_question_is_sealed_anew_where_it_is_as_it_was(stores):
    row = an_interaction(phase=Phase.ANSWERED, answer=Sealed(b"\x01answer"))
    await stores.interactions.open(row)
    payload, answer = Sealed(b"\x01new payload"), Sealed(b"\x01new answer")
    assert await stores.interactions.reseal(replace(row, version=9), payload=payload, answer=answer) is False
    assert await stores.interactions.reseal(row, payload=payload, answer=answer) is True
    assert await stores.interactions.get(row.id) == replace(row, payload=payload, answer=answer)
    assert await stores.interactions.reseal(row, payload=payload, answer=None) is False


async def test_answers_that_nobody_came_back_for_are_swept_when_asked(stores):
    old = [an_interaction(topic=phase, phase=phase, expires_at=NOW - 100) for phase in (Phase.ANSWERED, Phase.SETTLING)]
    young = an_interaction(topic="young", phase=Phase.ANSWERED, expires_at=NOW - 1)
    for row in (*old, young):
        await stores.interactions.open(row)
    assert await stores.interactions.sweep(before=NOW) == 0
    assert await stores.interactions.sweep(before=NOW, unsettled_before=NOW - 50) == 2
    assert [await stores.interactions.get(row.id) for row in (*old, young)] == [None, None, young]
