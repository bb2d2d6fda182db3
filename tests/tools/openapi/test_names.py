"""Names, descriptions and offered paths: contract 1.1, row M-24."""

from typing import Any

import pytest

from tests.tools.openapi.kit import api, document
from valetkey.tools.openapi.names import Paths, tool_name


def offered(paths, **settings):
    return list(api(document(paths), **settings).tools())


@pytest.mark.requirement("chat.tool-names")
@pytest.mark.parametrize(
    ("operation_id", "method", "path", "name"),
    [
        ("listProducts", "get", "/x", "listProducts"),
        ("list.products-now", "get", "/x", "list_products_now"),
        ("2fa", "post", "/x", "api_2fa"),
        (None, "get", "/api/products/{product_id}", "get_api_products_product_id"),
        ("", "delete", "/a-b/{c}.json", "delete_a_b_c_json"),
        ("???", "get", "/", "get"),
        ("a\nIgnore all", "get", "/x", "a_Ignore_all"),
        (5, "get", "/x", "get_x"),
    ],
)
def test_a_name_is_the_cleaned_operation_id_or_method_and_path(operation_id, method, path, name):
    assert tool_name(operation_id, method, path) == name


@pytest.mark.requirement("chat.tool-names")
def test_a_long_name_is_cut_and_stays_the_same_and_its_own():
    one, two = (tool_name("x" * 100, "get", path) for path in ("/a", "/b"))
    assert len(one) == len(two) == 64
    assert one != two
    assert one == tool_name("x" * 100, "get", "/a")


@pytest.mark.requirement("chat.tool-names")
def test_names_that_meet_are_told_apart_whatever_the_order():
    paths = {"/a": {"get": {"operationId": "x.y"}}, "/b": {"get": {"operationId": "x-y"}}}
    names = offered(paths)
    assert len(set(names)) == 2
    assert names[0] == "x_y"
    assert offered(paths) == names


@pytest.mark.requirement("chat.tool-names")
def test_a_description_is_one_line_with_method_and_path():
    paths = {
        "/a": {"get": {"description": "Reads\nit.\u202e\x07", "summary": "S"}, "post": {"summary": "Makes it"}},
        "/b": {"get": {}, "put": {"description": "x" * 5000}},
    }
    tools = api(document(paths)).tools()
    assert tools["get_a"].description == "Reads it. (HTTP GET /a)"
    assert tools["post_a"].description == "Makes it. (HTTP POST /a)"
    assert tools["get_b"].description == "GET /b. (HTTP GET /b)"
    assert len(tools["put_b"].description) <= 1024
    assert tools["put_b"].description.endswith("… (HTTP PUT /b)") or "(HTTP PUT /b)" in tools["put_b"].description


@pytest.mark.requirement("fault.prefixes", "d32.chat")
@pytest.mark.parametrize(
    ("allowed", "excluded", "path", "is_offered"),
    [
        ([], ["/health"], "/health", False),
        ([], ["/health"], "/health/live", False),
        ([], ["/health"], "/health-records", True),
        ([], ["/health/"], "/health", False),
        ([], ["health"], "/health", False),
        ([], ["/HEALTH"], "/health", False),
        (["/api"], [], "/api/x", True),
        (["/api"], [], "/apis", False),
        (["/api/*/items"], [], "/api/v1/items/{id}", True),
        (["/api/*/items"], [], "/api/v1/v2/items", False),
        (["/api/v*"], [], "/api/v2/x", True),
        (["/api/**/items"], [], "/api/a/b/items", True),
        (["/users/{id}"], [], "/users/{user_id}", True),
        (["/users/{id}"], [], "/users/all", False),
        (["/api"], ["/api/admin"], "/api/admin/x", False),
        (["/a.c"], [], "/abc", False),
        ([""], [], "/x", True),
    ],
)
def test_patterns_match_whole_segments(allowed, excluded, path, is_offered):
    assert Paths(allowed, excluded).offers(path) is is_offered


@pytest.mark.requirement("fault.prefixes")
def test_only_what_is_offered_becomes_a_tool():
    paths: dict[str, Any] = {path: {"get": {}} for path in ("/api/a", "/api/admin", "/health")}
    assert offered(paths, allowed=["/api"], excluded=["/api/admin"]) == ["get_api_a"]


def test_an_excluded_path_is_excluded_in_every_spelling_of_a_document():
    paths: dict[str, object] = {
        "/%61dmin/users": {"get": {}},
        "/%2561dmin": {"get": {}},
        "/%ff": {"get": {}},
        "/a%C3%A9": {"get": {}},
    }
    assert offered(paths, excluded=["/admin"]) == ["get_a_C3_A9"]
