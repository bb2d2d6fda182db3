"""Each argument goes where it belongs: styles of OpenAPI 3.1, bodies, row X-25."""

import asyncio
import json

import pytest

from tests.tools.openapi.kit import json_body, lent, operation, param, sent_now, target_of
from valetkey.errors import InvalidArguments

COLOURS = ["blue", "b&w"]
POINT = {"R": 100, "G": "x=y"}


@pytest.mark.requirement("fault.places")
@pytest.mark.parametrize(
    ("more", "value", "target"),
    [
        ({}, "a b", "/x?c=a%20b"),
        ({}, True, "/x?c=true"),
        ({}, 1.0, "/x?c=1"),
        ({}, None, "/x"),
        ({}, "", "/x?c="),
        ({}, COLOURS, "/x?c=blue&c=b%26w"),
        ({}, [], "/x"),
        ({"explode": False}, COLOURS, "/x?c=blue,b%26w"),
        ({"style": "spaceDelimited"}, COLOURS, "/x?c=blue%20b%26w"),
        ({"style": "pipeDelimited", "explode": False}, COLOURS, "/x?c=blue%7Cb%26w"),
        ({}, POINT, "/x?R=100&G=x%3Dy"),
        ({"explode": False}, POINT, "/x?c=R,100,G,x%3Dy"),
        ({"style": "deepObject"}, {"a": {"b": [1, 2]}}, "/x?c%5Ba%5D%5Bb%5D=1&c%5Ba%5D%5Bb%5D=2"),
    ],
)
def test_query_styles(more, value, target):
    tool = operation("/x", about={"parameters": [{**param("c", schema={}), "schema": {}, **more}]})
    assert target_of(sent_now(tool, {"c": value})) == target


@pytest.mark.requirement("fault.places")
@pytest.mark.parametrize(
    ("style", "explode", "value", "path"),
    [
        ("simple", False, COLOURS, "/x/blue,b%26w"),
        ("simple", True, POINT, "/x/R=100,G=x%3Dy"),
        ("label", True, COLOURS, "/x/.blue.b%26w"),
        ("matrix", False, COLOURS, "/x/;c=blue,b%26w"),
        ("matrix", True, POINT, "/x/;R=100;G=x%3Dy"),
        ("matrix", True, COLOURS, "/x/;c=blue;c=b%26w"),
    ],
)
def test_path_styles(style, explode, value, path):
    tool = operation(
        "/x/{c}", about={"parameters": [{**param("c", "path"), "schema": {}, "style": style, "explode": explode}]}
    )
    assert target_of(sent_now(tool, {"c": value})) == path


@pytest.mark.requirement("fault.places")
def test_headers_cookies_and_json_parameters():
    filter_ = {"name": "f", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}}
    about = {"parameters": [param("X-Tags", "header", {"type": "array"}), param("c", "cookie"), filter_]}
    request = sent_now(operation("/x", about=about), {"X-Tags": ["a", "b"], "c": "a; é=1", "f": {"a": [1]}})
    assert request.headers["X-Tags"] == "a,b"
    assert request.headers["Cookie"] == "c=a%3B%20%C3%A9=1"
    assert target_of(request) == "/x?f=%7B%22a%22%3A%5B1%5D%7D"


@pytest.mark.requirement("fault.header-error", "X-04", "X-25")
@pytest.mark.parametrize("value", ["a\r\nX-Inj: 1", "a\nb", "a\x00b", " a-", "a\u2028b", "\x7f", "a\x85b"])
def test_a_header_cannot_be_split(value):
    tool = operation("/x", about={"parameters": [param("X-Trace", "header")]})
    with pytest.raises(InvalidArguments, match="X-Trace goes into a header") as caught:
        tool.bind({"X-Trace": value})
    assert value not in str(caught.value)


@pytest.mark.requirement("fault.places")
def test_query_and_body_of_a_post_stay_apart():
    about = {"parameters": [param("page")], **json_body({"type": "object", "properties": {"name": {}}})}
    request = sent_now(operation("/x", "post", about=about), {"page": "2", "name": "é"})
    assert target_of(request) == "/x?page=2"
    assert json.loads(request.body) == {"name": "é"}
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.requirement("fault.places")
@pytest.mark.parametrize("value", [[1, 2], "text", 5, None, True])
def test_a_body_that_is_no_object_is_sent_as_it_is(value):
    request = sent_now(operation("/x", "post", about=json_body({})), {"body": value})
    assert json.loads(request.body) == value


@pytest.mark.requirement("fault.places")
def test_a_form_and_its_encodings():
    schema = {"type": "object", "properties": {"a": {}, "b": {}, "c": {}, "d": {}}}
    about = json_body(schema, media="application/x-www-form-urlencoded")
    about["requestBody"]["content"]["application/x-www-form-urlencoded"]["encoding"] = {
        "c": {"style": "deepObject"},
        "d": {"style": "spaceDelimited", "explode": False},
    }
    request = sent_now(operation("/x", "post", about=about), {"a": "x y&", "b": [1, 2], "c": {"k": 1}, "d": ["u", "v"]})
    assert request.body == b"a=x+y%26&b=1&b=2&c%5Bk%5D=1&d=u+v"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.requirement("fault.places", "X-25")
def test_multipart_holds_files_and_values_and_no_name_breaks_out():
    schema = {
        "type": "object",
        "properties": {
            'f"\r\n': {"type": "string", "format": "binary"},
            "g": {"type": "string", "contentMediaType": "image/png"},
            "o": {"type": "object"},
            "n": {"type": "integer"},
        },
    }
    tool = operation("/x", "post", about=json_body(schema, media="multipart/form-data"))
    file = next(iter(tool.schema["properties"]))
    request = sent_now(tool, {file: "--x\r\n", "g": "data:image/png;base64,AAE=", "o": {"a": 1}, "n": 5})
    boundary = request.headers["Content-Type"].partition("boundary=")[2].encode()
    parts = request.body.split(b"--" + boundary)
    assert len(parts) == 6
    assert (
        b'name="f%22%0D%0A"; filename="f%22%0D%0A"\r\nContent-Type: application/octet-stream\r\n\r\n--x\r\n' in parts[1]
    )
    assert parts[2].endswith(b"Content-Type: image/png\r\n\r\n\x00\x01\r\n")
    assert parts[3].endswith(b'Content-Type: application/json\r\n\r\n{"a":1}\r\n')
    assert parts[5] == b"--\r\n"
    with pytest.raises(InvalidArguments, match="g is a data: URL"):
        tool.bind({"g": "data:image/png;base64,@@"})


@pytest.mark.requirement("fault.places")
def test_text_and_octets():
    text = sent_now(operation("/x", "post", about=json_body({}, media="text/csv")), {"body": "é"})
    assert (text.headers["Content-Type"], text.body) == ("text/csv; charset=utf-8", "é".encode())
    octets = sent_now(operation("/x", "put", about=json_body({}, media="image/png")), {"body": "data:;base64,AAE="})
    assert (octets.headers["Content-Type"], octets.body) == ("image/png", b"\x00\x01")


@pytest.mark.requirement("fault.places")
def test_json_goes_before_forms_and_no_body_is_sent_where_none_is_given():
    about = json_body({"type": "object", "properties": {"a": {}}}, required=False)
    about["requestBody"]["content"] = {"text/plain": {}, **about["requestBody"]["content"]}
    tool = operation("/x", "post", about=about)
    request = sent_now(tool, {})
    assert request.body == b""
    assert "Content-Type" not in request.headers
    assert sent_now(tool, {"a": 1}).body == b'{"a":1}'


def test_what_no_server_takes_is_refused():
    tool = operation("/x", about={"parameters": [param("q"), param("X-A", "header")]})
    with pytest.raises(InvalidArguments, match="longer than 12000"):
        tool.bind({"q": "é" * 5000})
    with pytest.raises(InvalidArguments, match="longer than 32768"):
        tool.bind({"X-A": "a" * 40_000})
    deep = operation("/x/{p}", about={"parameters": [param("p", "path", {"type": ["string", "array"]})]})
    for far_too_long in ("/" * 900_000, ["/" * 9] * 90_000):  # before anything else is looked at, which takes longer
        with pytest.raises(InvalidArguments, match="longer than 12000"):
            deep.bind({"p": far_too_long})


@pytest.mark.requirement("X-06")
@pytest.mark.parametrize("name", ["__Host-valetkey-chat", "valetkey-session", "__secure-x", "a b"])
def test_an_object_of_cookies_names_none_of_ours(name):
    tool = operation("/x", about={"parameters": [param("f", "cookie", {"type": "object"})]})
    assert sent_now(tool, {"f": {"mine": "1"}}).headers["Cookie"] == "mine=1"
    with pytest.raises(InvalidArguments, match="no cookie of yours"):
        tool.bind({"f": {name: "x"}})


@pytest.mark.requirement("X-06")
@pytest.mark.parametrize(
    ("media", "schema", "is_taken"),
    [
        ("application/x-www-form-urlencoded", {"type": "object", "minProperties": 1}, False),
        ("application/x-www-form-urlencoded", {"anyOf": [{"type": "object"}]}, False),
        ("multipart/form-data", {"type": "object", "minProperties": 1}, False),
        ("application/json", {}, False),
        ("application/json", {"anyOf": [{"properties": {"access_token": {}}}, {"type": "null"}]}, True),
    ],
)
def test_a_body_as_a_whole_holds_no_second_credential(media, schema, is_taken):
    # RFC 6750 §2.2; in a form of known properties it is no parameter either.
    schemes = {"bearer": {"type": "http", "scheme": "bearer"}}
    about = {"security": [{"bearer": []}], **json_body(schema, media=media)}
    tool = operation("/x", "post", about=about, components={"securitySchemes": schemes})
    assert tool.bind({"body": {"a": "1"}})
    if is_taken:
        assert tool.bind({"body": {"access_token": "another"}})
    else:
        with pytest.raises(InvalidArguments, match=r"body\.Access_token is not a parameter: a credential fills it"):
            tool.bind({"body": {"Access_token": "another", "access_token": "another"}})


def test_unbound_arguments_are_not_run():
    tool = operation("/x")
    with pytest.raises(InvalidArguments, match="bound first"):
        asyncio.run(tool.run(lent(tool), {"q": 1}))
