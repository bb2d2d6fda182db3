"""The OpenAPI document of a workspace's services: for whom, of what, and that a tool can be made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI

from tests.rpc.test_http_calls import ADA, add, shared
from tests.tools.openapi.kit import api

DOCUMENT = ADA.replace("services", "openapi.json")


def tools_of(shown: dict[str, Any]) -> set[str]:
    """What our own reader of documents makes of it; somebody else's model takes it, too."""
    OpenAPI.model_validate(shown)
    return set(api(shown, base_url="http://127.0.0.1").tools())


def greet(name: str, loud: bool = False) -> str:
    """Say hello.

    Args:
        name: whom to.
    """
    return f"hello {name}{'!' if loud else ''}"


GREETER = {
    "id": "greeter",
    "description": "Greets.",
    "config": {"visibility": "public"},
    "greet": greet,
    "nested": {"greet": greet},
    "version": "1",
}


@pytest.mark.requirement("E3.openapi")
async def test_the_document_is_openapi_of_what_the_caller_may_see() -> None:
    web = {"id": "web", "type": "asgi", "config": {"visibility": "public"}, "serve": greet}
    async with shared(GREETER, {"id": "closed", "add": add}, web) as (here, _, http):
        shown = (await http.get(DOCUMENT)).json()
        assert tools_of(shown) == {"greeter_greet", "greeter_nested_greet"}
        assert set(shown["paths"]) == {f"{ADA}/prog:greeter/greet", f"{ADA}/prog:greeter/nested.greet"}
        operation = shown["paths"][f"{ADA}/prog:greeter/greet"]["post"]
        assert operation["operationId"] == "greeter_greet"
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert (set(schema["properties"]), schema["required"]) == ({"name", "loud"}, ["name"])
        assert shown["servers"] == [{"url": here.base_url}]
        ada = {"authorization": f"Bearer {await here.token('ada')}"}
        both = (await http.get(DOCUMENT, headers=ada)).json()
        assert set(both["paths"]) - set(shown["paths"]) == {f"{ADA}/prog:closed/add"}
        one = (await http.get(f"{ADA}/greeter/openapi.json")).json()
        assert one["paths"] == shown["paths"]
        assert (await http.get(f"{ADA}/closed/openapi.json")).status_code == 403
        manager = (await http.get("/public/services/ws/openapi.json")).json()
        assert "ws_generate_token" in tools_of(manager)
        assert "/public/services/ws/generate_token" in manager["paths"]
        for path in shown["paths"]:
            assert (await http.post(path, json={"name": "you"})).json() == "hello you"


@pytest.mark.requirement("E3.openapi")
async def test_what_a_client_says_of_its_functions_cannot_break_the_document() -> None:
    odd: dict[str, Any] = {"name": 7, "description": ["x"], "parameters": {"properties": {"a": 5, "context": {}}}}
    calls: dict[str, Any] = {"type": "function", "function": odd}
    async with shared() as (here, _, http):
        raw = await here.raw("raw", token=await here.token("ada"))
        schema = {
            "f": calls,
            "F": {"type": "function"},
            "a b/c": {"d.e": calls},
            "a_b_c": {"d_e": calls},
            "required": {"type": "string"},
        }
        service = {
            "id": "ws-user-ada/raw:odd",
            "config": {"visibility": "public", "workspace": "ws-user-ada"},
            "service_schema": schema,
        }
        assert await raw.call(raw.manager, "services.default.register_service", service) == {"resolve": None}
        shown = (await http.get(DOCUMENT)).json()
        assert len(tools_of(shown)) == 4
        names = [each["post"]["operationId"] for each in shown["paths"].values()]
        assert len(names) == len(set(names)) == 4
        assert "context" not in json.dumps(shown["paths"])
