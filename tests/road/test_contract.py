"""What programs written for seeds 000-002 rely on: names, signatures, settings, tools (contract, parts 1.1-1.6)."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import logging
import pickle
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

import valetkey
from valetkey import (
    AuthHandlerInterface,
    AuthProvider,
    AuthState,
    DuplicateTool,
    FunctionTool,
    InvalidArguments,
    MissingSetting,
    OAuth2AuthConfig,
    Pocket,
    PocketAuth,
    Tool,
    ToolAuth,
    ToolFailed,
    UnknownProvider,
    UnknownTool,
    config,
    from_func,
    function_tool,
    tool,
)
from valetkey.wiring import build

PLACES = {
    Pocket: "tools auth use_profile",
    Pocket.invoke: "tool_name body thread_id profile *args **kwargs",
    Pocket.ainvoke: "tool_name body thread_id profile *args **kwargs",
    Pocket.invoke_with_state: "tool_name body thread_id profile *args **kwargs",
    Pocket.ainvoke_with_state: "tool_name body thread_id profile *args **kwargs",
    Pocket.acall: "tool_name body thread_id profile *args **kwargs",
    Pocket.tool_call: "tool_name body thread_id profile *args **kwargs",
    Pocket.initialize_tool_auth: "thread_id profile",
    Pocket.wait_tool_auth: "thread_id profile",
    Pocket.prepare_auth: "tool_name thread_id profile **kwargs",
    Pocket.authenticate: "tool_name thread_id profile **kwargs",
    Pocket.load_tools: "tools",
    Pocket.remove_tool: "tool_name",
    PocketAuth: "handlers session_storage use_prebuilt_handlers",
    PocketAuth.make_request: "auth_scopes auth_handler_name auth_provider **kwargs",
    PocketAuth.check: "auth_req auth_handler_name auth_provider thread_id profile *args **kwargs",
    PocketAuth.prepare: "auth_req auth_handler_name auth_provider thread_id profile **kwargs",
    PocketAuth.authenticate_async: "auth_req auth_handler_name auth_provider thread_id profile **kwargs",
    PocketAuth.get_auth_context: "auth_provider thread_id profile **kwargs",
    PocketAuth.list_session_state: "thread_id auth_provider",
    PocketAuth.delete_session: "auth_provider thread_id profile",
    PocketAuth.find_handler_instance: "name auth_provider",
    AuthHandlerInterface.make_request: "auth_scopes **kwargs",
    AuthHandlerInterface.prepare: "auth_req thread_id profile future_uid *args **kwargs",
    AuthHandlerInterface.authenticate: "auth_req future_uid *args **kwargs",
    AuthHandlerInterface.refresh: "auth_req context *args **kwargs",
    ToolAuth: "scopes auth_provider auth_handler",
}
DEFAULTS = {"thread_id": "default", "profile": "default", "tools": None, "auth_provider": None, "use_profile": False}


@pytest.mark.parametrize("called", PLACES, ids=lambda called: getattr(called, "__qualname__", str(called)))
def test_parameters_stand_in_the_contracts_order(called: Callable[..., Any]):
    found = [one for one in inspect.signature(called).parameters.values() if one.name != "self"]
    stars = [(one.kind is one.VAR_POSITIONAL) + 2 * (one.kind is one.VAR_KEYWORD) for one in found]
    assert ["*" * count + one.name for count, one in zip(stars, found, strict=True)] == PLACES[called].split()
    optional = [one for one in found if one.name in DEFAULTS and one.default is not one.empty]
    assert all(one.default == DEFAULTS[one.name] for one in optional)


def test_from_func_takes_its_arguments_by_their_places():
    def add(a: int, **kwargs: Any) -> int:
        return a

    schema = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 9}}, "required": ["a"]}
    made = from_func(add, None, "plus", "Adds.", schema, ToolAuth(["s"], AuthProvider.SLACK), {"REGION": "eu"})
    assert (made.name, made.get_description(), made.argument_json_schema["properties"]) == (
        "plus",
        "Adds.",
        schema["properties"],
    )
    assert (made.auth, made.tool_vars) == (ToolAuth(["s"], AuthProvider.SLACK), {"REGION": "eu"})


def test_every_public_name_can_be_imported_and_the_six_states_have_their_values():
    assert [name for name in valetkey.__all__ if not hasattr(valetkey, name)] == []
    values = {"skip_auth", "do_auth", "do_refresh", "no_session", "pending_resolve", "resolved"}
    assert {state.value for state in AuthState} == values == {state.name.lower() for state in AuthState}


# Settings


def settings(text: str, name: str = "settings.toml") -> None:
    Path(name).write_text(text, "utf-8")
    Path(name).chmod(0o600)


def test_settings_have_the_contracts_defaults():
    expected = {
        "internal_server_port": 8000,
        "enable_local_callback_proxy": True,
        "public_hostname": "localhost",
        "public_server_protocol": "https",
        "public_server_port": 8001,
        "callback_url_rewrite_prefix": "proxy",
        "internal_base_url": "http://localhost:8000",
        "public_base_url": "https://localhost:8001",
        "tool_vars": {},
    }
    assert {name: getattr(config(), name) for name in expected} == expected
    assert config().auth.use_prebuilt_auth is True
    assert config().auth.slack.use_recommended_scope is True
    assert list(Path().iterdir()) == [], "reading settings writes none"


def test_sources_go_before_each_other_in_their_order(monkeypatch):
    settings('[auth.slack]\nclient_id = "file"\nclient_secret = "file"\ndomain = "file"\n')
    settings('[auth.slack]\nclient_secret = "kept apart"\ndomain = "kept apart"\n', ".secrets.toml")
    monkeypatch.setenv("POCKET_AUTH__SLACK__DOMAIN", "environment")
    monkeypatch.setenv("AUTH", "x")
    monkeypatch.setenv("SESSION", "ubuntu")
    slack = config.auth.slack
    assert (slack.client_id, slack.client_secret, slack.domain) == ("file", "kept apart", "environment")
    assert config().auth.slack.client_id == config.auth.slack.client_id


@pytest.mark.parametrize(
    ("protocol", "port", "url"),
    [("https", 443, "https://a.example"), ("http", 80, "http://a.example"), ("https", 80, "https://a.example:80")],
)
def test_the_public_base_url_leaves_the_usual_port_out(protocol, port, url):
    settings(f'public_hostname = "a.example"\npublic_server_protocol = "{protocol}"\npublic_server_port = {port}\n')
    assert config().public_base_url == url


def test_settings_of_the_callbacks_can_be_assigned_and_others_say_that_they_cannot():
    config().public_server_port = 443
    assert config().public_base_url == "https://localhost"
    config.internal_server_port = 9000
    assert config().internal_base_url == "http://localhost:9000"
    with pytest.raises(AttributeError, match="VALETKEY_SESSION_TYPE"):
        config().session_type = "in_memory"


def test_a_providers_settings_can_be_assigned_while_the_program_runs():
    with pytest.raises(MissingSetting, match=r"\[auth\.google\].*VALETKEY_AUTH__GOOGLE__CLIENT_ID"):
        _ = config().auth.google.client_id
    config().auth.google = OAuth2AuthConfig(client_id="a", client_secret="b")
    assert (config.auth.google.client_id, config.auth.google.client_secret) == ("a", "b")
    assert "b'" not in repr(config().auth.google)


@pytest.mark.parametrize(("text", "value"), [("false", False), ("0", False), ("true", True)])
def test_use_recommended_scope_from_the_environment_is_a_truth_value(monkeypatch, text, value):
    monkeypatch.setenv("POCKET_AUTH__LEDGER__USE_RECOMMENDED_SCOPE", text)
    assert config.auth.ledger.use_recommended_scope is value


@pytest.mark.parametrize("given", [None, False])
def test_prebuilt_handlers_can_be_switched_off_by_the_setting_and_by_the_argument(given):
    if given is None:
        settings("[auth]\nuse_prebuilt_auth = false\n")
    with pytest.raises(UnknownProvider, match="use_prebuilt_handlers=True"):
        PocketAuth(use_prebuilt_handlers=given).find_handler_instance("slack-oauth2")
    assert PocketAuth(use_prebuilt_handlers=True).find_handler_instance("slack-oauth2").name == "slack-oauth2"


# Providers


def test_a_provider_is_one_object_by_every_way_to_it():
    mine = AuthProvider.register("contract_mine")
    assert AuthProvider("contract_mine") is AuthProvider.CONTRACT_MINE is mine
    assert AuthProvider.get_auth_provider("CONTRACT_MINE") is mine
    assert pickle.loads(pickle.dumps(mine)) is copy.deepcopy(mine) is mine  # noqa: S301  # our own object
    assert (mine.name, mine.value) == ("CONTRACT_MINE", "contract_mine")
    assert {mine, AuthProvider.SLACK} <= set(AuthProvider)
    assert {mine: 1}[AuthProvider("contract_mine")] == 1
    match mine:
        case AuthProvider.SLACK:
            pytest.fail("matched another")
        case AuthProvider.CONTRACT_MINE:
            pass


def test_a_provider_that_is_not_there_names_the_nearest():
    with pytest.raises(AttributeError, match="SLACK"):
        _ = AuthProvider.SLAK
    with pytest.raises(ValueError, match="slack"):
        AuthProvider.get_auth_provider("slak")


def test_handlers_given_as_something_else_than_classes_are_refused():
    for wrong in (object, "ledger", PocketAuth()):
        with pytest.raises(InvalidArguments, match="AuthHandlerInterface"):
            PocketAuth(handlers=[wrong])  # type: ignore[list-item]


def test_a_provider_may_be_named_by_its_text():
    @function_tool(auth_provider="slack")  # type: ignore[call-overload]
    def one(**kwargs: Any) -> None: ...

    @tool(auth="slack")
    def two(**kwargs: Any) -> None: ...

    assert one.auth == two.auth == ToolAuth(None, AuthProvider.SLACK)
    assert PocketAuth().find_handler_instance(auth_provider="slack").name == "slack-oauth2"  # type: ignore[arg-type]
    assert PocketAuth().delete_session("slack") is False  # type: ignore[arg-type]


# Tools


class Color(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int | None = None


@function_tool
def plain(a: int, b: str = "q") -> dict[str, Any]:
    """Do it.

    a(int): how many
    b(str): which
    """
    return {"a": a, "b": b}


@function_tool()
async def modern(point: Point, color: Color, when: datetime, kind: Literal["u", "v"] = "u", n: int | None = None):
    """Take annotations of today, postponed."""
    return [type(point).__name__, color, when.year, kind, n]


@tool(name="other", description="Another.")
def renamed() -> None:
    return None


@tool
def failing() -> None:
    raise RuntimeError("boom")


def bare(numbers: list[int]) -> list[int]:
    """Give them back.

    Args:
        numbers: some numbers
    """
    return numbers


def test_decorated_functions_are_tools_bare_and_called_and_stay_callable():
    assert all(isinstance(one, Tool) for one in (plain, modern, renamed, failing))
    assert plain(1, b="z") == {"a": 1, "b": "z"} == plain.func(1, "z")
    assert asyncio.run(modern({"x": 1}, "red", "2020-01-01T00:00:00")) == ["Point", Color.RED, 2020, "u", None]
    with pytest.raises(ToolFailed, match="boom"):
        failing()
    with pytest.raises(InvalidArguments, match="a is missing"):
        plain()


async def test_a_direct_call_inside_a_loop_gives_the_functions_own_value():
    assert plain(2) == {"a": 2, "b": "q"}


def test_tools_come_in_the_order_given_with_names_and_descriptions():
    pocket = Pocket([plain, modern, renamed, bare])
    assert list(pocket.tools) == ["plain", "modern", "other", "bare"]
    told = {one["name"]: one for one in pocket.describe_tools()}
    assert (told["plain"]["description"], told["other"]["description"]) == ("Do it.", "Another.")
    properties = told["plain"]["parameters"]["properties"]
    assert (properties["a"]["description"], properties["b"]["description"]) == ("how many", "which")
    assert told["bare"]["parameters"]["properties"]["numbers"]["description"] == "some numbers"


async def test_results_are_text_and_what_is_no_text_is_json():
    pocket = Pocket([plain, modern, renamed, failing])
    body = {"point": {"x": 1}, "color": "red", "when": "2020-01-01T00:00:00"}
    assert json.loads(await pocket.ainvoke("modern", body)) == ["Point", "red", 2020, "u", None]
    assert await pocket.ainvoke("other", {}) == "null"
    assert await pocket.ainvoke_with_state("failing", {}) == (
        "There was an error while executing the tool: boom",
        False,
    )


async def test_what_the_program_did_wrong_is_raised_and_says_what_there_is():
    pocket = Pocket([plain, modern])
    with pytest.raises(KeyError, match="Did you mean plain") as unknown:
        await pocket.ainvoke("plane", {"a": 1})
    assert isinstance(unknown.value, UnknownTool)
    for body, told in (({"a": "x"}, "a: "), ({}, "a is missing"), ({"a": 1, "c": 2}, "c is not a parameter")):
        with pytest.raises(InvalidArguments, match=told):
            await pocket.ainvoke("plain", body)
    with pytest.raises(InvalidArguments, match="point is missing"):
        await pocket.ainvoke("modern", {})


async def test_invoke_works_inside_a_running_loop():
    pocket = Pocket([plain])
    assert json.loads(pocket.invoke("plain", {"a": 1})) == {"a": 1, "b": "q"}
    assert pocket.invoke_with_state("plain", {"a": 1}, "ann", "work")[1] is False


def test_two_tools_of_one_name_are_refused_and_none_is_loaded():
    with pytest.raises(RuntimeError, match=r"plain already exists\. duplicated tool name\.") as twice:
        Pocket([plain, plain])
    assert isinstance(twice.value, DuplicateTool)
    pocket = Pocket([plain])
    with pytest.raises(DuplicateTool):
        pocket.load_tools([bare, plain])
    assert list(pocket.tools) == ["plain"]
    assert [one.name for one in pocket.load_tools(bare)] == ["bare"]
    assert (pocket.remove_tool("bare"), pocket.remove_tool("bare")) == (True, False)


async def test_postprocessings_run_in_order_and_their_error_is_text():
    async def shout(text: str) -> str:
        return text.upper()

    def broken(_: object) -> None:
        raise ValueError("not today")

    piped = plain | (lambda value: value["b"]) | shout
    assert await Pocket([piped]).ainvoke("plain", {"a": 1}) == "Q"
    assert await Pocket([plain.with_postprocessings([broken])]).ainvoke("plain", {"a": 1}) == (
        "Error in postprocessing `broken`: not today"
    )
    assert plain.postprocessings == ()


async def test_a_tool_is_given_its_variables_and_settings_go_before_the_code_but_not_before_an_override():
    @function_tool(tool_vars={"REGION": "code", "STAGE": "code"})
    def where(REGION: str, **kwargs: Any) -> list[str]:  # noqa: N803
        return [REGION, kwargs["STAGE"], str(kwargs.get("OTHER"))]

    assert where.schema["properties"] == {}
    assert where() == ["code", "code", "None"]
    build.use(None)
    settings('[tool_vars]\nREGION = "settings"\nOTHER = "of no tool"\n')
    assert where() == ["settings", "code", "None"]
    assert json.loads(await Pocket([where]).ainvoke("where", {}))[0] == "settings"
    over = where.override_tool_variables({"REGION": "override"})
    assert json.loads(await Pocket([over]).ainvoke("where", {}))[0] == "override"


def test_a_tool_alone_runs_with_values_of_its_tests():
    @function_tool(auth_provider=AuthProvider.SLACK)
    async def who(SLACK_BOT_TOKEN: str, thread_id: str, profile: str) -> str:  # noqa: N803
        return f"{SLACK_BOT_TOKEN} {thread_id} {profile}"

    assert who.invoke(body={}, envs={"SLACK_BOT_TOKEN": "abc"}, thread_id="ann", profile="work") == "abc ann work"
    assert who.schema["properties"] == {}


def test_a_tool_that_cannot_take_its_token_says_so_once(caplog):
    with caplog.at_level(logging.WARNING, "valetkey"):

        @function_tool(auth_provider=AuthProvider.SLACK, tool_vars={"REGION": "eu"})
        def quiet(REGION: str) -> str:  # noqa: N803
            return REGION

        Pocket([quiet | str, function_tool(auth_provider=AuthProvider.SLACK)(plain_with_kwargs)])
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == ["quiet"]


def plain_with_kwargs(**kwargs: Any) -> Mapping[str, Any]:
    return kwargs


@pytest.mark.parametrize("deadline", [0.05])
async def test_a_synchronous_tool_runs_in_a_thread_under_its_deadline(deadline):
    freed = threading.Event()

    @function_tool(deadline=deadline)
    def hanging() -> None:
        freed.wait(30)

    try:
        assert (await Pocket([hanging]).tool_call("hanging", {})).startswith("timeout tool call")
    finally:
        freed.set()


def test_a_pocket_is_a_context_manager_and_writes_nothing_for_tools_without_an_account(home):
    with Pocket([plain]) as pocket:
        assert isinstance(pocket.tools["plain"], FunctionTool)
        pocket.invoke("plain", {"a": 1})
    pocket.teardown()
    assert not home.exists()
