"""Approvals: one person's yes is one call, with exactly these arguments, for a while (X-29)."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.policy.kit import Desk, browser, call, caller
from tests.vault.keys import Given
from valetkey.adapters.memory import MemoryInteractions
from valetkey.errors import (
    ApprovalRequired,
    AuthExpired,
    Denied,
    InvalidAnswer,
    InvalidArguments,
    RateLimited,
)
from valetkey.model.audit import Action
from valetkey.model.caller import Caller, Owner
from valetkey.model.calls import Call
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.model.users import UserPermission
from valetkey.policy.approvals import MOST_OPEN, canonical
from valetkey.policy.decide import Policy
from valetkey.policy.rules import BUILT_IN, Effect, WrittenRule
from valetkey.testing.clock import ManualClock

ASK = WrittenRule(name="money", effect=Effect.ASK, tools=("pay",), reason="money leaves")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def desk(clock: ManualClock) -> Desk:
    return Desk(clock, permissions={("boss", "ws-user-ann"): UserPermission.admin})


def pay(**arguments: Any) -> Call:
    return call("pay", **{"amount": 5, "to": "bob", **arguments})


async def asked(desk: Desk, what: Call, who: Caller | None = None) -> str:
    """The state of the question that a call leads to."""
    with pytest.raises(ApprovalRequired) as required:
        await decide(desk, what, who)
    url = urlsplit(required.value.url)
    assert (url.scheme, url.netloc) == ("https", "valet.test")
    return url.path.rpartition("/")[2]


async def decide(desk: Desk, what: Call, who: Caller | None = None) -> str:
    rules = Policy((*BUILT_IN, ASK), approvals=desk.approvals, audit=desk.audit)
    return (await rules.decide(who or caller(), what)).rule


@pytest.mark.requirement("C7.approvals")
async def test_a_yes_lets_exactly_one_call_through(desk):
    state = await asked(desk, pay())
    await desk.approvals.answer(state, browser(), yes=True)
    assert await decide(desk, pay()) == "money"
    assert await asked(desk, pay()) != state
    assert [outcome for outcome, _ in desk.audit.of(Action.APPROVE)] == ["ok", "spent"]


class Slow(MemoryInteractions):
    """Rows that others may change while one waits for them."""

    async def find_open(self, kind: InteractionKind, owner: Owner, topic: str) -> Interaction | None:
        found = await super().find_open(kind, owner, topic)
        await asyncio.sleep(0)
        return found


async def test_of_many_calls_at_once_one_gets_the_yes(clock):
    desk = Desk(clock, rows=Slow())
    await desk.approvals.answer(await asked(desk, pay()), browser(), yes=True)
    ended = await asyncio.gather(*(decide(desk, pay()) for _ in range(8)), return_exceptions=True)
    assert [each for each in ended if each == "money"] == ["money"]
    assert sum(isinstance(each, ApprovalRequired) for each in ended) == 7


@pytest.mark.requirement("X-29", "C7.approvals")
@pytest.mark.parametrize(
    "changed",
    [
        pay(amount=500),
        pay(amount=5.0),
        pay(amount="5"),
        pay(note=None),
        call("pay", amount=5),
        call("pay_", amount=5, to="bob"),
        Call(tool="pay", needs=pay().needs, entrance="http", arguments=pay().arguments, profile="work"),
    ],
)
async def test_a_yes_is_for_these_arguments_and_no_others(desk, changed):
    await desk.approvals.answer(await asked(desk, pay()), browser(), yes=True)
    assert await desk.approvals.spend(caller(), changed) is False
    assert await desk.approvals.spend(caller(), pay()) is True


async def test_the_order_in_which_arguments_come_says_nothing(desk):
    await desk.approvals.answer(await asked(desk, call("pay", a=1, b={"x": 1, "y": 2})), browser(), yes=True)
    assert await desk.approvals.spend(caller(), call("pay", b={"y": 2, "x": 1}, a=1)) is True


@pytest.mark.requirement("X-29")
@pytest.mark.parametrize("other", [caller("bob"), caller("ann", issuer="https://idp.test"), caller(workspace="ws-b")])
async def test_a_yes_is_for_this_caller_and_no_other(desk, other):
    await desk.approvals.answer(await asked(desk, pay()), browser(), yes=True)
    assert await desk.approvals.spend(other, pay()) is False
    assert await desk.approvals.spend(caller(), pay()) is True


@pytest.mark.parametrize(
    "other",
    [
        browser("bob"),
        browser("ann", issuer="https://idp.test"),
        browser("ann", issuer="anonymous"),
        caller("ann"),  # the program's own token
        caller("ann", how="host"),
        caller("boss"),
    ],
)
async def test_only_who_asked_or_an_admin_may_answer_and_only_in_a_browser(desk, other):
    state = await asked(desk, pay())
    for yes in (True, False):
        with pytest.raises(Denied):
            await desk.approvals.answer(state, other, yes=yes)
    with pytest.raises(Denied):
        await desk.approvals.asked(state, other)
    assert await desk.approvals.spend(caller(), pay()) is False
    assert ("wrong_person", "") in desk.audit.of(Action.APPROVE)
    assert (await desk.approvals.asked(state, browser())).waiting


async def test_an_admin_of_the_workspace_may_answer(desk):
    await desk.approvals.answer(await asked(desk, pay()), browser("boss"), yes=True)
    assert await desk.approvals.spend(caller(), pay()) is True


async def test_an_admin_of_another_workspace_may_not(clock):
    desk = Desk(
        clock,
        permissions={("boss", "ws-b"): UserPermission.admin, ("clerk", "ws-user-ann"): UserPermission.read_write},
    )
    state = await asked(desk, pay())
    for name in ("boss", "clerk"):
        with pytest.raises(Denied):
            await desk.approvals.answer(state, browser(name), yes=True)


async def test_a_no_ends_the_question(desk):
    state = await asked(desk, pay())
    await desk.approvals.answer(state, browser(), yes=False)
    assert (await desk.approvals.asked(state)).phase is Phase.REFUSED
    with pytest.raises(InvalidAnswer):
        await desk.approvals.answer(state, browser(), yes=True)
    assert await asked(desk, pay()) != state


async def test_an_answer_cannot_be_given_twice(desk):
    state = await asked(desk, pay())
    await desk.approvals.answer(state, browser(), yes=True)
    with pytest.raises(InvalidAnswer):
        await desk.approvals.answer(state, browser(), yes=False)
    await decide(desk, pay())
    with pytest.raises(InvalidAnswer):
        await desk.approvals.answer(state, browser(), yes=True)


async def test_a_question_ends_after_ten_minutes(desk, clock):
    state = await asked(desk, pay())
    clock.advance(599)
    assert (await desk.approvals.asked(state)).waiting
    clock.advance(1)
    with pytest.raises(AuthExpired):
        await desk.approvals.answer(state, browser(), yes=True)


@pytest.mark.requirement("C7.approvals")
@pytest.mark.parametrize(("later", "good"), [(599, True), (600, False)])
async def test_a_yes_ends_ten_minutes_after_it_was_given(desk, clock, later, good):
    state = await asked(desk, pay())
    clock.advance(500)
    await desk.approvals.answer(state, browser(), yes=True)
    clock.advance(later)
    assert await desk.approvals.spend(caller(), pay()) is good


async def test_the_same_question_is_asked_once(desk):
    assert await asked(desk, pay()) == await asked(desk, pay())


async def test_a_yes_counts_on_every_instance_and_once_in_all(clock):
    rows, keys = Slow(), Given("k1")
    one, two = Desk(clock, rows=rows, keys=keys), Desk(clock, rows=rows, keys=keys)
    await two.approvals.answer(await asked(one, pay()), browser(), yes=True)
    spent = await asyncio.gather(*(desk.approvals.spend(caller(), pay()) for desk in (one, two)))
    assert sorted(spent) == [False, True]


async def test_a_question_outlives_a_rotation_of_the_keys(desk, clock):
    state = await asked(desk, pay())
    desk.keys.ids.insert(0, "k2")
    clock.advance(2)
    await desk.approvals.answer(state, browser(), yes=True)
    assert await desk.approvals.spend(caller(), pay()) is True


@pytest.mark.requirement("X-30")
async def test_the_person_sees_all_the_arguments_and_the_database_none(desk):
    long = "x" * 20_000
    state = await asked(desk, pay(note=f"{long}\x1b[2Jthe end\u202e"))
    request = await desk.approvals.asked(state, browser())
    assert long in request.arguments
    assert "the end\\u202e" in request.arguments
    assert request.arguments.isascii()
    assert (request.tool, request.user, request.reason) == ("pay", "ann", "money leaves")
    [row] = await desk.rows.of_owner(caller().owner, InteractionKind.APPROVE)
    assert "bob" not in repr((row.about, row.topic, row.reason))
    assert b"the end" not in bytes(row.payload)


async def test_the_same_arguments_look_different_in_the_database_under_another_key(clock):
    topics = set()
    for keys in (Given("k1"), Given("k2")):
        desk = Desk(clock, keys=keys)
        await asked(desk, pay())
        topics |= {row.topic for row in await desk.rows.of_owner(caller().owner, InteractionKind.APPROVE)}
    assert len(topics) == 2


@pytest.mark.parametrize("who", [caller("x", issuer="anonymous"), caller("x", is_anonymous=True)])
async def test_whom_nobody_knows_nobody_is_asked_for(desk, who):
    with pytest.raises(Denied, match="Sign in"):
        await decide(desk, pay(), who)


async def test_only_so_many_questions_of_one_owner_wait(desk, clock):
    for number in range(MOST_OPEN):
        await asked(desk, pay(amount=number))
    with pytest.raises(RateLimited):
        await decide(desk, pay(amount=-1))
    await asked(desk, pay(), caller("bob"))
    clock.advance(600)
    await asked(desk, pay(amount=-1))


@pytest.mark.parametrize("link", ["", "unknown", "\ud800"])
async def test_a_link_that_nobody_made_is_refused(desk, link):
    with pytest.raises(InvalidAnswer):
        await desk.approvals.answer(link, browser(), yes=True)


async def test_a_link_of_another_kind_is_no_approval(desk):
    async def begin(state):
        return {"state": state, "tool": "pay", "arguments": "{}", "profile": "", "reason": "", "user": "ann"}

    row = await desk.interactions.open(
        kind=InteractionKind.SIGN_IN, owner=caller().owner, topic="t", about={}, begin=begin
    )
    with pytest.raises(InvalidAnswer):
        await desk.approvals.answer(desk.interactions.payload(row)["state"], browser(), yes=True)


class Shy(str):
    """A text that says one thing to JSON and another to a tool."""

    __slots__ = ()


DEEP: dict[str, object] = {}
for _ in range(70):
    DEEP = {"d": DEEP}


@pytest.mark.parametrize(
    "value", [object(), b"x", {1: 2}, float("nan"), float("inf"), (1, 2), {1}, Shy("x"), [[{"a": b""}]], DEEP]
)
async def test_what_cannot_be_shown_cannot_be_approved(desk, value):
    with pytest.raises(InvalidArguments):
        await decide(desk, pay(note=value))


@pytest.mark.requirement("X-29")
def test_different_values_are_different_texts():
    values = [1, 1.0, "1", True, None, "null", [], {}, [1], "\\u0041", "\u00e9", "e\u0301"]
    assert len({canonical({"v": value}) for value in values}) == len(values)
