"""What comes back for a model: contract part 4, rows X-17, X-18, X-27."""

import json

import pytest

from valetkey.ports.world import Response
from valetkey.tools.openapi.answer import OperationFailed, value_of

XXE = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'


def answer(body=b"", media="application/json", *, status=200, cut=False, **headers):
    given = (("content-type", media), *headers.items()) if media else tuple(headers.items())
    return Response(status=status, headers=given, body=body, cut=cut)


def failure(body=b"", media="application/json", *, status=400):
    with pytest.raises(OperationFailed) as caught:
        value_of(answer(body, media, status=status), url="https://a.example/x")
    assert caught.value.status_code == status
    assert caught.value.url == "https://a.example/x"
    return str(caught.value)


@pytest.mark.requirement("fault.repr", "X-27")
@pytest.mark.parametrize(
    ("given", "value"),
    [
        (answer(b'{"a":[1,null]}'), {"a": [1, None]}),
        (answer(b'{"a":1}', "application/problem+json; charset=utf-8"), {"a": 1}),
        (answer(b"not json"), "not json"),
        (answer(b'{"a":NaN}'), {"a": None}),
        (answer(b"[" * 200 + b"]" * 200), "[" * 200 + "]" * 200),
        (answer(b"[" * 100_000), "[" * 100_000),
        (answer(b"9" * 5000), "9" * 5000),
        (answer("é".encode("latin-1"), "text/plain; charset=iso-8859-1"), "é"),
        (answer(b"\xff", "text/plain"), "\ufffd"),
        (answer(b"abc", "text/plain; charset=zip"), "abc"),
        (answer(b"abc", "text/plain; charset=rot13"), "abc"),
        (answer(b"data: x\n\n", "text/event-stream"), "data: x\n\n"),
        (answer(XXE, "application/xml"), XXE.decode()),
        (answer(XXE, "application/json"), XXE.decode()),
        (answer(b"plain", ""), "plain"),
        (answer(b"\x00\x01", ""), "Binary content, not shown: of no known type, 2 bytes."),
        (answer(b"\x89PNG", "image/png"), "Binary content, not shown: image/png, 4 bytes."),
        (answer(b"", status=204), "Done: HTTP 204 No Content, without content."),
        (answer(b"", status=299), "Done: HTTP 299, without content."),
    ],
)
def test_an_answer_by_its_type(given, value):
    assert value_of(given) == value


@pytest.mark.requirement("X-18.result")
def test_what_was_cut_is_marked_and_never_taken_for_whole():
    marked = value_of(answer(b'{"a":1}', cut=True))
    assert isinstance(marked, str)
    assert marked.startswith('{"a":1}\n[Partial result: cut after 7 bytes.')
    assert value_of(answer(b"\x00", "image/png", cut=True)) == "Binary content, not shown: image/png, at least 1 bytes."


@pytest.mark.requirement("X-09")
@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/login?next=/x&token=s3cret#f", "/login"),
        ("https://u:pw@idp.example/a?code=s3cret", "https://idp.example/a"),
        ("//evil.example/x", "/x"),
        ("https://[bad", "somewhere that is no URL"),
    ],
)
def test_a_redirect_is_told_without_what_may_be_secret(location, shown):
    told = value_of(answer(status=302, location=location))
    assert isinstance(told, str)
    assert told.startswith("HTTP 302 Found: it points to ")
    assert shown in told
    assert "s3cret" not in told
    assert "pw" not in told


@pytest.mark.requirement("seed003.trouble-401")
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"detail": "Bad token"}, "HTTP 401 Unauthorized: Bad token"),
        (401, {"detail": "Unauthorized"}, "HTTP 401 Unauthorized"),
        (403, {"message": "no\nway"}, "HTTP 403 Forbidden: no way"),
        (400, {"error": {"message": "deep"}}, "HTTP 400 Bad Request: deep"),
        (400, {"error": "invalid_grant", "error_description": "gone"}, "HTTP 400 Bad Request: gone"),
        (404, [], "HTTP 404 Not Found"),
        (404, {"x": 1}, 'HTTP 404 Not Found: {"x": 1}'),
        (409, {"detail": {"status_id": 7}}, 'HTTP 409 Conflict: {"status_id": 7}'),
        (500, {"x": 1}, "HTTP 500 Internal Server Error"),
        (500, {"detail": "broken"}, "HTTP 500 Internal Server Error: broken"),
        (418, {"detail": "x" * 500}, "HTTP 418 I'm a Teapot: " + "x" * 299 + "…"),
    ],
)
def test_a_failure_is_one_line(status, body, said):
    assert failure(json.dumps(body).encode(), status=status) == said


@pytest.mark.requirement("X-17")
def test_a_validation_error_is_told_without_what_was_sent():
    problems = [
        {
            "loc": ["body", "price"],
            "msg": "Input should be a valid number",
            "input": "canary-1",
            "ctx": {"x": "canary-2"},
        },
        {"loc": ["query", "q"], "msg": "Field required", "input": None},
    ]
    said = failure(json.dumps({"detail": problems}).encode(), status=422)
    assert said.endswith(": body.price: Input should be a valid number; query.q: Field required")
    assert "canary" not in said


@pytest.mark.requirement("X-17")
@pytest.mark.parametrize(
    ("status", "body", "media"),
    [
        (500, b"Traceback (most recent call last): canary", "text/plain"),
        (502, b"<html>canary</html>", "text/html"),
        (400, b"<html>canary</html>", "text/html"),
        (500, b"canary", ""),
    ],
)
def test_a_servers_own_page_stays_with_its_operator(status, body, media):
    assert "canary" not in failure(body, media, status=status)


def test_a_plain_text_refusal_is_told():
    assert failure(b"Invalid host header", "text/plain", status=400) == "HTTP 400 Bad Request: Invalid host header"
