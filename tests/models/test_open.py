"""Which model an id means, what it needs, and what choosing one costs."""

import builtins
import importlib.util
import json
import subprocess
import sys

import pytest

from tests.models.talking import ITEM, call, model_says, person, pieces, results
from valetkey.adapters.models.ids import Service, read_id
from valetkey.errors import ConfigurationError
from valetkey.ports.agents import ModelChoice, ToolCall
from valetkey.wiring.models import open_model

HEAVY = ("pydantic_ai", "boto3", "botocore", "anthropic", "openai", "google.genai", "httpx2", "logfire")


@pytest.mark.requirement("D.other-models")
@pytest.mark.parametrize(
    ("model_id", "service", "name"),
    [
        (
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            Service.BEDROCK,
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("amazon.nova-lite-v1:0", Service.BEDROCK, "amazon.nova-lite-v1:0"),
        ("bedrock:amazon.nova-lite-v1:0", Service.BEDROCK, "amazon.nova-lite-v1:0"),
        ("BEDROCK:abcdef123456", Service.BEDROCK, "abcdef123456"),
        (
            "arn:aws:bedrock:us-east-1:1:provisioned-model/x",
            Service.BEDROCK,
            "arn:aws:bedrock:us-east-1:1:provisioned-model/x",
        ),
        ("custom-thing", Service.BEDROCK, "custom-thing"),
        ("anthropic:claude-opus-4-6", Service.ANTHROPIC, "claude-opus-4-6"),
        ("openai:llama3.1:8b", Service.OPENAI, "llama3.1:8b"),
        ("google:gemini-2.5-flash", Service.GOOGLE, "gemini-2.5-flash"),
        ("google-gla:gemini-2.5-flash", Service.GOOGLE, "gemini-2.5-flash"),
    ],
)
def test_an_id_tells_who_serves_it(model_id, service, name):
    read = read_id(model_id)
    assert (read.service, read.name) == (service, name)
    assert open_model(ModelChoice(model_id=model_id)).model_id == model_id


@pytest.mark.requirement("D.other-models")
@pytest.mark.parametrize("model_id", ["", " ", "openai:", "anthropic: ", "gpt:4o", "mistral:large", ":x"])
def test_an_id_of_nobody_is_refused_with_examples(model_id):
    with pytest.raises(ConfigurationError, match=r"Expected for example .*'offline'"):
        open_model(ModelChoice(model_id=model_id))


@pytest.mark.requirement("D.other-models")
@pytest.mark.parametrize(
    ("model_id", "library", "extra"),
    [
        ("amazon.nova-lite-v1:0", "boto3", "chat"),
        ("amazon.nova-lite-v1:0", "pydantic_ai", "chat"),
        ("anthropic:claude-opus-4-6", "anthropic", "chat,anthropic"),
        ("openai:gpt-4o", "openai", "chat,openai"),
        ("google:gemini-2.5-flash", "google.genai", "chat,gemini"),
    ],
)
def test_a_library_that_is_not_there_is_named_with_what_installs_it(monkeypatch, model_id, library, extra):
    real = importlib.util.find_spec
    monkeypatch.setattr("valetkey.adapters.models.ids.find_spec", lambda name: None if name == library else real(name))
    with pytest.raises(ConfigurationError) as caught:
        open_model(ModelChoice(model_id=model_id))
    assert f"needs {library}," in str(caught.value)
    assert f"pip install 'valetkey[{extra}]'" in str(caught.value)


def test_a_package_around_it_that_is_not_there_is_told_the_same(monkeypatch):
    def nothing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("valetkey.adapters.models.ids.find_spec", nothing)
    with pytest.raises(ConfigurationError, match="not installed"):
        open_model(ModelChoice(model_id="google:gemini-2.5-flash"))


@pytest.mark.requirement("D.model-keys")
def test_an_arn_is_shown_without_the_account():
    assert read_id("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x").shown == "us.x"


CHATTING = """
import asyncio, json, sys
import valetkey
from valetkey.ports.agents import Message, ModelChoice
from valetkey.wiring.models import open_model

async def main():
    for model_id in ("offline", "us.x", "openai:x", "anthropic:x", "google:x"):
        model = open_model(ModelChoice(model_id=model_id))
        if model_id == "offline":
            answer = model.answer([Message(role="user", text="Hi")], [], system="", stream=True)
            said = [piece async for piece in answer]
        await model.close()
    print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))

asyncio.run(main())
"""


@pytest.mark.requirement("d16.stand-in")
def test_choosing_a_model_and_talking_to_the_stand_in_load_no_library():
    ended = subprocess.run(
        [sys.executable, "-c", CHATTING, *HEAVY], check=True, capture_output=True, text=True, timeout=30
    )
    assert json.loads(ended.stdout) == []


@pytest.mark.requirement("d16.stand-in")
async def test_the_stand_in_streams_word_by_word_and_calls_in_parallel():
    model = open_model(ModelChoice(model_id="Offline"))
    asked = person('CALL get_item {"item_id": 1}\nCALL get_item {"item_id": 2}')
    came = await pieces(model, [asked], stream=True)
    calls = [piece for piece in came if isinstance(piece, ToolCall)]
    assert [each.arguments for each in calls] == [{"item_id": 1}, {"item_id": 2}]
    told = [asked, model_says("", *calls), results(*calls)]
    whole = await pieces(model, told)
    words = await pieces(model, told, stream=True)
    assert len(whole) == 1
    assert len(words) > 4
    assert "".join(map(str, words)) == whole[0]
    assert "hammer" in str(whole[0])


@pytest.mark.requirement("d16.stand-in")
async def test_the_stand_in_numbers_its_calls_once_though_the_window_moves_on():
    model = open_model(ModelChoice(model_id="offline"))
    ids = [
        each.id
        for _ in range(3)
        for each in await pieces(model, [person("CALL get_item")])
        if isinstance(each, ToolCall)
    ]
    assert len(set(ids)) == 3


@pytest.mark.requirement("d16.stand-in")
async def test_the_stand_in_needs_none_of_the_libraries(monkeypatch):
    real = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name.partition(".")[0] in {each.partition(".")[0] for each in HEAVY}:
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(builtins, "__import__", refuse)
    model = open_model(ModelChoice(model_id="offline"))
    assert [
        each.arguments
        for each in await pieces(model, [person("get item 7")], tools=[ITEM])
        if isinstance(each, ToolCall)
    ] == [{"item_id": 7}]
    assert call(1).tool == "get_item"
