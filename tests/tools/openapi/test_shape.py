"""Parameters and bodies as one schema: what contract 4.2 found dropped or wrong; rows X-04, X-06, X-28, X-32."""

import json

import pytest

from tests.tools.openapi.kit import api, document, json_body, operation, param
from valetkey.errors import InvalidArguments


@pytest.mark.requirement("fault.schemas")
def test_each_place_is_in_the_schema_and_collisions_are_told_apart():
    about = {
        "parameters": [param("id", "path"), param("id"), param("id", "cookie"), param("X-Trace", "header")],
        **json_body({"type": "object", "properties": {"id": {"type": "integer"}, "n": {}}, "required": ["id"]}),
    }
    tool = operation("/items/{id}", "post", about=about)
    assert list(tool.schema["properties"]) == ["id", "query_id", "X-Trace", "cookie_id", "body_id", "n"]
    assert tool.schema["required"] == ["id", "body_id"]
    assert tool.schema["type"] == "object"
    assert tool.schema["additionalProperties"] is False


def test_argument_names_are_ones_that_models_take():
    tool = operation(about={"parameters": [param("filter[name]"), param("$select"), param("é" * 80)]})
    assert list(tool.schema["properties"])[:2] == ["filter_name_", "_select"]
    assert all(len(name) <= 64 for name in tool.schema["properties"])


@pytest.mark.requirement("fault.schemas")
def test_references_become_defs_and_the_schema_stands_alone():
    schemas = {
        "Item": {
            "type": "object",
            "properties": {"kids": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}}},
        }
    }
    (tool,) = (
        api(
            document(
                {"/a": {"post": json_body({"type": "array", "items": {"$ref": "#/components/schemas/Item"}})}},
                components={"schemas": schemas},
            )
        )
        .tools()
        .values()
    )
    assert tool.schema["properties"]["body"]["items"] == {"$ref": "#/$defs/Item"}
    assert "#/components" not in json.dumps(tool.schema)
    assert tool.schema["$defs"]["Item"]["properties"]["kids"]["items"] == {"$ref": "#/$defs/Item"}


@pytest.mark.requirement("fault.schemas")
def test_openapi_3_0_is_translated():
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "nullable": True},
            "b": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
            "c": {"allOf": [{"$ref": "#/components/schemas/X"}], "nullable": True},
            "d": {"type": "string", "enum": ["x"], "nullable": True},
        },
    }
    (tool,) = (
        api(
            document(
                {"/a": {"post": json_body(schema)}},
                version="3.0.3",
                components={"schemas": {"X": {"type": "object"}}},
            )
        )
        .tools()
        .values()
    )
    found = tool.schema["properties"]
    assert found["a"] == {"type": ["string", "null"]}
    assert found["b"] == {"type": "integer", "exclusiveMinimum": 0}
    assert found["c"] == {"anyOf": [{"allOf": [{"$ref": "#/$defs/X"}]}, {"type": "null"}]}
    assert found["d"]["enum"] == ["x", None]
    tool.bind({"a": None, "c": None, "d": None, "b": 1})


@pytest.mark.requirement("fault.schemas")
def test_what_is_read_only_is_not_asked_for():
    schema = {
        "type": "object",
        "properties": {"id": {"type": "integer", "readOnly": True}, "n": {"type": "string"}},
        "required": ["id", "n"],
    }
    tool = operation(method="post", about=json_body(schema))
    assert list(tool.schema["properties"]) == ["n"]
    assert tool.schema["required"] == ["n"]


@pytest.mark.requirement("fault.schemas")
def test_all_of_objects_is_flattened_and_unions_are_one_argument():
    parts = [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"properties": {"b": {"type": "string"}}},
    ]
    assert list(operation(method="post", about=json_body({"allOf": parts})).schema["properties"]) == ["a", "b"]
    union = operation(method="post", about=json_body({"anyOf": parts}))
    assert list(union.schema["properties"]) == ["body"]


@pytest.mark.requirement("fault.schemas")
def test_a_body_that_takes_more_lets_more_through():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}}
    tool = operation(method="post", about=json_body(schema))
    tool.bind({"a": "x", "more": 1})
    with pytest.raises(InvalidArguments, match="more must be integer"):
        tool.bind({"more": "x"})


@pytest.mark.requirement("fault.schemas")
def test_an_optional_body_asks_for_its_parts_only_when_it_is_there():
    schema = {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]}
    tool = operation(method="post", about=json_body(schema, required=False))
    tool.bind({})
    with pytest.raises(InvalidArguments, match="a is missing"):
        tool.bind({"b": 1})


@pytest.mark.requirement("X-04", "X-25")
@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "authorization", "Cookie", "Host", "Content-Length", "Content-Type", "Transfer-Encoding"),
        *("Connection", "Proxy-Authorization", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-IP", "TE"),
        *("X-HTTP-Method-Override", "X-Original-URL", "Upgrade", "Set-Cookie", "X-API-Key", "Origin", "X-User-ID"),
        *("User-Agent", "Remote-User", "X_Auth_Request_Email", "Cf-Access-Jwt-Assertion", "X-MS-CLIENT-PRINCIPAL"),
        *("Accept", "X-A:b", "X A", "X\r\nB", ""),
    ],
)
def test_a_header_that_is_not_a_models_to_say_is_no_parameter(name):
    tool = operation(about={"parameters": [param(name, "header", required=True)]})
    assert tool.schema["properties"] == {}
    with pytest.raises(InvalidArguments, match="is not a parameter"):
        tool.bind({name or "x": "v"})


@pytest.mark.requirement("X-06")
@pytest.mark.parametrize(("place", "name"), [("query", "api_key"), ("header", "X-Key"), ("cookie", "sid")])
def test_what_a_scheme_fills_is_no_parameter_anywhere(place, name):
    tool = operation(
        about={"parameters": [param(name, place, required=True), param("access_token")]},
        components={
            "securitySchemes": {
                "k": {"type": "apiKey", "in": place, "name": name},
                "b": {"type": "http", "scheme": "Bearer"},
            },
        },
    )
    assert tool.schema["properties"] == {}


@pytest.mark.requirement("X-32")
@pytest.mark.parametrize("name", ["connection_id", "user", "scope", "verify_tls", "base_url", "profile", "thread_id"])
def test_a_model_cannot_choose_how_it_is_called(name):
    tool = operation(about={"parameters": [param("q")]})
    with pytest.raises(InvalidArguments, match=f"{name} is not a parameter"):
        tool.bind({name: "x"})


def test_schemas_of_the_document_that_are_true_or_false_stay_objects():
    tool = operation(about={"parameters": [param("a", schema=True), param("b", schema={"type": ["null", "integer"]})]})
    assert tool.schema["properties"] == {"a": {}, "b": {"type": ["null", "integer"]}}


def test_a_header_is_one_parameter_in_any_case():
    tool = operation(about={"parameters": [param("X-A", "header"), param("x-a", "header")]})
    assert list(tool.schema["properties"]) == ["x-a"]


@pytest.mark.requirement("fault.schemas")
def test_an_operations_own_parameter_goes_before_its_paths():
    given = document(
        {
            "/a": {
                "parameters": [param("q", schema={"type": "integer"}), param("r")],
                "get": {"parameters": [param("q", schema={"type": "boolean"})]},
            }
        }
    )
    (tool,) = api(given).tools().values()
    assert tool.schema["properties"] == {"q": {"type": "boolean"}, "r": {"type": "string"}}


def test_a_body_of_schemas_that_each_refer_to_the_next_twice_is_read():
    doubling = {f"L{at}": {"allOf": [{"$ref": f"#/components/schemas/L{at + 1}"}] * 2} for at in range(14)}
    schemas = {**doubling, "L14": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    about = json_body({"$ref": "#/components/schemas/L0"})
    paths = {f"/{at}": {"post": about} for at in range(3)}
    tools = api(document(paths, components={"schemas": schemas})).tools()
    assert [list(tool.schema["properties"]) for tool in tools.values()] == [["a"]] * 3
