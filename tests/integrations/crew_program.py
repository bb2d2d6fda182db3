"""A crew that reads messages, in CrewAI's own environment; `test_crewai.py` starts it, and opens the link it prints.

Its last line is one JSON object: what the model heard and was told, what came of it, and who was called besides.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(CREWAI_DISABLE_TELEMETRY="true", OTEL_SDK_DISABLED="true", CREWAI_TRACING_ENABLED="false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
REFUSED: list[str] = []


def only_loopback(event: str, args: Any) -> None:
    """The environment has no pytest, whose audit hook would do this."""
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in {"127.0.0.1", "::1"}:
        REFUSED.append(str(args[1][0]))
        raise OSError("only loopback may be reached from a test")


sys.addaudithook(only_loopback)


def main() -> None:
    """Connect in advance for ann, let a crew read for ann, and once for bob, who has no account."""
    import crewai  # type: ignore[import-not-found]  # it lives in an environment of its own

    from tests.integrations.kit import COLLIDING, TOOLS, USED
    from valetkey.integrations.crewai import PocketCrewAI

    heard: list[Any] = []

    class Model(crewai.BaseLLM):  # type: ignore[misc]  # as above
        """Calls one tool, and repeats what it answered."""

        def call(self, messages: Any, tools: Any = None, *args: Any, **kwargs: Any) -> Any:
            heard.append(json.loads(json.dumps([messages, tools], default=str)))
            said = [message["content"] for message in messages if message["role"] == "tool"]
            if said:
                return f"Final: {said[0]}"
            call = {"name": "read_messages", "arguments": '{"channel": "general", "GOOGLE": null}'}
            return [{"id": "c1", "type": "function", "function": call}]

        def supports_function_calling(self) -> bool:
            return True

    def work(tools: list[Any]) -> str:
        agent = crewai.Agent(role="r", goal="g", backstory="b", llm=Model(model="fake"), tools=tools)
        task = crewai.Task(description="Read.", expected_output="messages", agent=agent)
        return str(crewai.Crew(agents=[agent], tasks=[task]).kickoff().raw)

    with PocketCrewAI(tools=TOOLS) as pocket:
        pocket.init("ann")
        tools = pocket.get_tools()
        result = {
            "anns": work(tools),
            "bobs": work(pocket.get_tools(thread_id="bob")),
            "echo": tools[1].run(**COLLIDING),
            "wrong": tools[2].run(b=1),
            "names": [tool.name for tool in tools],
        }
    sys.stdout.write(json.dumps({**result, "heard": heard, "used": USED, "refused": REFUSED}) + "\n")


if __name__ == "__main__":
    main()
