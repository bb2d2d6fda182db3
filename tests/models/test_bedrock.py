"""Bedrock as unmodified boto3 asks it: what goes out, what comes back, and what a failure is told as."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from anyio.to_thread import current_default_thread_limiter

from tests.models.fake_bedrock import Answer, FakeBedrock, fail, say, throttled, use, use_all
from tests.models.talking import ASKED, CLAUDE, ITEM, Open, call, model_says, person, pieces, results
from valetkey.errors import ModelError
from valetkey.ports.agents import Message, ModelChoice, ModelFault, ToolCall
from valetkey.secret import Secret

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["converse", "converse-stream"])
DONE = results(call(1))


@pytest.mark.requirement("D.bedrock")
@BOTH
async def test_text_comes_whole_or_in_pieces(bedrock: FakeBedrock, opened: Open, stream):
    bedrock.script(say("It is a hammer."))
    assert await pieces(opened(CLAUDE), stream=stream) == (
        ["It ", "is ", "a ", "hammer."] if stream else ["It is a hammer."]
    )
    assert [(each.model, each.stream) for each in bedrock.asked] == [(CLAUDE, stream)]


@pytest.mark.requirement("D.bedrock")
@BOTH
async def test_calls_come_after_the_text_and_their_results_go_back(bedrock: FakeBedrock, opened: Open, stream):
    wanted = ("get_item", {"item_id": 1}), ("get_item", {"item_id": "ABC", "price": 2.5})
    bedrock.script(use_all(*wanted, text="Let me see.", ids=["t-1", "t-2"]), say("Both."))
    model = opened(CLAUDE)
    came = await pieces(model, stream=stream)
    calls = [piece for piece in came if isinstance(piece, ToolCall)]
    assert "".join(piece for piece in came if isinstance(piece, str)) == "Let me see."
    assert [(each.id, each.tool, each.arguments) for each in calls] == [("t-1", *wanted[0]), ("t-2", *wanted[1])]
    await pieces(model, [*ASKED, model_says("Let me see.", *calls), results(*calls)], stream=stream)
    last = bedrock.asked[-1]
    assert last.roles == ["user", "assistant", "user"]
    assert [block["toolUse"]["input"] for block in last.body["messages"][1]["content"][1:]] == [
        wanted[0][1],
        wanted[1][1],
    ]
    given = [block["toolResult"] for block in last.body["messages"][2]["content"]]
    assert [(each["toolUseId"], each["content"]) for each in given] == [
        ("t-1", [{"text": '{"name": "hammer"}'}]),
        ("t-2", [{"text": '{"name": "hammer"}'}]),
    ]


@pytest.mark.requirement("fault.schemas", "d16.bedrock")
@BOTH
async def test_what_is_sent_is_what_was_set(bedrock: FakeBedrock, opened: Open, stream):
    await pieces(opened(CLAUDE, max_tokens=77), stream=stream)
    await pieces(opened(CLAUDE, temperature=0.0), system="", tools=[], stream=stream)
    await pieces(opened(CLAUDE, top_p=0.5), stream=stream)
    bare, cold, narrow = bedrock.asked
    assert bare.body["inferenceConfig"] == {"maxTokens": 77}
    assert cold.body["inferenceConfig"] == {"maxTokens": 4096, "temperature": 0.0}
    assert narrow.body["inferenceConfig"] == {"maxTokens": 4096, "topP": 0.5}
    assert (bare.system, cold.system) == ("Be brief.", "")
    assert bare.tools == [
        {
            "name": "get_item",
            "description": ITEM["description"],
            "inputSchema": {"json": ITEM["parameters"]},  # as it was given, titles and all
        }
    ]
    assert "toolConfig" not in cold.body
    assert set(bare.body) == {"messages", "system", "inferenceConfig", "toolConfig"}


@pytest.mark.requirement("chat.any-model")
@pytest.mark.parametrize(
    ("model_id", "sent"),
    [
        ("amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("bedrock:mistral.mistral-large-2407-v1:0", "mistral.mistral-large-2407-v1:0"),
        ("us.deepseek.r1-v1:0", "us.deepseek.r1-v1:0"),
        ("us.meta.llama3-3-70b-instruct-v1:0", "us.meta.llama3-3-70b-instruct-v1:0"),
        ("openai.gpt-9-v1:0", "openai.gpt-9-v1:0"),
        ("somebody.new-model", "somebody.new-model"),
        (f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{CLAUDE}",) * 2,
    ],
)
async def test_every_model_of_bedrock_is_asked_by_its_own_id(bedrock: FakeBedrock, opened: Open, model_id, sent):
    history = [
        person("a"),
        model_says("", call(1)),
        DONE,
        model_says("b"),
        person("c"),
        model_says("", call(2)),
        results(call(2)),
    ]
    for stream in (False, True):
        await pieces(
            opened(model_id, temperature=0.5) if "gpt" not in model_id else opened(model_id), history, stream=stream
        )
    assert {each.model for each in bedrock.asked} == {sent}


CROOKED = {
    "begins with an answer": [model_says("Hello"), person("a")],
    "begins with results": [DONE, person("a")],
    "ends in mid-turn": [person("a"), model_says("x", call(1))],
    "a call without a result": [person("a"), model_says("", call(1), call(2)), DONE, person("b")],
    "a result without a call": [person("a"), results(call(7)), person("b")],
    "results of another round": [person("a"), model_says("", call(1)), results(call(2)), person("b")],
    "results in two messages": [person("a"), model_says("", call(1), call(2)), results(call(2)), DONE],
    "two of one side": [person("a"), person("b"), model_says("c"), model_says("d", call(1)), DONE],
    "nothing said": [person("a"), model_says("  "), person(" \n"), person("b")],
    "an empty result": [person("a"), model_says("", call(1)), results(call(1), text=" ")],
    "the same id twice": [person("a"), model_says("", call(1)), DONE, model_says("", call(1)), DONE],
    "an id of another form": [
        person("a"),
        model_says("", ToolCall(id="call/ü" * 20, tool="get_item")),
        results(ToolCall(id="call/ü" * 20, tool="get_item")),
    ],
    "tools of another form": [
        person("a"),
        model_says("", call(1, tool="mail.send ü"), call(2, tool="x" * 80)),
        results(call(1, tool="mail.send ü"), call(2, tool="x" * 80)),
    ],
    "a person after results": [person("a"), model_says("", call(1)), DONE, person("b")],
}


@pytest.mark.requirement("fault.turn-order")
async def test_a_crooked_conversation_is_sent_in_an_order_that_bedrock_takes(bedrock: FakeBedrock, opened: Open):
    model = opened(CLAUDE)
    for name, history in CROOKED.items():
        for tools in ((ITEM,), ()):
            assert await pieces(model, history, tools=tools) == ["Hello from the fake Bedrock."], name
            assert bedrock.faults == []  # it judges every request
            said = json.dumps(bedrock.asked[-1].body["messages"])
            assert all(message.text.strip() in said for message in history if message.role == "user"), name


@pytest.mark.requirement("D.bedrock")
async def test_a_call_without_a_result_is_told_as_interrupted(bedrock: FakeBedrock, opened: Open):
    await pieces(opened(CLAUDE), CROOKED["a call without a result"])
    content = bedrock.asked[0].body["messages"][2]["content"]
    assert [block["toolResult"]["toolUseId"] for block in content[:2]] == ["c1", "c2"]
    assert "interrupted" in content[1]["toolResult"]["content"][0]["text"]


@pytest.mark.requirement("D.bedrock")
@BOTH
async def test_a_tool_with_a_name_that_bedrock_does_not_take_is_called_by_its_own(
    bedrock: FakeBedrock, opened: Open, stream
):
    odd = [{**ITEM, "name": name} for name in ("mail.send", "mail_send", "m" * 70, "m" * 71)]
    model = opened(CLAUDE)
    await pieces(model, tools=odd)
    sent = [tool["name"] for tool in bedrock.asked[0].tools]
    assert len(set(sent)) == len(odd)
    bedrock.script(use_all(*((name, {"item_id": 1}) for name in [*sent, "nobodys"])))
    came = await pieces(model, tools=odd, stream=stream)
    assert [each.tool for each in came if isinstance(each, ToolCall)] == [*(tool["name"] for tool in odd), "nobodys"]


@pytest.mark.requirement("D.bedrock")
@BOTH
async def test_an_answer_that_was_cut_says_so_and_calls_no_half_of_a_call(bedrock: FakeBedrock, opened: Open, stream):
    bedrock.script(
        say("It is a", stop="max_tokens"),
        replace(use("get_item", {"item_id": 1}, text="Let me"), stop="max_tokens"),
        say("It is", stop="content_filtered"),
        say("", stop="guardrail_intervened"),
    )
    model = opened(CLAUDE, max_tokens=5)
    answers = ["".join(map(str, await pieces(model, stream=stream))) for _ in range(4)]
    assert answers[0].startswith("It is a\n\n[Note: The answer was cut off at max_tokens=5.")
    assert answers[1].startswith("Let me\n\n[Note: The answer was cut off")
    assert answers[2].startswith("It is\n\n[Note: The model's provider held back")
    assert answers[3].startswith("[Note: The model's provider held back")


@pytest.mark.requirement("D.bedrock")
@BOTH
async def test_thoughts_are_not_told_and_go_back_within_the_turn(bedrock: FakeBedrock, opened: Open, stream):
    thought = {"reasoningContent": {"reasoningText": {"text": "Number one, then.", "signature": "sig-1"}}}
    asks = use("get_item", {"item_id": 1}).blocks
    bedrock.script(Answer(blocks=(thought, *asks), stop="tool_use"), say("A hammer."), say("Bye."))
    model = opened(CLAUDE)
    came = await pieces(model, stream=stream)
    calls = [piece for piece in came if isinstance(piece, ToolCall)]
    assert came == calls
    history = [*ASKED, model_says("", *calls), results(*calls)]
    assert "Number one" not in str(await pieces(model, history, stream=stream))
    kinds = [next(iter(block)) for block in bedrock.asked[1].body["messages"][1]["content"]]
    assert kinds == ["reasoningContent", "toolUse"]
    await pieces(model, [*history, model_says("A hammer."), person("Thanks")], stream=stream)
    assert b"Number one" not in bedrock.asked[2].raw  # another turn: the thoughts are over


ERRORS = [
    (throttled(), ModelFault.BUSY),
    (fail("ModelNotReadyException", 429), ModelFault.UNAVAILABLE),
    (fail("ServiceUnavailableException", 503), ModelFault.UNAVAILABLE),
    (fail("InternalServerException", 500), ModelFault.UNAVAILABLE),
    (fail("ModelErrorException", 424), ModelFault.UNAVAILABLE),
    (fail("ModelTimeoutException", 408), ModelFault.TIMEOUT),
    (fail("AccessDeniedException", 403), ModelFault.REFUSED),
    (fail("UnrecognizedClientException", 403), ModelFault.REFUSED),
    (fail("ExpiredTokenException", 403), ModelFault.REFUSED),
    (fail("ResourceNotFoundException", 404), ModelFault.REFUSED),
    (fail("ServiceQuotaExceededException", 400), ModelFault.REFUSED),
    (fail("ValidationException", 400), ModelFault.INVALID),
    (fail("ValidationException", 400, "The provided model identifier is invalid."), ModelFault.REFUSED),
    (fail("ValidationException", 400, "Input is too long for requested model."), ModelFault.TOO_LONG),
    (
        fail("ValidationException", 400, "input length and `max_tokens` exceed context limit: 9 > 8"),
        ModelFault.TOO_LONG,
    ),
    (fail("ValidationException", 400, "Too many input tokens. Max input tokens: 8"), ModelFault.TOO_LONG),
    (Answer(drop=True), ModelFault.UNAVAILABLE),
]
FOREIGN = ("arn:", "1234", "happy", "wait before", "http", "exceed context", "0000")


@pytest.mark.requirement("chat.model-apology")
@BOTH
async def test_a_failure_has_its_fault_and_none_of_the_services_words(
    bedrock: FakeBedrock, opened: Open, caplog, stream
):
    caplog.set_level(logging.INFO, "valetkey")
    model = opened(CLAUDE)
    for number, (answer, fault) in enumerate(ERRORS, 1):
        caplog.clear()
        bedrock.script(answer)
        with pytest.raises(ModelError) as caught:
            await pieces(model, stream=stream)
        assert caught.value.fault is fault, answer
        assert len(bedrock.asked) == number  # botocore does not try again: we do
        assert caught.value.__cause__ is caught.value.__context__ is None
        for told in (str(caught.value), caplog.text):
            assert not any(word in told for word in FOREIGN), told
        assert str(caught.value).endswith(".")
        assert caplog.text.count(fault.value) == 1


@pytest.mark.requirement("D.bedrock")
async def test_a_stream_that_breaks_off_gives_its_beginning_and_then_the_fault(bedrock: FakeBedrock, opened: Open):
    bedrock.script(fail("throttlingException", 429, after=4))
    answer = opened(CLAUDE).answer(ASKED, [], system="", stream=True)
    assert [await anext(answer) for _ in range(3)] == ["This ", "is ", "only "]
    with pytest.raises(ModelError) as caught:
        await anext(answer)
    assert caught.value.fault is ModelFault.BUSY


@pytest.mark.requirement("D.model-cancel")
@BOTH
async def test_an_answer_that_does_not_come_in_time_is_given_up(bedrock: FakeBedrock, opened: Open, stream):
    gate = threading.Event()
    bedrock.script(say("Too late.", gate=gate))
    with pytest.raises(ModelError) as caught:
        await pieces(opened(CLAUDE, timeout=0.3), stream=stream)
    gate.set()
    assert caught.value.fault is ModelFault.TIMEOUT


@pytest.mark.requirement("D.model-cancel")
async def test_a_stream_that_stops_is_given_up(bedrock: FakeBedrock, opened: Open):
    step = threading.Event()
    bedrock.script(say("One two three.", step=step))
    with pytest.raises(ModelError) as caught:
        await pieces(opened(CLAUDE, timeout=0.3), stream=True)
    step.set()
    assert caught.value.fault is ModelFault.TIMEOUT


@pytest.mark.requirement("D.model-cancel")
@BOTH
async def test_cancelling_gives_up_at_once(bedrock: FakeBedrock, opened: Open, stream):
    bedrock.script(say("Hi."), say("Too late.", gate=threading.Event()), say("Hi."))
    model = opened(CLAUDE, timeout=60.0)
    await pieces(model)
    asking = asyncio.create_task(pieces(model, stream=stream))
    await asyncio.to_thread(bedrock.wait_for, 2)
    began = time.perf_counter()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert time.perf_counter() - began < 0.5
    assert await asyncio.to_thread(bedrock.hung_up.wait, 5)  # no thread of ours waits on
    assert await pieces(model) == ["Hi."]


@pytest.mark.requirement("D.model-cancel")
async def test_closing_a_stream_hangs_up(bedrock: FakeBedrock, opened: Open):
    bedrock.script(say("One two three.", step=threading.Event()))
    answer = opened(CLAUDE).answer(ASKED, [], system="", stream=True)
    assert await anext(answer) == "One "
    await answer.aclose()  # type: ignore[attr-defined]  # ours is a generator
    assert await asyncio.to_thread(bedrock.hung_up.wait, 5)


@pytest.mark.requirement("D.model-cancel")
async def test_sixty_answers_are_waited_for_and_the_apps_own_threads_stay_free(bedrock: FakeBedrock, opened: Open):
    gate = threading.Event()
    bedrock.script(*[say("Hi.", gate=gate)] * 60)
    model = opened(CLAUDE)
    asking = [asyncio.create_task(pieces(model)) for _ in range(60)]  # more than anyio's 40 threads
    await asyncio.to_thread(bedrock.wait_for, 60)
    assert current_default_thread_limiter().borrowed_tokens == 0
    gate.set()
    assert await asyncio.gather(*asking) == [["Hi."]] * 60


EXITING = """
import asyncio, sys
from valetkey.ports.agents import Message, ModelChoice
from valetkey.wiring.models import open_model

async def main():
    model = open_model(ModelChoice(model_id={model!r}, timeout=60.0))
    async def ask():
        async for piece in model.answer([Message(role="user", text="Hi")], [], system="", stream={stream}):
            print(piece)
    asking = asyncio.create_task(ask())
    await asyncio.to_thread(sys.stdin.readline)
    asking.cancel()
    await asyncio.wait([asking])
    print("given up")

asyncio.run(main())
"""


@pytest.mark.requirement("D.model-cancel")
@BOTH
def test_a_process_ends_though_an_answer_is_waited_for(bedrock: FakeBedrock, stream):
    gate = threading.Event()
    bedrock.script(say("Too late.", gate=gate))
    code = EXITING.format(model=CLAUDE, stream=stream)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        bedrock.wait_for(1)
        began = time.perf_counter()
        out, _ = process.communicate("\n", timeout=20)
        took = time.perf_counter() - began
    gate.set()
    assert (out, process.returncode) == ("given up\n", 0)
    assert took < 5


@pytest.mark.requirement("D.bedrock")
async def test_without_credentials_it_says_what_to_set_and_works_as_soon_as_that_is_done(
    bedrock: FakeBedrock, opened: Open, monkeypatch, caplog
):
    keys = {name: bedrock.environment()[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    for name in keys:
        monkeypatch.delenv(name)
    model = opened(CLAUDE)
    told = await asyncio.gather(pieces(model), pieces(model), return_exceptions=True)
    for error in told:
        assert isinstance(error, ModelError)
        assert "Check AWS_ACCESS_KEY_ID" in str(error)
        assert (error.fault, error.__cause__, error.__context__) == (ModelFault.REFUSED, None, None)
    assert told[0] is not told[1]
    assert [record.getMessage() for record in caplog.records if record.name == "valetkey"] == [str(told[0])]
    assert bedrock.asked == []
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    assert await pieces(model) == ["Hello from the fake Bedrock."]


@pytest.mark.requirement("D.model-keys")
async def test_a_profile_that_is_not_there_is_told_without_a_trace(bedrock: FakeBedrock, opened: Open, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    with pytest.raises(ModelError) as caught:
        await pieces(opened(CLAUDE))
    assert caught.value.fault is ModelFault.REFUSED
    assert "nobodys" not in str(caught.value)


@pytest.mark.requirement("D.bedrock")
async def test_keys_and_region_of_the_settings_come_before_the_environments(bedrock: FakeBedrock, opened: Open):
    model = opened(
        CLAUDE,
        region="eu-west-3",
        access_key_id="AKIAOTHER",
        secret_access_key=Secret("s" * 40),
        session_token=Secret("tok"),
    )
    await pieces(model)
    assert "Credential=AKIAOTHER/" in bedrock.asked[0].headers["authorization"]
    assert "/eu-west-3/" in bedrock.asked[0].headers["authorization"]
    assert bedrock.asked[0].headers["x-amz-security-token"] == "tok"


@pytest.mark.requirement("D.bedrock")
async def test_a_closed_model_opens_again_and_whoever_waits_is_told(bedrock: FakeBedrock, opened: Open):
    gate = threading.Event()
    bedrock.script(say("Too late.", gate=gate))
    model = opened(CLAUDE)
    asking = asyncio.create_task(pieces(model))
    await asyncio.to_thread(bedrock.wait_for, 1)
    await model.close()
    with pytest.raises(ModelError, match="closing"):
        await asking
    gate.set()
    assert await pieces(model) == ["Hello from the fake Bedrock."]


@pytest.mark.requirement("D.bedrock")
async def test_one_model_serves_several_loops(bedrock: FakeBedrock, opened: Open):
    model = opened(CLAUDE)

    def elsewhere() -> list[str | ToolCall]:
        return asyncio.run(pieces(model, stream=True))

    first, second = await asyncio.gather(pieces(model), asyncio.to_thread(elsewhere))
    assert "".join(map(str, second)) == first[0]


async def test_a_conversation_that_ends_with_an_answer_is_not_sent(bedrock: FakeBedrock, opened: Open):
    empty: list[Message] = []
    for history in (empty, [person("a"), model_says("b")]):
        with pytest.raises(ModelError) as caught:
            await pieces(opened(CLAUDE), history)
        assert caught.value.fault is ModelFault.INVALID
    assert bedrock.asked == []


@pytest.mark.requirement("D.model-keys")
def test_a_choice_prints_no_secret():
    assert "hidden" not in repr(
        ModelChoice(model_id=CLAUDE, secret_access_key=Secret("hidden"), api_key=Secret("hidden"))
    )


async def test_the_first_to_ask_may_give_up_while_the_model_is_opened(bedrock: FakeBedrock, opened: Open):
    model = opened(CLAUDE)
    first, second = asyncio.create_task(pieces(model)), asyncio.create_task(pieces(model))
    await asyncio.sleep(0.01)
    first.cancel()
    assert await second == ["Hello from the fake Bedrock."]


async def test_botocores_debug_lines_hold_no_secret(bedrock: FakeBedrock, opened: Open, monkeypatch, caplog):
    token = "aws-session-canary-0123456789abcdef"
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "botocore"):
        for stream in (False, True):
            bedrock.script(say("Hello."))
            assert await pieces(opened(CLAUDE), stream=stream)
    assert "Sending http request" in caplog.text
    assert "X-Amz-Security-Token" in caplog.text
    assert [line for line in caplog.messages if token in line] == []
