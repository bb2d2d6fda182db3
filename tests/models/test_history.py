"""Any conversation at all is brought into an order that services take, and loses nothing that was said."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.talking import ITEM, call, model_says, person, results
from valetkey.adapters.models.history import LOST, Names, in_order
from valetkey.ports.agents import Message, ToolCall, ToolText

IDS = st.sampled_from(["c1", "c2", "c-3", "x" * 64, "x" * 80, "ü", ""])
TOOLS = st.sampled_from(["get_item", "mail.send", "ü" * 70])
WORDS = st.sampled_from(["hello", "what?", "so", "", " "])
CALLS = st.builds(ToolCall, id=IDS, tool=TOOLS, arguments=st.just({}))
GIVEN = st.builds(ToolText, id=IDS, tool=TOOLS, text=WORDS)
MESSAGES = st.one_of(
    st.builds(Message, role=st.just("user"), text=WORDS),
    st.builds(
        Message,
        role=st.just("assistant"),
        text=WORDS,
        calls=st.lists(CALLS, max_size=3).map(tuple),
    ),
    st.builds(Message, role=st.just("tool"), results=st.lists(GIVEN, max_size=3).map(tuple)),
)


@pytest.mark.requirement("fault.turn-order")
@settings(max_examples=300)
@given(st.lists(MESSAGES, max_size=3), st.lists(MESSAGES, min_size=3, max_size=9))
def test_any_conversation_comes_into_order(first, then):
    messages = [*first, person("hello"), *then]
    ordered = in_order(messages)
    assert not ordered or ordered[0].role == "user"
    used: list[str] = []
    for number, message in enumerate(ordered):
        before = ordered[number - 1] if number else None
        assert before is None or before.role != message.role
        wanted = [each.id for each in before.calls] if before else []
        assert sorted(each.id for each in message.results) == sorted(wanted)
        assert bool(message.results) == (message.role == "tool")
        assert message.role == "tool" or message.text.strip() or message.calls
        used += [each.id for each in message.calls]
    assert not ordered or not ordered[-1].calls
    assert len(set(used)) == len(used)
    assert all(set(each) <= set(string.ascii_letters + string.digits + "_-") and 0 < len(each) <= 64 for each in used)
    said = [message.text for message in messages if message.role == "user" and message.text.strip()]
    assert "\n\n".join(message.text for message in ordered if message.role == "user") == "\n\n".join(said)
    assert in_order(ordered) == ordered


@pytest.mark.requirement("fault.turn-order")
def test_a_good_conversation_stays_as_it_is():
    good = [person("a"), model_says("b", call(1), call(2)), results(call(1), call(2)), model_says("c"), person("d")]
    assert in_order(good) == good


@pytest.mark.requirement("fault.turn-order")
def test_what_has_no_result_is_told_as_lost():
    ordered = in_order([person("a"), model_says("", call(1), call(2)), results(call(2)), person("b")])
    assert {each.id: each.text for each in ordered[2].results} == {"c2": '{"name": "hammer"}', "c1": LOST}


def test_names_go_out_in_a_form_that_is_taken_and_come_back_as_they_were():
    tools = [{**ITEM, "name": name} for name in ("get_item", "get.item", "get item", "x" * 70, "x" * 71, "ü")]
    names = Names(tools, [])
    sent = [names.sent(str(tool["name"])) for tool in tools]
    assert sent[0] == "get_item"
    assert len(set(sent)) == len(sent)
    assert [names.meant(each) for each in sent] == [tool["name"] for tool in tools]
    assert names.meant("nobodys") == "nobodys"
