"""A user's own routes run off the home loop."""

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

import fastapi
import pytest
from starlette.responses import PlainTextResponse, StreamingResponse

from tests.web.asgi import Draws, drive, scope_of
from valetkey.entrypoints.web.guard import Guard
from valetkey.entrypoints.web.visitors import off_loop

mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="unset")


def visited(router: fastapi.APIRouter, **limits: Any) -> Guard:
    app = fastapi.FastAPI(openapi_url=None)
    app.include_router(router, prefix="/auth")
    return Guard(off_loop(app, **limits), base_url="https://localhost:8001", entropy=Draws())


async def test_an_endpoint_may_block_on_what_the_home_loop_does() -> None:
    """As a seed 002 router does: its async endpoint calls a synchronous store, which waits for the home loop."""
    home = asyncio.get_running_loop()
    router = fastapi.APIRouter()
    asked: Future[str] = Future()

    async def resolve() -> str:
        return f"resolved on {threading.current_thread().name}"

    @router.get("/mine/callback")
    async def callback(state: str) -> str:
        asked.set_result(state)
        return asyncio.run_coroutine_threadsafe(resolve(), home).result(timeout=5)

    answer = await drive(visited(router), scope_of(path="/auth/mine/callback", query="state=abc"))
    assert (answer.status, answer.text) == (200, '"resolved on MainThread"')
    assert asked.result(timeout=0) == "abc"


async def test_the_home_loop_serves_others_while_an_endpoint_blocks() -> None:
    router = fastapi.APIRouter()
    gate = threading.Event()

    @router.get("/slow")
    async def slow() -> str:
        return str(gate.wait(5))

    @router.get("/opens")
    async def opens() -> None:
        gate.set()

    app = visited(router)
    answers = await asyncio.gather(drive(app, scope_of(path="/auth/slow")), drive(app, scope_of(path="/auth/opens")))
    assert [answer.text for answer in answers] == ['"True"', "null"]


async def test_body_status_headers_and_context_go_through() -> None:
    router = fastapi.APIRouter()

    @router.post("/echo", status_code=201)
    async def echo(request: fastapi.Request, response: fastapi.Response) -> str:
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return f"{(await request.body()).decode()} {mark.get()} {request.headers['x-kept']}"

    mark.set("caller's")
    scope = scope_of("POST", "/auth/echo", headers=[("host", "localhost"), ("x-kept", "kept")])
    answer = await drive(visited(router), scope, b"one ", b"two")
    assert (answer.status, answer.text) == (201, '"one two caller\'s kept"')
    assert [value.partition(";")[0] for name, value in answer.headers if name == "set-cookie"] == ["a=1", "b=2"]
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("x-frame-options") == "DENY"


async def test_a_redirect_stays_one() -> None:
    router = fastapi.APIRouter()

    @router.get("/go")
    def go() -> fastapi.responses.RedirectResponse:
        return fastapi.responses.RedirectResponse("/auth/done", status_code=303)

    answer = await drive(visited(router), scope_of(path="/auth/go"))
    assert (answer.status, answer.header("location"), answer.body) == (303, "/auth/done", b"")


async def test_a_stream_that_ends_is_collected() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await StreamingResponse(parts(), media_type="text/plain")(scope, receive, send)

    assert (await drive(off_loop(app), scope_of())).text == "one two"


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, TimeoutError])
async def test_a_route_that_raises_is_a_page_with_a_reference(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error("canary-of-a-token")

    guard = Guard(off_loop(app), base_url="https://localhost:8001", entropy=Draws())
    with caplog.at_level(logging.DEBUG):
        answer = await drive(guard, scope_of())
    assert answer.status == 502
    assert "canary" not in answer.text + caplog.text
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert error.__name__ in record.getMessage()
    assert record.getMessage().rpartition("reference ")[2].rstrip(")") in answer.text


async def test_fastapis_own_answer_to_an_exception_does_not_get_out(caplog: pytest.LogCaptureFixture) -> None:
    router = fastapi.APIRouter()

    @router.get("/breaks")
    async def breaks() -> None:
        raise LookupError("canary-of-a-token")

    answer = await drive(visited(router), scope_of(path="/auth/breaks"))
    assert answer.status == 502
    assert "This step went wrong in your program" in answer.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [{"type": "http.response.start", "status": 200, "headers": []}],
        [
            {"type": "http.response.start", "status": 200, "headers": []},
            {"type": "http.response.body", "body": b"half", "more_body": True},
        ],
        [
            {"type": "http.response.start", "status": 200, "headers": []},
            {"type": "http.response.body", "body": b"x" * 1_048_577},
        ],
    ],
    ids=["nothing", "no body", "half a body", "over the cap"],
)
async def test_an_answer_that_is_not_whole_or_too_large_is_not_sent(sent: list[Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in sent:
            await send(message)

    answer = await drive(off_loop(app), scope_of())
    assert answer.status == 502
    assert b"half" not in answer.body


async def test_a_body_over_the_cap_never_reaches_the_route() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("reached")

    assert (await drive(off_loop(app, cap=10), scope_of("POST"), b"x" * 11)).status == 413


async def test_a_route_that_never_ends_is_given_up_and_holds_its_place() -> None:
    gate = threading.Event()
    threads: list[threading.Thread] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        threads.append(threading.current_thread())
        gate.wait(10)
        await PlainTextResponse("late")(scope, receive, send)

    bridge = off_loop(app, deadline=0.05, threads=1)
    assert (await drive(bridge, scope_of())).status == 504
    assert (await drive(bridge, scope_of())).status == 503
    gate.set()
    await asyncio.to_thread(threads[0].join, 5)
    answer = await drive(bridge, scope_of())
    assert (answer.status, answer.text) == (200, "late")


async def test_an_answer_frees_its_place_before_it_is_sent() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("ok")(scope, receive, send)

    bridge = off_loop(app, threads=1)
    for _ in range(20):
        assert (await drive(bridge, scope_of())).status == 200
