"""The examples run: each from its link to its result, with what its model would say scripted on this machine."""

import runpy
import sys
from pathlib import Path

import pytest

from tests.integrations import kit
from tests.models.fake_bedrock import say, use
from tests.models.fake_services import FakeServices
from tests.project.reader import Reader, read_along
from tests.project.stage import answering
from tests.road.support import Ports, client_section, write_settings
from valetkey.testing.oauth_server import OAuthServer

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples" / "frameworks"
CALL = use("list_repositories", {"limit": 2})
RESULT = '["me/notes"]'
SCRIPTS = {
    "with_anthropic": [CALL, say(f"I was told: {RESULT}")],
    "with_langchain": [],
    "with_langgraph": [],
    "with_llamaindex": [],
    "with_openai": [CALL, say("Please open it."), CALL, say(f"I was told: {RESULT}")],
    "with_pydantic_ai": [],
}
"""What the service says to each. Not here: with_openai_agents and with_gemini, which the tests of their frameworks do
step by step, and with_crewai, whose environment is another one."""


@pytest.mark.requirement("seed000.frameworks")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # LlamaIndex looks at itself
@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_an_example_runs_from_its_link_to_its_result(name, monkeypatch, capsys):
    for module in [path.stem for path in EXAMPLES.glob("*.py")]:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr("urllib.request.urlopen", answering([{"full_name": "me/notes"}]))
    reader = Reader()
    with FakeServices() as services, OAuthServer(auto_approve=True) as github:
        write_settings(Ports(), client_section("github", github))
        services.script(*SCRIPTS[name])
        for service in ("OPENAI", "ANTHROPIC"):
            monkeypatch.setenv(f"{service}_API_KEY", "k-example")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{services.url}/v1")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", services.url)
        with read_along(reader):
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        reader.done()
        said = capsys.readouterr().out
        assert RESULT in said
        kit.unseen(github, [said, *(asked.body for asked in services.asked)])
