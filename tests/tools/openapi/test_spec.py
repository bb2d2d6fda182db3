"""Documents are read within limits: rows X-07, X-08, X-26."""

import json
import time

import pytest
import yaml

from tests.tools.openapi.kit import api, document, json_body, param
from valetkey.errors import ToolsGenerationError
from valetkey.tools.openapi import spec, yaml_events
from valetkey.tools.openapi.servers import checked_base, prefix_of, server_of

SMALL = document({"/a": {"get": {"operationId": "a"}}})


def refused(data: bytes, name: str = "spec.json") -> str:
    with pytest.raises(ToolsGenerationError) as caught:
        spec.parse(data, name=name)
    return str(caught.value)


@pytest.mark.requirement("D.remote-api")
@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.yml", "https://api.example.com/openapi"])
def test_json_and_yaml_are_read_by_suffix_or_by_what_they_are(name):
    data = json.dumps(SMALL) if "y" not in name.rpartition(".")[2] else yaml.safe_dump(SMALL)
    assert spec.parse(data.encode(), name=name) == SMALL
    assert spec.parse(b"\xef\xbb\xbf" + data.encode(), name=name) == SMALL


@pytest.mark.requirement("X-26")
@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (b"{", "s.json", "Failed to parse OpenAPI spec file s.json as JSON"),
        (b"a: [", "s.yaml", "Failed to parse OpenAPI spec file s.yaml as YAML"),
        (b"a: !!python/object/apply:os.system [x]", "s.yaml", "it has a tag"),
        (b"a: !!binary aGk=", "s.yaml", "it has a tag"),
        (b"\xff\xfe", "s.json", "it is not UTF-8"),
        (b"[" * 100_000, "s.json", "nested deeper"),
        (b"a: " + b"[" * 100_000, "s.yaml", "Failed to parse"),
        (b'{"openapi":"3.1.0","paths":{},"x":' + b"9" * 5000 + b"}", "s.json", "a number that JSON has not"),
        (b'{"openapi":"3.1.0","paths":{},"x":NaN}', "s.json", "a number that JSON has not"),
        (b'{"swagger":"2.0","paths":{}}', "s.json", "Swagger 2.0"),
        (b'{"openapi":"3.1.0","paths":[]}', "s.json", "no OpenAPI document"),
        (b"[]", "s.json", "no OpenAPI document"),
        (b"a: &a {<<: *a}", "s.yaml", "merge key"),
        (b"a: &a [*a]", "s.yaml", "stands for nothing"),
    ],
)
def test_what_is_no_document_is_refused_in_words(data, name, said):
    assert said in refused(data, name)


@pytest.mark.requirement("X-26")
def test_a_document_of_fifty_megabytes_is_refused_unread():
    began = time.process_time()
    assert "larger than 32 MB" in refused(b" " * 50_000_000)
    assert time.process_time() - began < 0.5


@pytest.mark.requirement("X-26")
def test_an_alias_bomb_is_refused_at_once():
    levels = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    began = time.process_time()
    assert "aliases unfold" in refused("\n".join(levels).encode(), "bomb.yaml")
    assert time.process_time() - began < 0.5


def test_a_plain_alias_is_read_and_words_of_yaml_stay_words():
    text = "a: &x {b: no, c: on, d: 2020-01-01, e: 012, f: 12:30, g: true, h: ~, i: 0x1f, j: 1.5}\nk: *x\n200: y"
    found = yaml_events.read(text)
    assert found["a"] == {
        "b": "no",
        "c": "on",
        "d": "2020-01-01",
        "e": 12,
        "f": "12:30",
        "g": True,
        "h": None,
        "i": 31,
        "j": 1.5,
    }
    assert found["k"] == found["a"]
    assert found["200"] == "y"


@pytest.mark.requirement("X-26")
@pytest.mark.parametrize("reference", ["https://evil.example/x.json#/a", "other.yaml", "file:///etc/passwd"])
def test_a_reference_to_another_document_is_refused(reference):
    given = document({"/a": {"get": {"parameters": [{"$ref": reference}]}}})
    assert "refers to another document" in refused(json.dumps(given).encode())


@pytest.mark.requirement("X-26")
def test_circles_of_references_end():
    schemas = {
        "Node": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}},
        "A": {"$ref": "#/components/schemas/B"},
        "B": {"$ref": "#/components/schemas/A"},
        "All": {"allOf": [{"$ref": "#/components/schemas/All"}] * 10},
    }
    paths = {f"/{name}": {"post": json_body({"$ref": f"#/components/schemas/{name}"})} for name in schemas}
    began = time.process_time()
    tools = api(document(paths, components={"schemas": schemas})).tools()
    assert "post_Node" in tools
    tools["post_Node"].bind({"next": {"next": {}}})
    assert time.process_time() - began < 1


@pytest.mark.requirement("X-26")
def test_a_long_chain_of_references_is_no_recursion():
    schemas = {
        f"S{n}": {"type": "object", "properties": {"x": {"$ref": f"#/components/schemas/S{n + 1}"}}}
        for n in range(5000)
    }
    schemas["S5000"] = {"type": "string"}
    paths = {"/a": {"post": json_body({"$ref": "#/components/schemas/S0"})}}
    (tool,) = api(document(paths, components={"schemas": schemas})).tools().values()
    assert len(tool.schema["$defs"]) == 5000


@pytest.mark.requirement("X-26")
@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_ten_thousand_operations_take_less_than_two_seconds(kind):
    about = {"summary": "Does it", "parameters": [param("id", "path", {"type": "integer"}), param("q")]}
    given = document({f"/r{n}/{{id}}": {"get": {"operationId": f"op{n}", **about}} for n in range(10_000)})
    text = json.dumps(given) if kind == "json" else yaml.dump(given, Dumper=yaml.CSafeDumper)
    limit = 2 if kind == "json" else 4  # YAML has a slower reader
    for _ in range(3):  # on a busy machine the same work takes more of the processor's time
        began = time.process_time()
        read = spec.parse(text.encode(), name=f"a.{kind}")
        described = api(dict(read))
        assert len(described.tools()) == 10_000
        took = time.process_time() - began
        if took < limit:
            break
    assert took < limit
    began = time.process_time()
    described.tools()
    assert time.process_time() - began < 0.01


def test_a_broken_operation_is_left_out_with_a_warning_and_the_others_stay(caplog):
    given = document(
        {
            "/ok": {"get": {"operationId": "ok"}},
            "/lost": {"get": {"parameters": [{"$ref": "#/components/parameters/none"}]}},
            "/up/../x": {"get": {}},
            "/q?x=1": {"get": {}},
            "no-slash": {"get": {}},
            "//evil.example/x": {"get": {}},
            "/trace": {"trace": {}},
        }
    )
    assert list(api(given).tools()) == ["ok"]
    assert "GET /lost is left out" in caplog.text


@pytest.mark.requirement("X-07")
@pytest.mark.parametrize(
    ("servers", "spec_url", "base"),
    [
        ([{"url": "https://api.example.com/v1/"}], "", "https://api.example.com/v1/"),
        ([{"url": "https://{e}.example.com", "variables": {"e": {"default": "eu"}}}], "", "https://eu.example.com"),
        ([{"url": "https://{e}.example.com"}], "", ""),
        ([{"url": "/v1"}], "", ""),
        (None, "", ""),
        (None, "https://api.example.com/o.json", "https://api.example.com"),
        ([{"url": "/v1"}], "https://api.example.com/o.json", "https://api.example.com/v1"),
        (
            [{"url": "https://other.example"}, {"url": "https://api.example.com/v2"}],
            "https://api.example.com/o.json",
            "https://api.example.com/v2",
        ),
    ],
)
def test_where_the_api_is(servers, spec_url, base):
    given = document({}, **({} if servers is None else {"servers": servers}))
    assert server_of(given, spec_url=spec_url) == base


@pytest.mark.parametrize(
    ("url", "root", "prefix"),
    [
        *(("/v1", "", "/v1"), ("/v1/", "", "/v1"), ("v1", "", "/v1"), ("../v1", "", "/v1"), ("/", "", "")),
        *(("/v1", "/v1", ""), ("/v1/x", "/v1", "/x"), ("/v10", "/v1", "/v10"), ("/v1?a=b#c", "", "/v1")),
        *(("https://a.example/v1", "", ""), ("//a.example/v1", "", ""), ("//[", "", ""), ("{nowhere}", "", "")),
    ],
)
def test_a_relative_server_is_a_path_within_the_app(url, root, prefix):
    assert prefix_of(document({}, servers=[{"url": url}]), root=root) == prefix


@pytest.mark.requirement("X-07", "X-08")
@pytest.mark.parametrize(
    "url",
    ["https://evil.example/v1", "//evil.example", "https://api.example.com.evil.example", "http://api.example.com/"],
)
def test_a_fetched_document_cannot_send_credentials_elsewhere(url):
    with pytest.raises(ToolsGenerationError, match="set api_base_url"):
        server_of(document({}, servers=[{"url": url}]), spec_url="https://api.example.com/openapi.json")


@pytest.mark.requirement("X-08")
@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a.example", "file:///etc", "https://", "https://u@api.example.com", "https://api.example.com\\@evil"),
        *(
            "https://a.example/?x",
            "https://a.example/#x",
            "https://a.example:x",
            "https://a example",
            "api.example.com",
        ),
    ],
)
def test_a_base_url_that_could_be_read_in_two_ways_is_refused(url):
    with pytest.raises(ToolsGenerationError, match="api_base_url"):
        checked_base(url)
