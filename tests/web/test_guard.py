"""Which requests reach a page."""

import asyncio
import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.web.asgi import Answer, Draws, drive, scope_of
from valetkey import errors
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.guard import Guard

STRICT = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(body)(scope, receive, send)


def guarded(app: Any = echo, base_url: str = "https://localhost:8001", **more: Any) -> Guard:
    return Guard(app, base_url=base_url, entropy=Draws(), **more)


def strict(answer: Answer) -> bool:
    csp = answer.header("content-security-policy") or ""
    return all(answer.header(name) == value for name, value in STRICT.items()) and csp.startswith("default-src 'none'")


@pytest.mark.parametrize(
    "host", ["localhost:8000", "LOCALHOST", "127.0.0.1:8001", "[::1]:8000", "keys.example.test", "alias.example.test:1"]
)
async def test_a_host_of_ours_is_answered(host: str) -> None:
    app = guarded(base_url="https://keys.example.test", hosts=["alias.example.test"])
    answer = await drive(app, scope_of(headers=[("host", host)]))
    assert answer.status == 200


@pytest.mark.requirement("W-15")
@pytest.mark.parametrize(
    "host", ["evil.test", "localhost.evil.test", "evil.localhost:8000", "10.0.0.1", "localhost.", "[::2]", "0"]
)
async def test_another_host_is_misdirected(host: str) -> None:  # O-16, W-15
    reached: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope)

    answer = await drive(guarded(app), scope_of(headers=[("host", host), ("x-forwarded-host", "localhost")]))
    assert answer.status in {400, 421}
    assert not reached
    assert strict(answer)


@pytest.mark.requirement("W-15")
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("host", "localhost"), ("host", "localhost")],
        [("host", "localhost"), ("Host", "evil.test")],
        [("host", "")],
        [("host", "localhost, evil.test")],
        [("host", "evil.test@localhost")],
        [("host", "localhost/evil")],
        [("host", "localhost:80a")],
    ],
)
async def test_a_missing_doubled_or_malformed_host_is_a_bad_request(headers: list[tuple[str, str]]) -> None:  # W-15
    answer = await drive(guarded(), scope_of(headers=headers))
    assert answer.status == 400
    assert strict(answer)


@pytest.mark.requirement("W-15")
@pytest.mark.parametrize("path", ["http://localhost/auth", "http://evil.test/", "*", "localhost:8000", ""])
async def test_a_target_that_is_no_path_is_a_bad_request(path: str) -> None:
    assert (await drive(guarded(), scope_of(path=path))).status == 400


async def test_a_body_within_the_cap_arrives_whole() -> None:
    answer = await drive(guarded(), scope_of("POST"), b"a" * 40_000, b"b" * 25_536)
    assert answer.status == 200
    assert answer.body == b"a" * 40_000 + b"b" * 25_536


async def test_a_body_over_the_cap_is_refused_whether_announced_or_not() -> None:
    counted = await drive(guarded(), scope_of("POST"), b"a" * 40_000, b"b" * 25_537)
    announced = await drive(
        guarded(), scope_of("POST", headers=[("host", "localhost"), ("content-length", "65537")]), b"a"
    )
    absurd = await drive(
        guarded(), scope_of("POST", headers=[("host", "localhost"), ("content-length", "9" * 4000)]), b"a"
    )
    assert [counted.status, announced.status, absurd.status] == [413, 413, 413]
    assert strict(counted)


async def test_a_body_that_does_not_come_is_given_up() -> None:
    messages: list[Any] = []

    async def never() -> Any:
        await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        messages.append(message)

    await guarded(deadline=0.01)(scope_of("POST"), never, send)
    assert messages[0]["status"] == 408


async def test_a_client_that_leaves_is_not_answered() -> None:
    async def left() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await guarded()(scope_of("POST"), left, send)


async def test_headers_are_added_where_an_answer_lacks_them() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        own = HTMLResponse("<p>", headers={"Content-Security-Policy": "default-src 'self'", "Cache-Control": "private"})
        await own(scope, receive, send)

    answer = await drive(guarded(app), scope_of())
    assert answer.header("content-security-policy") == "default-src 'self'"
    assert answer.header("cache-control") == "private"
    assert answer.header("x-frame-options") == "DENY"
    assert answer.header("access-control-allow-origin") is None  # W-16


@pytest.mark.requirement("W-14")
@pytest.mark.parametrize(
    ("base_url", "pinned"),
    [
        ("https://keys.example.test", True),
        ("http://keys.example.test", False),
        ("https://localhost:8001", False),
        ("https://127.0.0.1:8001", False),
        ("https://[::1]:8001", False),
        ("https://app.localhost", False),
    ],
)
async def test_browsers_are_bound_to_https_only_under_a_public_name(base_url: str, pinned: bool) -> None:
    answer = await drive(guarded(base_url=base_url), scope_of())
    assert (answer.header("strict-transport-security") is not None) is pinned


@pytest.mark.requirement("W-20")
async def test_what_nobody_caught_is_a_page_with_a_reference_and_no_word_of_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:  # W-20
    async def breaks(request: Request) -> Response:
        raise RuntimeError("canary-of-a-token in /some/path")

    app = guarded(Starlette(routes=[Route("/", breaks)], exception_handlers=page.exception_handlers()))
    with caplog.at_level(logging.DEBUG):
        answer = await drive(app, scope_of())
    assert answer.status == 503
    assert strict(answer)
    assert "canary" not in answer.text + caplog.text
    assert "Traceback" not in caplog.text
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "RuntimeError in breaks" in record.getMessage()
    reference = record.getMessage().rpartition("reference ")[2].rstrip(")")
    assert len(reference) == 8
    assert reference in answer.text


async def test_an_error_of_ours_from_a_bare_app_is_rendered_by_the_table() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise errors.Denied("You may not.")

    answer = await drive(guarded(app), scope_of())
    assert answer.status == 403
    assert "You may not." in answer.text


async def test_each_request_has_a_reference_of_its_own() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(page.reference_of(scope))
        await echo(scope, receive, send)

    app_ = guarded(app)
    await drive(app_, scope_of())
    await drive(app_, scope_of())
    assert len(set(seen)) == 2
    assert all(seen)


async def test_a_websocket_is_closed() -> None:
    sent: list[Any] = []

    async def connect() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await guarded()({"type": "websocket", "headers": [], "path": "/"}, connect, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
