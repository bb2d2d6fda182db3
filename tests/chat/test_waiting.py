"""Calls that wait for a person: accounts to connect, calls to approve; asked once, gone on by themselves."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chat.kit import Room, call, come_back, room, strict, token_of
from tests.road.support import client_section
from valetkey.entrypoints.chat.waiting import answer_approval
from valetkey.entrypoints.chat.withdrawn import withdraw
from valetkey.identity.verifiers.vouched import in_chat
from valetkey.interactions.states import Event
from valetkey.model.caller import CHAT_USERS
from valetkey.model.interactions import InteractionKind, Phase
from valetkey.model.needs import Need, Needs
from valetkey.testing import canary
from valetkey.testing.oauth_server import GOOGLE, OAuthServer


def google(*scopes: str) -> Needs:
    return Needs(((Need(provider="google", scopes=frozenset(scopes)),),))


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with OAuthServer(dialect=GOOGLE, title="Google") as server:
        Path("valetkey.toml").write_text(client_section("google", server), "utf-8")
        Path("valetkey.toml").chmod(0o600)
        yield server


@pytest.fixture
def here(server: OAuthServer) -> Iterator[Room]:
    with room() as made:
        made.tool("mail", lambda lent, arguments: {"echo": token_of(lent)}, google("mail"))
        made.tool("free", lambda lent, arguments: "free")
        yield made


def told(answer: dict[str, Any]) -> list[Any]:
    return [each.get("result", each.get("error")) for each in answer["tool_results"]]


@pytest.mark.requirement("d15.auth-required")
async def test_a_call_that_needs_an_account_goes_on_by_itself_when_it_is_connected(here, server):
    here.model.answers = [[call("mail", "m"), call("free", "f")], "You have mail."]
    turn = here.start("read my mail")
    asked = await here.frame("auth_required")
    assert list(asked) == [
        "type", "message", "provider", "provider_title", "provider_host", "scopes", "url", "tool", "request_id",
        "expires_at", "timestamp",
    ]  # fmt: skip
    assert (asked["provider"], asked["provider_title"], asked["tool"]) == ("google", "Google", "mail")
    assert asked["provider_host"] == "127.0.0.1"
    assert "mail" in asked["scopes"]
    assert asked["expires_at"] > asked["timestamp"]
    # The other call of the round does not wait for it.
    await here.frame("tool_progress", tool="free", status="done")
    assert here.of("tool_progress", tool="mail", status="waiting")
    assert len(here.model.asked) == 1
    await come_back(here, server.approve(asked["url"]))
    ready = await here.frame("connection_ready")
    assert (list(ready), ready["request_id"]) == (["type", "message", "request_id", "timestamp"], asked["request_id"])
    await asyncio.wait_for(turn, 10)
    answer = here.frames[-1]
    assert (answer["message"], told(answer)) == ("You have mail.", [{"echo": "***"}, "free"])
    (done,) = here.of("tool_progress", tool="mail", status="done")
    assert (done["account"]["provider"], done["account"]["profile"]) == ("google", "default")
    assert canary.find({"all": here.everything}, server.issued) == []
    strict(here.history)
    # What was connected is there for the next turn.
    here.model.answers = [call("mail"), "Again."]
    await here.say("again")
    assert len(here.of("auth_required")) == 1


@pytest.mark.requirement("d15.auth-required")
async def test_calls_that_need_one_account_ask_once(here, server):
    here.model.answers = [[call("mail") for _ in range(4)], "Done."]
    turn = here.start("go")
    asked = await here.frame("auth_required")
    await here.frame("tool_progress", 4, status="waiting")
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(here.of("auth_required")) == 1
    await come_back(here, server.approve(asked["url"]))
    await asyncio.wait_for(turn, 10)
    assert len(here.of("connection_ready")) == 1
    assert told(here.frames[-1]) == [{"echo": "***"}] * 4
    assert server.exchanges == 1


@pytest.mark.requirement("d15.auth-required")
async def test_a_refusal_is_told_to_the_model(here, server):
    here.model.answers = [call("mail"), "You said no."]
    turn = here.start("go")
    asked = await here.frame("auth_required")
    with pytest.raises(Exception, match=r"denied|refused|said no"):
        await come_back(here, server.deny(asked["url"]))
    await asyncio.wait_for(turn, 10)
    (text,) = told(here.frames[-1])
    assert text.startswith("The Google account was not connected: ")
    assert here.of("connection_ready") == []


@pytest.mark.requirement("d15.auth-required")
async def test_a_question_that_nobody_answers_ends(here):
    here.model.answers = [call("mail"), "Nobody came."]
    turn = here.start("go")
    await here.frame("auth_required")
    await here.clock.sleepers(1)
    here.clock.advance(700)
    await asyncio.wait_for(turn, 10)
    assert told(here.frames[-1])[0].startswith("Nobody connected a Google account in time.")


@pytest.mark.requirement("D.mid-turn-logout")
async def test_cancelled_while_a_person_is_asked_nothing_is_called_when_they_answer(here, server):
    here.model.answers = [call("mail", "m"), "Never."]
    turn = here.start("go")
    asked = await here.frame("auth_required")
    sent = len(here.frames)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    assert here.history[2].results[0].text == "Interrupted: the person stopped this before it was called."
    strict(here.history)
    # The person may be at the provider by now: what they connect is theirs.
    await come_back(here, server.approve(asked["url"]))
    assert len(here.frames) == sent
    assert len(here.model.asked) == 1


@pytest.mark.requirement("D.scheme-providers")
async def test_several_accounts_that_fit_are_told_apart_by_nobody_and_said_so(here, server):
    from tests.connections.system import held

    for profile in ("work", "home"):
        await held(here.system, profile, owner=here.session.owner, scopes=("mail",))
    here.model.answers = [call("mail"), "Which?"]
    answer = await here.say("go")
    assert "home" in told(answer)[0]
    assert "work" in told(answer)[0]
    assert "make one of them the default one" in told(answer)[0]
    assert "profile=" not in told(answer)[0]


@pytest.mark.requirement("fault.logout-residue")
async def test_what_a_session_that_ended_had_asked_is_withdrawn(here, server):
    here.model.answers = [call("mail")]
    turn = here.start("go")
    asked = await here.frame("auth_required")
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    await withdraw(here.chat, here.session)
    with pytest.raises(Exception, match="chat in which this was asked has ended"):
        await come_back(here, server.approve(asked["url"]))
    assert server.exchanges == 0


# Approvals ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk() -> Iterator[Room]:
    with room() as made:
        made.paid = []  # type: ignore[attr-defined]

        def pay(lent, arguments):
            made.paid.append(dict(arguments))  # type: ignore[attr-defined]
            return "paid"

        made.tool("pay", pay)
        made.offer.marked.add("pay")
        yield made


@pytest.mark.requirement("X-29", "d15.approval")
async def test_a_yes_lets_exactly_this_call_go_on(desk):
    desk.model.answers = [call("pay", amount=5, to="ä"), "Paid.", call("pay", amount=6, to="ä"), "Hm."]
    turn = desk.start("pay")
    asked = await desk.frame("approval_required")
    assert list(asked) == ["type", "message", "approval_id", "tool", "arguments", "expires_at", "timestamp"]
    assert (asked["tool"], asked["arguments"]) == ("pay", {"amount": 5, "to": "ä"})
    assert asked["message"] == "pay waits for your approval: this operation asks for a person's approval."
    assert desk.paid == []
    assert await answer_approval(desk.chat, desk.session, asked["approval_id"], yes=True) is None
    await asyncio.wait_for(turn, 10)
    assert desk.paid == [{"amount": 5, "to": "ä"}]
    assert told(desk.frames[-1]) == ["paid"]
    # Another amount, and even the same one again, is another question.
    turn = desk.start("once more")
    again = await desk.frame("approval_required", 2)
    assert again["approval_id"] != asked["approval_id"]
    assert await answer_approval(desk.chat, desk.session, asked["approval_id"], yes=True) is not None
    assert await answer_approval(desk.chat, desk.session, again["approval_id"], yes=False) is None
    await asyncio.wait_for(turn, 10)
    assert told(desk.frames[-1])[0].startswith("The person did not approve this call.")
    assert len(desk.paid) == 1
    assert desk.session.approvals == {}


@pytest.mark.requirement("X-29")
async def test_two_calls_alike_need_two_answers(desk):
    desk.model.answers = [[call("pay", amount=5), call("pay", amount=5)], "Done."]
    turn = desk.start("pay twice")
    first = await desk.frame("approval_required")
    await desk.frame("tool_progress", 2, status="waiting")
    assert await answer_approval(desk.chat, desk.session, first["approval_id"], yes=True) is None
    second = await desk.frame("approval_required", 2)
    assert len(desk.paid) == 1
    assert await answer_approval(desk.chat, desk.session, second["approval_id"], yes=True) is None
    await asyncio.wait_for(turn, 10)
    assert len(desk.paid) == 2


@pytest.mark.requirement("X-29", "W-06")
async def test_nobody_but_the_person_at_this_socket_answers(desk):
    """Neither another session, nor another window of the same user."""
    ann = in_chat("ann", workspace=CHAT_USERS)
    mine, window, other = desk.another("s1", ann), desk.another("s2", ann), desk.another("s3")
    stranger = desk.another("s1", in_chat("bob", workspace=CHAT_USERS))
    desk.model.answers = [call("pay", amount=5), "Done."]
    turn = desk.start("pay", mine)
    asked = await desk.frame("approval_required")
    for wrong in (window, other, stranger):
        wrong.approvals[asked["approval_id"]] = asyncio.get_running_loop().create_future()
        assert "not yours" in (await answer_approval(desk.chat, wrong, asked["approval_id"], yes=True) or "")
    assert "no such question" in (await answer_approval(desk.chat, mine, "0" * 64, yes=True) or "")
    # A yes in one window lets no call of another window through.
    assert await answer_approval(desk.chat, mine, asked["approval_id"], yes=True) is None
    desk.model.answers.insert(0, call("pay", amount=5))
    second = desk.start("pay", window)
    await desk.frame("approval_required", 2)
    await asyncio.wait_for(turn, 10)
    assert len(desk.paid) == 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


@pytest.mark.requirement("d15.approval")
async def test_an_answer_on_our_page_counts_too(desk):
    desk.model.answers = [call("pay", amount=5), "Done."]
    turn = desk.start("pay")
    asked = await desk.frame("approval_required")
    row = await desk.system.interactions.get(asked["approval_id"])
    await desk.system.interactions.move(row, Event.ANSWER, answer={"by": ["host", "x"], "at": desk.clock.now()})
    await asyncio.wait_for(turn, 10)
    assert len(desk.paid) == 1


@pytest.mark.requirement("d15.approval")
async def test_an_approval_of_a_turn_that_was_given_up_is_withdrawn(desk):
    desk.model.answers = [call("pay", amount=5)]
    turn = desk.start("pay")
    asked = await desk.frame("approval_required")
    sent = len(desk.frames)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    row = await desk.system.interactions.get(asked["approval_id"])
    assert row.phase is Phase.EXPIRED
    assert await answer_approval(desk.chat, desk.session, asked["approval_id"], yes=True) is not None
    assert (desk.paid, len(desk.frames), desk.session.approvals) == ([], sent, {})
    assert await desk.system.interactions.of_owner(desk.session.owner, InteractionKind.APPROVE) == []


@pytest.mark.requirement("X-29")
async def test_a_yes_that_was_not_used_ends_with_its_turn(desk, monkeypatch):
    decide, hangs = desk.chat.road.policy.decide, asyncio.Event()

    async def just_before(caller, asked):
        if desk.of("approval_required") and not hangs.is_set():
            hangs.set()
            await asyncio.Event().wait()
        return await decide(caller, asked)

    monkeypatch.setattr(desk.chat.road.policy, "decide", just_before)
    desk.model.answers = [call("pay", amount=5), call("pay", amount=5)]
    turn = desk.start("pay")
    asked = await desk.frame("approval_required")
    assert await answer_approval(desk.chat, desk.session, asked["approval_id"], yes=True) is None
    await asyncio.wait_for(hangs.wait(), 10)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    turn = desk.start("pay")
    await desk.frame("approval_required", 2)
    assert desk.paid == []
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)


@pytest.mark.requirement("d15.approval")
async def test_an_approval_that_nobody_gives_ends(desk):
    desk.model.answers = [call("pay", amount=5), "Nobody."]
    turn = desk.start("pay")
    await desk.frame("approval_required")
    await desk.clock.sleepers(1)
    desk.clock.advance(700)
    await asyncio.wait_for(turn, 10)
    assert told(desk.frames[-1])[0].startswith("Nobody approved this call in time.")
    assert desk.paid == []


async def test_too_many_questions_are_a_result_that_can_be_read(desk):
    desk.model.answers = [[call("pay", amount=amount) for amount in range(22)], "Too many."]
    desk.chat.config = desk.chat.config.model_copy(update={"max_tool_calls": 30})
    turn = desk.start("pay")
    await desk.frame("tool_progress", 2, status="failed")
    refused = desk.of("tool_progress", status="failed")
    assert all("wait for a person's approval already" in each["error"] for each in refused)
    await desk.frame("approval_required", 20)
    for asked in desk.of("approval_required"):
        await answer_approval(desk.chat, desk.session, asked["approval_id"], yes=False)
    await asyncio.wait_for(turn, 10)
    assert desk.paid == []
