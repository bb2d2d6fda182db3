"""What a folder says of its tool: both eras, and each mistake told with its file and key."""

import json
import re

import pytest

from tests.tools.folders.kit import SCHEMA, described
from valetkey import AuthProvider, InvalidSetting
from valetkey.tools.declared import declared

OLD = """
name = "get_message"
description = "Reads messages."
language = "python"

[auth]
auth_provider = "slack"
auth_handler = "slack-oauth2"
scopes = ["channels:history"]

[tool_vars]
REGION = "eu"
"""


def of(pocket: object = None, config: str | None = None, schema: object = None):
    files = {
        "pocket.json": None if pocket is None else json.dumps(pocket).encode(),
        "config.toml": None if config is None else config.encode(),
        "schema.json": None if schema is None else json.dumps(schema).encode(),
    }
    return declared({name: data for name, data in files.items() if data is not None}, "here")


@pytest.mark.requirement("hp.pocket-json")
def test_the_newer_form():
    auth = {"auth_provider": "GITHUB", "auth_handler": "github-token", "scopes": ["repo"]}
    run = {"build": "pip install -r 'my needs.txt'", "run": "python3 src/main.py --all"}
    found = of(described(auth=auth, variables={"A": "1"}, entrypoint=run))
    assert (found.name, found.description, found.language) == ("my_tool", "Says it again.", "python")
    assert found.auth is not None
    assert found.auth.auth_provider is AuthProvider.GITHUB
    assert (found.auth.auth_handler, found.auth.scopes) == ("github-token", ["repo"])
    assert found.variables == {"A": "1"}
    assert found.run == ("python3", "src/main.py", "--all")
    assert found.build == ("pip", "install", "-r", "my needs.txt")
    assert found.schema == {**SCHEMA, "additionalProperties": False}


@pytest.mark.requirement("hp.pocket-json", "seed001.auth-table")
def test_the_older_form():
    found = of(config=OLD, schema=SCHEMA)
    assert found.name == "get_message"
    assert found.auth is not None
    assert (found.auth.auth_provider, found.auth.auth_handler) == (AuthProvider.SLACK, "slack-oauth2")
    assert (found.variables, found.run) == ({"REGION": "eu"}, ("python", "main.py"))


@pytest.mark.requirement("hp.pocket-json")
def test_both_eras_in_one_folder():
    bare = described(tool={"name": "new", "description": "New."})
    found = of(bare, OLD, SCHEMA)
    assert found.name == "new"
    assert found.schema["properties"] == SCHEMA["properties"]
    assert found.auth is not None
    assert found.auth.auth_handler == "slack-oauth2"
    assert found.variables == {}


def test_a_schema_may_refer_to_its_own_definitions():
    schema = {"properties": {"at": {"$ref": "#/$defs/Place"}}, "$defs": {"Place": {"type": "integer"}}}
    tool = {"name": "t", "description": "d", "inputSchema": {"type": "object", **schema}}
    assert of(described(tool=tool)).schema["$defs"] == {"Place": {"type": "integer"}}


def tool(**more) -> dict:
    return described(tool={"name": "t", "description": "d", "inputSchema": {"type": "object"}, **more})


WRONG: list[tuple[dict, str]] = [
    ({}, "here holds no tool"),
    ({"pocket": []}, "here/pocket.json has to hold an object"),
    ({"pocket": described(tool=None)}, "pocket.json: tool is missing"),
    ({"pocket": described(tool="a")}, "pocket.json: tool takes an object"),
    ({"pocket": tool(name=None)}, "pocket.json: tool.name is missing"),
    ({"pocket": tool(name="a b")}, "pocket.json: tool.name takes up to 64 letters"),
    ({"pocket": tool(description=3)}, "pocket.json: tool.description is missing, or is no text"),
    ({"pocket": tool(inputSchema=None)}, "tool.inputSchema is missing, and there is no schema.json"),
    ({"pocket": tool(inputSchema=[])}, "tool.inputSchema takes the JSON schema of an object"),
    ({"pocket": tool(inputSchema={"type": "string"})}, "tool.inputSchema takes the JSON schema of an object"),
    ({"pocket": tool(inputSchema={"properties": {"a": 3}})}, "tool.inputSchema cannot be used"),
    ({"pocket": tool(inputSchema={"required": ["a"]})}, "required names 'a'"),
    ({"pocket": tool(inputSchema={"properties": {"a": {"$ref": "#/$defs/b"}}})}, "tool.inputSchema cannot be used"),
    ({"pocket": tool(input_schema={})}, "tool.input_schema is not known; did you mean inputSchema"),
    ({"pocket": described(entry_point={})}, "pocket.json: entry_point is not known; did you mean entrypoint"),
    ({"pocket": described(auth={"scopes": []})}, "pocket.json: auth.auth_provider is missing"),
    ({"pocket": described(auth={"auth_provider": "SLAKC"})}, "auth.auth_provider names no provider.*slack"),
    ({"pocket": described(auth={"auth_provider": "slack", "scopes": "a"})}, "auth.scopes takes a list of texts"),
    ({"pocket": described(auth={"provider": "slack"})}, "auth.provider is not known; did you mean auth_provider"),
    ({"pocket": described(variables=["A"])}, "pocket.json: variables takes names"),
    ({"pocket": described(variables={"A": 1})}, "pocket.json: variables takes names"),
    ({"pocket": described(variables={"A=B": "1"})}, "pocket.json: variables.A=B can be no environment variable"),
    ({"pocket": described(language="rust")}, "pocket.json: language takes python or node, not rust"),
    ({"pocket": described(language=None, entrypoint={})}, "pocket.json: language takes python or node; it is missing"),
    ({"pocket": described(language=None, baseImage="x")}, "pocket.json: baseImage names a container.*not run here"),
    ({"pocket": described(entrypoint={"run": "sh -c 'rm *'"})}, "pocket.json: entrypoint.run begins with 'sh'"),
    ({"pocket": described(entrypoint={"run": "python 'a"})}, "pocket.json: entrypoint.run is no command line"),
    ({"config": "name = "}, "here/config.toml is not valid TOML"),
    ({"config": OLD.replace("tool_vars", "toolvars")}, "config.toml: toolvars is not known; did you mean tool_vars"),
    ({"config": OLD}, "tool.inputSchema is missing, and there is no schema.json"),
    ({"config": OLD, "schema": 3}, "here/schema.json takes the JSON schema of an object"),
    ({"config": OLD.replace('"slack"', "4"), "schema": SCHEMA}, "config.toml: auth.auth_provider takes a text"),
]


@pytest.mark.requirement("hp.pocket-json")
def test_each_mistake_names_its_file_and_key():
    for files, told in WRONG:
        with pytest.raises(InvalidSetting) as caught:
            of(**files)
        assert re.search(told, str(caught.value), re.DOTALL), (told, str(caught.value))


def test_what_is_no_json_says_so():
    for data in (b"{", b"\xff\xfe", b"[" * 100_000):
        with pytest.raises(InvalidSetting, match=r"here/pocket.json is no JSON"):
            declared({"pocket.json": data}, "here")
