"""Anthropic, OpenAI-compatible servers and Google: their own libraries against fakes on loopback."""

import asyncio
import json
import threading
import time
from dataclasses import replace

import pytest

from tests.models.fake_bedrock import fail, say, use, use_all
from tests.models.fake_services import FakeServices
from tests.models.talking import ASKED, ITEM, Open, call, model_says, pieces, results
from valetkey.errors import ModelError
from valetkey.ports.agents import ChatModel, ModelFault, ToolCall
from valetkey.secret import Secret

KEY = "sk-of-nobody-0001"
IDS = ("openai:gpt-4o", "anthropic:claude-opus-4-6", "google:gemini-2.5-flash", "google-gla:gemini-2.5-flash")
EACH = pytest.mark.parametrize("model_id", IDS)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def at(services: FakeServices, opened: Open, model_id: str, **settings: object) -> ChatModel:
    base = f"{services.url}/v1" if model_id.startswith("openai") else services.url
    return opened(model_id, base_url=base, api_key=Secret(KEY), **settings)


@pytest.mark.requirement("D.other-models")
@EACH
@BOTH
async def test_text_and_calls(services: FakeServices, opened: Open, model_id, stream):
    wanted = {"item_id": 1}, {"item_id": "ABC", "price": 2.5}
    services.script(
        say("It is a hammer."),
        use_all(("get_item", wanted[0]), ("get_item", wanted[1]), text="Let me see."),
        say("Both."),
    )
    model = at(services, opened, model_id)
    assert await pieces(model, stream=stream) == (["It ", "is ", "a ", "hammer."] if stream else ["It is a hammer."])
    came = await pieces(model, stream=stream)
    calls = [piece for piece in came if isinstance(piece, ToolCall)]
    assert "".join(piece for piece in came if isinstance(piece, str)) == "Let me see."
    assert [(each.tool, each.arguments) for each in calls] == [("get_item", wanted[0]), ("get_item", wanted[1])]
    assert len({each.id for each in calls}) == 2
    assert await pieces(model, [*ASKED, model_says("Let me see.", *calls), results(*calls)]) == ["Both."]
    sent = json.dumps(services.asked[-1].body)
    assert sent.count("hammer") == 2
    assert "Be brief." in sent
    assert KEY in str(services.asked[-1].headers.values())
    assert KEY not in sent + services.asked[-1].path


@pytest.mark.requirement("chat.model-apology")
@EACH
@BOTH
async def test_a_failure_has_its_fault_and_none_of_the_services_words(
    services: FakeServices, opened: Open, model_id, stream
):
    google = model_id.startswith("google")
    model = at(services, opened, model_id)
    for number, (error, status, fault) in enumerate(
        [
            ("RESOURCE_EXHAUSTED" if google else "rate_limit_error", 429, ModelFault.BUSY),
            ("UNAVAILABLE" if google else "api_error", 503, ModelFault.UNAVAILABLE),
            ("UNAUTHENTICATED" if google else "authentication_error", 401, ModelFault.REFUSED),
            ("NOT_FOUND" if google else "not_found_error", 404, ModelFault.REFUSED),
            ("INVALID_ARGUMENT" if google else "invalid_request_error", 400, ModelFault.INVALID),
        ],
        1,
    ):
        services.script(fail(error, status, f"word of the service about {KEY}"))
        with pytest.raises(ModelError) as caught:
            await pieces(model, stream=stream)
        assert caught.value.fault is fault, error
        assert len(services.asked) == number  # the library does not try again: we do
        assert "word of" not in str(caught.value)
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.requirement("D.model-cancel")
@EACH
async def test_an_answer_that_does_not_come_in_time_is_given_up(services: FakeServices, opened: Open, model_id):
    gate = threading.Event()
    services.script(say("Too late.", gate=gate))
    with pytest.raises(ModelError) as caught:
        await pieces(at(services, opened, model_id, timeout=0.3))
    gate.set()
    assert caught.value.fault is ModelFault.TIMEOUT


@pytest.mark.requirement("D.model-cancel")
@EACH
async def test_cancelling_gives_up_at_once_and_the_next_answer_comes(services: FakeServices, opened: Open, model_id):
    gate = threading.Event()
    services.script(say("Too late.", gate=gate), say("Hi."))
    model = at(services, opened, model_id)
    asking = asyncio.create_task(pieces(model))
    await asyncio.to_thread(services.wait_for, 1)
    began = time.perf_counter()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await pieces(model) == ["Hi."]
    assert time.perf_counter() - began < 2
    gate.set()


@pytest.mark.requirement("D.other-models")
@pytest.mark.parametrize(
    ("model_id", "variable"),
    [
        ("openai:gpt-4o", "OPENAI_API_KEY"),
        ("anthropic:claude-opus-4-6", "ANTHROPIC_API_KEY"),
        ("google:gemini-2.5-flash", "GOOGLE_API_KEY"),
    ],
)
async def test_without_a_key_it_says_which_to_set(opened: Open, model_id, variable):
    with pytest.raises(ModelError, match=variable) as caught:
        await pieces(opened(model_id))
    assert caught.value.fault is ModelFault.REFUSED


@pytest.mark.requirement("D.other-models")
async def test_a_server_of_ones_own_needs_no_key_and_is_sent_what_such_servers_know(
    services: FakeServices, opened: Open
):
    model = opened("openai:qwen3", base_url=f"{services.url}/v1", max_tokens=77)
    await pieces(model, [*ASKED, model_says("", call(1)), results(call(1))])
    body = services.asked[0].body
    assert (body["model"], body["max_tokens"]) == ("qwen3", 77)
    assert "temperature" not in body
    assert body["tools"][0]["function"] == {
        "name": "get_item",
        "description": ITEM["description"],
        "parameters": ITEM["parameters"],
    }


async def test_the_environments_key_and_address_are_found(services: FakeServices, opened: Open, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{services.url}/v1")
    assert await pieces(opened("openai:gpt-4o")) == ["Hello from the fake service."]
    assert services.asked[0].headers["authorization"] == f"Bearer {KEY}"


async def test_what_is_no_answer_at_all_is_told_so(services: FakeServices, opened: Open):
    with pytest.raises(ModelError) as caught:
        await pieces(opened("openai:gpt-4o", base_url=f"{services.url}/v2", api_key=Secret(KEY)))
    assert caught.value.fault is ModelFault.REFUSED
    assert "model_id" in str(caught.value)


@pytest.mark.requirement("D.other-models")
async def test_the_signature_of_a_call_goes_back_with_it(services: FakeServices, opened: Open):
    model = at(services, opened, "google:gemini-3-pro-preview")
    services.script(replace(use("get_item", {"item_id": 1}), signature="c2lnbmVk"))
    calls = [piece for piece in await pieces(model) if isinstance(piece, ToolCall)]
    await pieces(model, [*ASKED, model_says("", *calls), results(*calls)])
    (part,) = services.asked[-1].body["contents"][1]["parts"]
    assert part["thoughtSignature"] == "c2lnbmVk"
