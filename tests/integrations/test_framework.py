"""What all frameworks' Pockets share."""

import json
import subprocess
import sys

import pytest

from tests.integrations import kit
from tests.road.support import Ports, write_settings
from valetkey import ApprovalRequired, AuthProvider, Denied, MissingSetting, RateLimited, function_tool
from valetkey.integrations.framework import FrameworkPocket, who

FRAMEWORKS = ("agents", "anthropic", "crewai", "google.genai", "langchain_core", "langgraph", "llama_index", "openai")
LOADED = (
    "import json, sys; import valetkey; from valetkey import Pocket; Pocket(); print(json.dumps(list(sys.modules)))"
)


def test_a_pocket_loads_no_framework(home):
    ended = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True, timeout=30)
    loaded = json.loads(ended.stdout)
    assert "valetkey.entrypoints.pocket.pocket" in loaded
    assert [name for name in loaded if name.startswith((*FRAMEWORKS, "pydantic_ai", "valetkey.integrations"))] == []


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (ApprovalRequired("A person has to say yes.", url="http://here/yes"), True),
        (Denied("Not allowed."), False),
        (RateLimited("Too often.", retry_after=3), False),
    ],
)
async def test_what_a_person_or_a_rule_says_is_told_to_the_model(error, waits, monkeypatch):
    pocket = FrameworkPocket(tools=kit.TOOLS)

    async def travel(*args, **kwargs):
        raise error

    monkeypatch.setattr(pocket, "travel", travel)
    outcome = await pocket.outcome("add", {"a": 1}, "ann", "default")
    assert (outcome.waits, outcome.failed) == (waits, not waits)
    assert outcome.told == (f"{error} {error.url}{kit.RESUME}" if waits else str(error))


async def test_a_setting_that_is_missing_is_the_programs_mistake():
    write_settings(Ports())
    with FrameworkPocket(tools=kit.TOOLS) as pocket, pytest.raises(MissingSetting):
        await pocket.outcome("read_messages", {"channel": "x"}, "ann", "default")


async def test_a_tool_that_fails_is_told_without_what_it_was_lent(slack):
    @function_tool(auth_provider=AuthProvider.SLACK)
    def fails(**kwargs):
        """Fail, and tell everything."""
        raise ValueError(f"it was {kwargs['SLACK_BOT_TOKEN']}")

    with FrameworkPocket(tools=[fails]) as pocket:
        asked = await pocket.outcome("fails", {}, "ann", "default")
        await kit.connect(slack, kit.link(asked.text))
        outcome = await pocket.outcome("fails", {}, "ann", "default")
        assert outcome.failed
        assert outcome.told == "There was an error while executing the tool: it was ***"


async def test_several_accounts_and_none_named_is_the_calls_to_tell(slack):
    with FrameworkPocket(tools=kit.TOOLS) as pocket:
        await kit.two_profiles(slack, pocket, "ann")
        call = ("read_messages", {"channel": "x"})
        assert await pocket.missing([call, ("nobodys", {})], "ann", "default") == [None, None]
        told = await pocket.outcome(*call, "ann", "default")
        assert told.failed
        assert "work" in told.told
        # A third profile, which the program names, is not there yet.
        (prompt,) = await pocket.missing([call], "ann", "third")
        assert prompt is not None
        assert prompt.provider == "slack"


def test_who_is_calling_comes_from_the_programs_configuration():
    user = object()
    assert who(None) == ("default", "default")
    assert who({"thread_id": "t", "profile": "work"}) == ("t", "work")
    assert who({"thread_id": "t", "user": user}) == (user, "default")
    assert who({"thread_id": ""}) == ("", "default"), "not somebody else"
