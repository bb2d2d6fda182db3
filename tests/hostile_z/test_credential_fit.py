"""A header parameter that is a list, in process."""

from typing import Annotated

from fastapi import FastAPI, Header

from tests.chat.kit import Script, call
from tests.chat.test_turn_app import Here
from valetkey.entrypoints.chat.plugin import add_bedrock_chat


async def test_each_value_of_a_header_that_is_a_list_arrives():
    app = FastAPI()

    @app.get("/h", operation_id="h")
    async def h(x_tag: Annotated[list[str], Header()]) -> list[str]:
        return x_tag

    plugin = add_bedrock_chat(app, model_id="offline")
    async with app.router.lifespan_context(app):
        here = Here(plugin, Script(call("h", **{"x-tag": ["a", "b"]}), "Done."))
        answer = await here.say("go")
    assert answer["tool_results"][0]["result"] == ["a", "b"]
