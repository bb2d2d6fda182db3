"""A path value stays one segment of the template, in every coding: rows X-01, X-02, X-08."""

import unicodedata
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.openapi.kit import BASE, api, document, operation, param, sent_now, target_of
from valetkey.errors import InvalidArguments

ITEM = operation("/items/{id}/parts", about={"parameters": [param("id", "path")]})
LEAF = operation("/items/{id}", about={"parameters": [param("id", "path")]})

DOTS = [
    *("..", ".", "../admin", "../../admin", "a/../../admin", "/etc", "a/b", "\\..\\x", "..\\admin", "..;", "..;x=1/y"),
    *(
        "%2e%2e",
        "%2E.",
        ".%2e",
        "%252e%252e",
        "%25252e%25252e",
        "%2e%2e%2fadmin",
        "..%2fadmin",
        "..%252f",
        "%2f",
        "%5c",
    ),
    *("%c0%ae%c0%ae", "%c0%af", "%e0%80%af", "%u002e%u002e", "\uff0e\uff0e", "\uff0e\uff0e\uff0fadmin", "\u2025"),
    *("\u2024\u2024", "a\u2215b", "a\u2044b", "\u3002\u3002", "..%00", "..\x00", ".. ", " ..", "..\t", "&#x2e;&#x2e;"),
    *("\\u002e\\u002e", "%" + "25" * 20 + "2e", "", "a\r\nX: y", "a%0d%0aX: y", "a\x7fb"),
]


@pytest.mark.requirement("fault.path-traversal", "X-01", "X-02")
@pytest.mark.parametrize("value", DOTS)
@pytest.mark.parametrize("tool", [ITEM, LEAF], ids=["inside", "at the end"])
def test_a_dot_segment_or_a_slash_is_refused_in_every_coding(tool, value):
    with pytest.raises(InvalidArguments) as caught:
        tool.bind({"id": value})
    assert not value.strip(" .") or value not in str(caught.value)


@pytest.mark.requirement("X-01")
@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("a b", "a%20b"),
        ("a?x=1#y", "a%3Fx%3D1%23y"),
        ("100%", "100%25"),
        ("a%20b", "a%2520b"),
        ("é", "%C3%A9"),
        ("...", "..."),
        ("v1.2", "v1.2"),
        ("a;b", "a%3Bb"),
        ("a@evil.example:80", "a%40evil.example%3A80"),
        ("\U0001f600", "%F0%9F%98%80"),
        ("{id}", "%7Bid%7D"),
    ],
)
def test_all_else_is_percent_encoded(value, sent):
    assert target_of(sent_now(ITEM, {"id": value})) == f"/items/{sent}/parts"


@pytest.mark.requirement("fault.path-traversal", "X-01")
@settings(max_examples=400, deadline=None)
@given(st.text(st.sampled_from("./\\%2eEfF5cC;u0a\uff0e\uff0f?#@: \r") | st.characters(), min_size=1, max_size=12))
def test_whatever_the_value_the_path_keeps_to_its_template(value):
    try:
        request = sent_now(ITEM, {"id": value})
    except InvalidArguments:
        return
    target = target_of(request)
    assert target.isascii()
    prefix, middle, end = target.removeprefix("/").split("/")
    assert (prefix, end) == ("items", "parts")
    assert unquote(middle) == value
    assert not set(middle) & set("?#\\;@ ")
    for _ in range(6):  # what somebody on the way may make of it
        middle = unicodedata.normalize("NFKC", unquote(middle))
        assert middle.strip() not in {".", "..", ""}
        assert "/" not in middle
        assert "\\" not in middle


@pytest.mark.requirement("X-08")
@given(st.text(min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_the_host_is_never_the_values(value):
    tool = operation("/{a}", about={"parameters": [param("a", "path"), param("q")]})
    try:
        request = sent_now(tool, {"a": value, "q": value})
    except InvalidArguments:
        return
    assert request.url.startswith(f"{BASE}/")
    assert request.url == f"{BASE}/{quote(value, safe='-._~')}?q={quote(value, safe='-._~')}"


@pytest.mark.requirement("X-01", "X-02")
def test_parts_of_a_segment_do_not_join_to_dots():
    tool = operation("/f/{a}.{b}", about={"parameters": [param("a", "path"), param("b", "path")]})
    assert target_of(sent_now(tool, {"a": "x", "b": "txt"})) == "/f/x.txt"
    beside = operation("/f/x{a}", about={"parameters": [param("a", "path")]})
    with pytest.raises(InvalidArguments, match="a goes into the path"):
        beside.bind({"a": ".."})
    label = operation("/f/{a}", about={"parameters": [param("a", "path", style="label")]})
    assert target_of(sent_now(label, {"a": "x"})) == "/f/.x"
    for bad in ("", "."):
        with pytest.raises(InvalidArguments):
            label.bind({"a": bad})


@pytest.mark.requirement("fault.path-traversal")
def test_a_value_that_spells_another_operation_is_refused():
    get: dict[str, Any] = {"get": {}}
    paths = {"/users/{id}": get, "/users/all": get, "/users/{id}/{what}": get, "/users/{id}/keys": get, "/x/{a}": get}
    tools = api(document(paths), excluded=["/users/all", "/users/{id}/keys"]).tools()
    tools["get_users_id"].bind({"id": "5"})
    tools["get_users_id_what"].bind({"id": "5", "what": "name"})
    tools["get_x_a"].bind({"a": "all"})
    for name, arguments in [
        ("get_users_id", {"id": "all"}),
        ("get_users_id", {"id": "ALL"}),
        ("get_users_id", {"id": "%61ll"}),
        ("get_users_id_what", {"id": "5", "what": "keys"}),
    ]:
        with pytest.raises(InvalidArguments, match="another operation"):
            tools[name].bind(arguments)


@pytest.mark.requirement("fault.path-traversal")
def test_a_path_that_is_excluded_is_not_reached_by_a_value_either():
    tool = api(document({"/{area}/list": {"get": {}}}), excluded=["/admin"]).tools()["get_area_list"]
    tool.bind({"area": "shop"})
    with pytest.raises(InvalidArguments, match="another operation"):
        tool.bind({"area": "admin"})
