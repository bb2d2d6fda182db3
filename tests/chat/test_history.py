"""The window that the model is shown: whole turns, a person first, of the size that settings give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.kit import Room, call, room, strict
from valetkey.entrypoints.chat import history
from valetkey.entrypoints.chat.history import bare, rescrub, window
from valetkey.entrypoints.chat.session import Said
from valetkey.entrypoints.chat.sizes import MOST_PARTS, sized
from valetkey.ports.agents import Message, ToolText
from valetkey.scrub import Scrubber
from valetkey.secret import Secret
from valetkey.settings.bedrock import ChatConfig


def config(**settings) -> ChatConfig:
    return ChatConfig(model_id="test-model", **settings)


def flat(turns: list[list[Message]], *, tools: bool = True, **settings) -> list[Message]:
    return [message for turn in window(turns, config(**settings), tools=tools) for message in turn]


def turn(number: int, rounds: int, *, ends: bool = True) -> list[Message]:
    messages = [Message(role="user", text=f"question {number}")]
    for each in range(rounds):
        one = call("get", f"call-{number}-{each}")
        messages.append(Message(role="assistant", text=f"interim {number}", calls=(one,)))
        messages.append(Message(role="tool", results=(ToolText(id=one.id, tool="get", text="1"),)))
    return [*messages, Message(role="assistant", text=f"answer {number}")] if ends else messages


@pytest.mark.requirement("fault.turn-order", "D.window")
@given(rounds=st.lists(st.integers(0, 12), min_size=1, max_size=12), most=st.integers(1, 40), data=st.data())
def test_no_turn_is_cut_and_the_last_one_is_always_there(rounds, most, data):
    turns = [turn(number, count, ends=number < len(rounds) - 1) for number, count in enumerate(rounds)]
    strategy = data.draw(st.sampled_from(["sliding_window", "truncate", "smart_prune"]))
    shown = flat(turns, max_conversation_messages=most, conversation_strategy=strategy)
    strict(shown)
    assert shown[-len(turns[-1]) :] == turns[-1]
    assert len(shown) <= max(most, len(turns[-1]))


@pytest.mark.requirement("fault.turn-order")
def test_the_newest_turns_that_fit_are_shown():
    turns = [turn(0, 0), turn(1, 2), turn(2, 0), turn(3, 0, ends=False)]
    shown = flat(turns, max_conversation_messages=5)
    assert [message.text for message in shown] == ["question 2", "answer 2", "question 3"]
    assert flat(turns, max_conversation_messages=9) == [*turns[1], *turns[2], *turns[3]]


@pytest.mark.requirement("D.window")
def test_smart_prune_keeps_more_questions_by_leaving_out_their_calls():
    turns = [turn(0, 0), turn(1, 2), turn(2, 0), turn(3, 0, ends=False)]
    shown = flat(turns, max_conversation_messages=7, conversation_strategy="smart_prune")
    assert [message.text for message in shown] == [
        "question 0", "answer 0", "question 1", "answer 1", "question 2", "answer 2", "question 3",
    ]  # fmt: skip
    strict(shown)


def test_where_no_tool_is_offered_any_more_no_call_is_shown():
    shown = flat([turn(0, 2), turn(1, 0, ends=False)], tools=False)
    assert not any(message.calls or message.results for message in shown)
    strict(shown)
    assert bare(turn(5, 1)) == [Message(role="user", text="question 5"), Message(role="assistant", text="answer 5")]


@pytest.mark.requirement("D.window")
async def test_a_prompt_that_is_not_preserved_slides_out_with_the_oldest_turns():
    with room(max_conversation_messages=3, preserve_system_message=False, system_prompt="Be kind.") as here:
        for number in range(3):
            await here.say(f"turn {number}")
        assert [asked.system for asked in here.model.asked] == ["Be kind.", "Be kind.", ""]


@pytest.mark.requirement("D.window")
async def test_a_session_keeps_no_more_than_is_shown(monkeypatch):
    monkeypatch.setattr(history, "ENTRIES", 6)
    monkeypatch.setattr(history, "OCTETS", 210)
    monkeypatch.setattr(history, "OF_RESULT", 50)
    with room(max_conversation_messages=3) as here:
        for number in range(5):
            await here.say(f"turn {number}")
        assert [turn[0].text for turn in here.session.turns] == ["turn 3", "turn 4"]
        assert here.session.said[0].content == "turn 2"
        here.tool("big", lambda lent, arguments: {"text": "y" * 100})
        here.model.answers = [call("big"), "Big."]
        answer = await here.say("large")
        assert answer["tool_results"][0]["result"] == {"text": "y" * 100}
        kept = here.session.said[-1].tool_results[0]["result"]
        assert kept == '{"text": "' + "y" * 40 + "\n[Cut: the rest of 112 characters is not kept.]"
        await here.say("x" * 150)
        assert [said.content for said in here.session.said] == ["x" * 150, "Done."]


@pytest.mark.requirement("design.lent-remembered")
async def test_all_that_is_stored_is_scrubbed_and_ids_and_roles_stay():
    with room() as here:
        fill(here)
        await rescrub(here.session, Scrubber([Secret("user"), Secret("tool"), Secret("call-9")]))
        (question, answer, result, _) = here.session.turns[0]
        assert (question.role, question.text) == ("user", "I am ***")
        assert (answer.calls[0].id, answer.calls[0].tool, answer.calls[0].arguments) == (
            "call-9",
            "tool",
            {"as": "***"},
        )
        assert (result.results[0].id, result.results[0].text) == ("call-9", '{"was":"***"}')
        (said,) = here.session.said
        assert (said.role, said.content, said.message_id) == ("user", "I am ***", "user-1")


def fill(here: Room) -> None:
    one = call("tool", "call-9", **{"as": "user"})
    here.session.turns.append(
        [
            Message(role="user", text="I am user"),
            Message(role="assistant", calls=(one,)),
            Message(role="tool", results=(ToolText(id=one.id, tool="tool", text='{"was":"user"}'),)),
            Message(role="assistant", text="Yes."),
        ]
    )
    here.session.said.append(Said(role="user", content="I am user", at=1.0, message_id="user-1"))


# Sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("D.window")
def test_what_fits_is_left_alone_and_what_does_not_is_marked():
    small = config(max_message_size=100, enable_message_chunking=False)
    assert sized("x" * 100, small) == "x" * 100
    cut = sized("x" * 300, small)
    assert cut.startswith("x" * 100 + "\n[Cut: these are the first 100 of 300 characters.")


@pytest.mark.requirement("D.window")
@pytest.mark.parametrize("strategy", ["simple", "preserve_context", "semantic"])
@given(text=st.text(alphabet="ab. \n", min_size=201, max_size=390))
def test_parts_hold_all_of_the_text_and_overlap(strategy, text):
    settings = config(max_message_size=200, chunk_size=160, chunk_overlap=10, chunking_strategy=strategy)
    shown = sized(text, settings)
    parts = [part.partition("]\n")[2] for part in ("\n" + shown).split("\n[Part ")[1:]]
    assert 2 <= len(parts) <= MOST_PARTS
    whole = parts[0]
    for part in parts[1:]:
        assert whole.endswith(part[:10])
        whole += part[10:]
    assert whole == text


def test_parts_that_no_model_would_take_are_left_out_and_said_so():
    settings = config(max_message_size=100, chunk_size=50, chunk_overlap=0, chunking_strategy="simple")
    shown = sized("x" * 1000, settings)
    assert shown.count("x") == MOST_PARTS * 50
    assert shown.endswith(f"[Cut: parts {MOST_PARTS + 1} to 20 are left out. Ask for less at once.]")


async def test_a_large_result_is_in_parts_for_model_and_client():
    with room(max_message_size=1000, chunk_size=800, chunk_overlap=100) as here:
        here.tool("big", lambda lent, arguments: {"text": "y" * 5000})
        here.model.answers = [call("big"), "Big."]
        answer = await here.say("go")
        text = here.model.asked[1].messages[-1].results[0].text
        assert text.startswith("[Part 1 of ")
        assert answer["tool_results"][0]["result"] == text
        assert len(text) < MOST_PARTS * 900
