"""Google's own client, against the Gemini API on this machine."""

import asyncio
from typing import Any

import pytest
from google import genai
from google.genai import types

from tests.integrations import kit
from tests.models.fake_bedrock import say, use
from tests.models.fake_services import FakeServices
from valetkey.integrations.gemini import PocketGemini


@pytest.mark.requirement("seed000.frameworks")
async def test_a_model_calls_a_function_for_the_owner_that_the_program_names(slack):
    with FakeServices() as services, PocketGemini(tools=kit.TOOLS) as pocket:
        call = use("read_messages", {"channel": "general"})
        services.script(call, call, say("done"))
        client = genai.Client(api_key="k-gemini", http_options=types.HttpOptions(base_url=services.url))
        specs: Any = pocket.get_gemini_tool_specs()
        settings = types.GenerateContentConfig(
            tools=specs, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
        )
        contents: list[Any] = [types.UserContent("read")]
        while True:
            answer = await asyncio.to_thread(
                client.models.generate_content, model="m", contents=contents, config=settings
            )
            (candidate,) = answer.candidates or []
            contents.append(candidate.content)
            if not answer.function_calls:
                break
            parts: list[Any] = [await pocket.ainvoke(one, thread_id="ann") for one in answer.function_calls]
            contents.append(types.UserContent(parts))
            if not kit.USED:
                asked = parts[0].function_response.response["result"]
                assert asked == f"{kit.ASKED}{kit.link(asked)}"
                await kit.connect(slack, kit.link(asked))
        client.close()
        assert kit.used("ann", slack)
        assert answer.text == "done"
        (told,) = services.asked[0].body["tools"]
        assert [one["name"] for one in told["functionDeclarations"]] == kit.NAMES
        kit.schemas_are_clean([one["parameters_json_schema"] for one in told["functionDeclarations"]])
        assert "***" in str(services.asked[-1].body["contents"])
        kit.unseen(slack, [contents, *(asked.body for asked in services.asked)])


@pytest.mark.requirement("F.frameworks-arguments")
async def test_a_call_works_in_a_loop_without_await_too_and_failures_are_errors():
    with PocketGemini(tools=kit.TOOLS) as pocket:
        made: Any = pocket.invoke(types.FunctionCall(id="f1", name="echo", args=dict(kit.COLLIDING)))
        assert made.function_response.response == {"result": kit.COLLIDED}
        assert (made.function_response.id, made.function_response.name) == ("f1", "echo")
        for wrong, reason in [
            (types.FunctionCall(name="add", args={}), "a is missing"),
            (types.FunctionCall(name="nobodys"), "no tool 'nobodys'"),
        ]:
            failed: Any = pocket.invoke(wrong)
            assert list(failed.function_response.response) == ["error"]
            assert reason in failed.function_response.response["error"]
        assert PocketGemini().get_gemini_tool_specs() == []
