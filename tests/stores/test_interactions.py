"""What every interaction store does."""

import asyncio
from dataclasses import replace

import pytest

from tests.stores.values import ADA, BOB, NOW, an_interaction, fresh_id
from valetkey.errors import InvalidAuthState
from valetkey.model.connections import Sealed
from valetkey.model.interactions import InteractionKind, Phase

# The table of phases as docs and port have it: these four wait, those four are over.
WAITING = [Phase.OPEN, Phase.CLAIMED, Phase.ANSWERED, Phase.SETTLING]
OVER = [Phase.DONE, Phase.REFUSED, Phase.EXPIRED, Phase.FAILED]
CONNECT = InteractionKind.CONNECT


async def test_what_is_opened_comes_back_whole(stores):
    put = an_interaction(
        about={"scopes": ["a", "b"], "deep": {"n": 1.5, "yes": True, "nothing": None}, "é": "\U0001f600"},
        answer=Sealed(b"answer\x00"),
        version=7,
        claimed_by=fresh_id(),
        reason="because",
    )
    assert await stores.interactions.open(put) == put
    assert await stores.interactions.get(put.id) == put
    assert await stores.interactions.find_open(CONNECT, ADA, "slack/default") == put
    assert list(await stores.interactions.of_owner(ADA, CONNECT)) == [put]


async def test_what_is_not_there_is_none(stores):
    await stores.interactions.open(an_interaction())
    assert await stores.interactions.get(fresh_id()) is None
    assert await stores.interactions.find_open(CONNECT, BOB, "slack/default") is None
    assert await stores.interactions.find_open(CONNECT, ADA, "slack/work") is None
    assert await stores.interactions.find_open(InteractionKind.APPROVE, ADA, "slack/default") is None
    assert list(await stores.interactions.of_owner(BOB, CONNECT)) == []
    assert list(await stores.interactions.of_owner(ADA, InteractionKind.SIGN_IN)) == []


@pytest.mark.parametrize("phase", WAITING)
async def test_a_second_question_gets_the_one_that_waits(stores, phase):
    first = an_interaction(phase=phase)
    await stores.interactions.open(first)
    second = an_interaction()
    assert await stores.interactions.open(second) == first
    assert await stores.interactions.get(second.id) is None
    assert await stores.interactions.find_open(CONNECT, ADA, "slack/default") == first


@pytest.mark.parametrize("phase", OVER)
async def test_one_that_is_over_makes_room(stores, phase):
    first = an_interaction()
    await stores.interactions.open(first)
    over = replace(first, phase=phase, version=2)
    assert await stores.interactions.save(over, version=1) is True
    assert await stores.interactions.find_open(CONNECT, ADA, "slack/default") is None
    assert list(await stores.interactions.of_owner(ADA, CONNECT)) == []
    assert await stores.interactions.get(first.id) == over

    second = an_interaction()
    assert await stores.interactions.open(second) == second
    assert await stores.interactions.find_open(CONNECT, ADA, "slack/default") == second


async def test_questions_that_differ_in_kind_owner_or_topic_stand_side_by_side(stores):
    rows = [
        an_interaction(),
        an_interaction(kind=InteractionKind.APPROVE),
        an_interaction(topic="slack/work"),
        an_interaction(owner=BOB),
        an_interaction(owner=replace(ADA, workspace="other")),
        an_interaction(owner=replace(ADA, issuer="other")),
    ]
    for row in rows:
        assert await stores.interactions.open(row) == row
    assert [each.id for each in await stores.interactions.of_owner(ADA, CONNECT)] == [
        row.id for row in sorted((rows[0], rows[2]), key=lambda row: row.id)
    ]


async def test_an_owner_s_open_questions_come_oldest_first(stores):
    ages = [5.0, 1.0, 3.0]
    for age in ages:
        await stores.interactions.open(an_interaction(topic=f"t{age}", created_at=NOW + age))
    await stores.interactions.open(an_interaction(topic="over", phase=Phase.DONE))
    found = await stores.interactions.of_owner(ADA, CONNECT)
    assert [row.topic for row in found] == ["t1.0", "t3.0", "t5.0"]


@pytest.mark.requirement("B2.suite")
async def test_of_many_who_ask_at_once_one_asks_and_all_get_its_question(stores):
    rivals = [an_interaction() for _ in range(40)]
    opened = await asyncio.gather(*(stores.interactions.open(rival) for rival in rivals))
    assert len({row.id for row in opened}) == 1
    assert list(await stores.interactions.of_owner(ADA, CONNECT)) == [opened[0]]


async def test_a_link_is_not_used_again(stores):
    first = an_interaction(phase=Phase.DONE)
    await stores.interactions.open(first)
    with pytest.raises(InvalidAuthState, match="Begin again"):
        await stores.interactions.open(an_interaction(id=first.id))
    assert await stores.interactions.get(first.id) == first


async def test_save_replaces_every_column_of_the_version_that_it_names(stores):
    old = an_interaction()
    await stores.interactions.open(old)
    new = replace(
        old,
        phase=Phase.CLAIMED,
        about={"other": 1},
        payload=Sealed(b"2"),
        answer=Sealed(b"3"),
        version=2,
        expires_at=NOW + 900,
        claimed_by=fresh_id(),
        reason="why",
    )
    assert await stores.interactions.save(new, version=1) is True
    assert await stores.interactions.get(old.id) == new
    assert await stores.interactions.find_open(CONNECT, ADA, "slack/default") == new


async def test_save_writes_nothing_where_the_version_moved_on_or_the_row_is_gone(stores):
    old = an_interaction(version=4)
    await stores.interactions.open(old)
    for version in (3, 5):
        assert await stores.interactions.save(replace(old, phase=Phase.DONE), version=version) is False
    assert await stores.interactions.save(an_interaction(topic="never opened"), version=1) is False
    assert await stores.interactions.get(old.id) == old


@pytest.mark.requirement("d13.redis")
async def test_of_many_who_change_one_version_at_once_one_does(stores):
    row = an_interaction()
    await stores.interactions.open(row)
    rivals = [replace(row, phase=Phase.SETTLING, claimed_by=str(number), version=2) for number in range(40)]
    results = await asyncio.gather(*(stores.interactions.save(rival, version=1) for rival in rivals))
    assert results.count(True) == 1
    assert await stores.interactions.get(row.id) == rivals[results.index(True)]


async def test_save_does_not_make_a_second_open_question(stores):
    over, waiting = an_interaction(phase=Phase.FAILED), an_interaction()
    await stores.interactions.open(over)
    await stores.interactions.open(waiting)
    assert await stores.interactions.save(replace(over, phase=Phase.OPEN, version=2), version=1) is False
    assert await stores.interactions.get(over.id) == over
    assert await stores.interactions.find_open(CONNECT, ADA, "slack/default") == waiting


async def test_a_question_may_change_its_topic(stores):
    row = an_interaction()
    await stores.interactions.open(row)
    moved = replace(row, topic="slack/work", version=2)
    assert await stores.interactions.save(moved, version=1) is True
    assert await stores.interactions.find_open(CONNECT, ADA, "slack/default") is None
    assert await stores.interactions.find_open(CONNECT, ADA, "slack/work") == moved


@pytest.mark.requirement("B4.sweeping")
async def test_sweeping_leaves_what_is_young_and_what_waits_to_be_settled(stores):
    swept = [
        an_interaction(topic=phase, phase=phase, expires_at=NOW - 1) for phase in (Phase.OPEN, Phase.CLAIMED, *OVER)
    ]
    kept = [
        an_interaction(topic="answered", phase=Phase.ANSWERED, expires_at=NOW - 1),
        an_interaction(topic="settling", phase=Phase.SETTLING, expires_at=NOW - 1),
        an_interaction(topic="young", expires_at=NOW),
        an_interaction(topic="young and done", phase=Phase.DONE, expires_at=NOW),
    ]
    for row in (*swept, *kept):
        await stores.interactions.open(row)
    assert await stores.interactions.sweep(before=NOW) == len(swept)
    assert [await stores.interactions.get(row.id) for row in swept] == [None] * len(swept)
    assert [await stores.interactions.get(row.id) for row in kept] == kept
    assert await stores.interactions.sweep(before=NOW) == 0
    reopened = an_interaction(topic=Phase.OPEN)
    assert await stores.interactions.open(reopened) == reopened


async def test_facts_change_only_by_saving(stores):
    facts = {"scopes": ["read"]}
    row = await stores.interactions.open(an_interaction(about=facts))
    facts["scopes"].append("admin")
    found = await stores.interactions.get(row.id)
    assert found.about == {"scopes": ["read"]}
    found.about["scopes"].append("admin")
    assert (await stores.interactions.find_open(CONNECT, ADA, row.topic)).about == {"scopes": ["read"]}
