"""CrewAI, in an environment of its own: a crew whose accounts are connected before it begins."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.integrations import kit
from tools import environment

PYTHON = environment.python("crewai")
PROGRAM = Path(__file__).with_name("crew_program.py")


@pytest.mark.requirement("seed000.frameworks")
@pytest.mark.long
@pytest.mark.timeout(90)
@pytest.mark.skipif(not PYTHON.exists(), reason="make its environment: python3 tools/environment.py crewai")
def test_a_crew_works_with_the_account_that_was_connected_before_it_began(slack):
    command = [str(PYTHON), "-W", "ignore", str(PROGRAM)]
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings) as crew:
        try:
            assert crew.stdout is not None
            asked = next((line for line in crew.stdout if line.startswith(kit.ASKED)), "")
            kit.connect_now(slack, kit.link(asked))
            out, errors = crew.communicate(timeout=60)
        finally:
            crew.kill()
    assert crew.returncode == 0, errors
    told = json.loads(out.splitlines()[-1])
    assert told["anns"] == 'Final: {"channel":"general","token":"***","n":3}'
    assert told["bobs"].startswith(f"Final: {kit.ASKED}")
    assert told["bobs"].endswith(kit.RESUME)
    assert told["used"] == [["ann", slack.issued[0]]]
    assert (told["names"], told["echo"]) == (kit.NAMES, kit.COLLIDED)
    assert "a is missing" in told["wrong"]
    assert told["refused"] == []
    kit.unseen(slack, told["heard"])
    first, *_ = told["heard"][0][1]
    assert sorted(first["function"]["parameters"]["properties"]) == ["GOOGLE", "channel"]


def test_a_framework_that_is_missing_names_its_extra():
    with pytest.raises(ImportError, match=r"crewai is not installed. Run: pip install 'valetkey\[crewai\]'"):
        import valetkey.integrations.crewai  # noqa: F401
