"""Turns through unmodified boto3 to a fake Bedrock that judges each request: order, ids, schemas; and no secret."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.chat.kit import OWN, Room, room, token_of
from tests.models.fake_bedrock import FakeBedrock, fail, say, use, use_all
from valetkey.entrypoints.chat.model import Resilient
from valetkey.testing import canary
from valetkey.wiring.models import open_model

TOKEN = "bedrock-canary/7f3a9c1e5b2d8f40"
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeBedrock]:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with FakeBedrock() as fake:
        for name, value in fake.environment().items():
            monkeypatch.setenv(name, value)
        yield fake


@pytest.fixture
async def here(bedrock: FakeBedrock) -> AsyncIterator[Room]:
    with room(model_id=MODEL, max_tool_calls=2, max_tool_call_rounds=2, max_conversation_messages=7) as made:
        clock, entropy = made.clock, made.system.entropy
        model = open_model(made.chat.config.model_choice())
        made.chat.model = Resilient(model, retries=0, delay=0.0, exponential=False, clock=clock, entropy=entropy)
        made.give(TOKEN)
        made.tool("echo", lambda lent, arguments: {"token": token_of(lent), "ä": [1, None]}, OWN)
        made.tool("empty", lambda lent, arguments: "")
        yield made
        await made.chat.model.close()


@pytest.mark.requirement(
    "seed003.applied", "seed003.not-to-the-model", "fault.echo", "fault.turn-order", "D.bedrock", "X-35"
)
@pytest.mark.parametrize("stream", [False, True])
async def test_every_request_is_valid_and_holds_no_secret(here, bedrock, stream):
    here.session.stream = stream
    bedrock.script(
        say("Hello."),
        use_all(("echo", {"note": TOKEN}), ("empty", {}), ("echo", {}), text="Three at once."),
        use("nowhere", {}, text=f"And {TOKEN}?"),
        use("echo", {}),
        say("What?"),
        fail("ValidationException", 400, "internal"),
        say(f"Still {TOKEN}.", pieces=[f"Still {TOKEN[:9]}", TOKEN[9:], "."]),
        use("echo", {}),
        fail("ServiceUnavailableException", 503, "internal"),
        say("Back."),
    )
    for text in ("hi", f"use {TOKEN}", "go on", "fail", "and now", "work, then fail", "last"):
        await here.say(text)
    assert bedrock.faults == []
    messages = [frame["message"] for frame in here.of("ai_response")]
    assert messages[0] == "Hello."
    assert messages[1].endswith("\n\n[Note: Reached maximum tool call limit of 2 rounds]")
    assert messages[4:] == ["Still ***.", messages[5], "Back."]
    assert "internal" not in str(here.frames)
    assert all(asked.stream is stream for asked in bedrock.asked)
    assert canary.find({str(at): asked.raw for at, asked in enumerate(bedrock.asked)}, [TOKEN]) == []
    pieces = "".join(frame["text"] for frame in here.of("delta"))
    assert canary.find({"frames": str(here.frames), "pieces": pieces}, [TOKEN]) == []
    result = bedrock.asked[2].body["messages"][-1]["content"][0]["toolResult"]["content"]
    assert '{"token":"***","ä":[1,null]}' in str(result)
