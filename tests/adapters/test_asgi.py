"""An app in process: what it sees, what ends it, what it may not do to us."""

import asyncio
import logging
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, Request
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import RedirectResponse, Response, StreamingResponse

from valetkey.adapters.asgi import AppFetcher
from valetkey.errors import ExchangeFailed
from valetkey.logs import speaking
from valetkey.ports.world import VISIT, Trust, Visit
from valetkey.ports.world import Request as Asked
from valetkey.scrub import Scrubber
from valetkey.secret import Secret

BASE = "http://app.invalid"


def asked(target="/", method="GET", **more):
    return Asked(method=method, url=BASE + target, trust=Trust.OPERATOR, **{"deadline": 2.0, "whole": False, **more})


@pytest.fixture
def app():
    return FastAPI()


@pytest.fixture
def visit():
    token = VISIT.set(Visit(host="shop.example:8443", scheme="https", client=("203.0.113.9", 4711), state={"db": "d"}))
    yield
    VISIT.reset(token)


@pytest.mark.requirement("fault.self-tcp", "D.in-process")
async def test_the_app_sees_the_visitors_own_connection(app, visit):
    seen: dict[str, Any] = {}

    @app.api_route("/a/{x}", methods=["GET", "POST"])
    async def look(request: Request, x: str):
        seen.update(
            url=str(request.url), client=request.client, x=x, body=await request.body(), db=request.state.db,
            headers=dict(request.headers),
        )  # fmt: skip
        return {}

    await AppFetcher(app).fetch(asked("/a/b%20c?q=%C3%A9", "POST", headers={"X-A": "1"}, body=b"hi"))
    assert seen["url"].startswith("https://shop.example:8443/a/b")
    assert seen["url"].endswith("c?q=%C3%A9")
    assert tuple(seen["client"]) == ("203.0.113.9", 4711)
    assert (seen["x"], seen["body"], seen["db"]) == ("b c", b"hi", "d")
    assert seen["headers"]["content-length"] == "2"
    assert seen["headers"]["x-a"] == "1"
    assert "cookie" not in seen["headers"]


@pytest.mark.requirement("fault.self-tcp", "D.in-process")
async def test_without_a_visitor_nobody_calls_from_loopback(app):
    @app.get("/")
    async def who(request: Request):
        return request.client

    response = await AppFetcher(app).fetch(asked())
    assert response.body == b'["chat",0]'


@pytest.mark.requirement("fault.self-tcp")
async def test_a_root_path_and_a_mounted_app_are_reached(app):
    outer = FastAPI()
    outer.root_path = "/api/v1"  # as its argument did, which is deprecated

    @outer.get("/items")
    async def items(request: Request):
        return request.url.path

    @app.get("/inner")
    async def inner():
        return "in"

    outer.mount("/sub", app)
    assert (await AppFetcher(outer).fetch(asked("/items"))).body == b'"/api/v1/items"'
    assert (await AppFetcher(outer).fetch(asked("/sub/inner"))).body == b'"in"'


@pytest.mark.requirement("W-20")
async def test_an_exception_is_an_empty_500_and_its_traceback_is_in_the_log_without_what_was_lent(app, caplog):
    @app.get("/orders/{order}")
    async def goes_wrong(order: str, token: str):
        raise ValueError(f"the stock is not there for {token}")

    for each in (app, FastAPI(debug=True)):
        caplog.clear()
        each.router.routes = app.router.routes
        with speaking(Scrubber([Secret("canary-0123456789")])):
            response = await AppFetcher(each).fetch(asked("/orders/A-17?token=canary-0123456789"))
        assert response.status == 500
        (told,) = [record for record in caplog.records if record.name == "valetkey"]
        assert told.levelno == logging.ERROR
        assert told.getMessage() == "the app raised ValueError in a call of the chat: GET /orders/{order}"
        assert "goes_wrong" in caplog.text, "where in the app's own code"
        assert "the stock is not there for " in caplog.text
        assert "canary" not in caplog.text


@pytest.mark.parametrize("raised", [SystemExit("usage: import FILE"), BaseException("a panic"), GeneratorExit()])
async def test_an_operation_that_exits_is_a_500_and_the_server_lives_on(app, raised):
    """A helper of the command line in a route does so; in a task of the loop it would end the whole server."""

    @app.get("/")
    async def exits():
        raise raised

    assert (await AppFetcher(app).fetch(asked())).status == 500


async def test_what_an_operation_raises_when_nobody_waits_any_more_is_not_told(app, caplog):
    async def late(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        raise OSError("the client has gone")

    fetcher = AppFetcher(late)
    with pytest.raises(ExchangeFailed):
        await fetcher.fetch(asked(deadline=0.01, whole=True))
    await settled(fetcher)
    assert "the app raised" not in caplog.text


@pytest.mark.requirement("D.in-process")
async def test_an_app_that_sends_nothing_or_breaks_off_is_a_500():
    async def silent(scope, receive, send):
        pass

    async def broken(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise OSError

    for each in (silent, broken):
        response = await AppFetcher(each).fetch(asked())
        assert (response.status, response.body) == (500, b"")


@pytest.mark.requirement("D.in-process")
async def test_what_the_app_does_after_its_answer_goes_on(app):
    done, go = asyncio.Event(), asyncio.Event()

    async def later():
        await go.wait()
        done.set()

    @app.get("/")
    async def answer(tasks: BackgroundTasks):
        tasks.add_task(later)
        return "now"

    response = await AppFetcher(app).fetch(asked())
    assert response.body == b'"now"'
    assert not done.is_set()
    go.set()
    await asyncio.wait_for(done.wait(), 2)


@pytest.mark.requirement("D.mid-turn-logout")
async def test_who_gives_up_ends_the_app(app):
    begun, ended = asyncio.Event(), asyncio.Event()

    @app.get("/")
    async def slow():
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = asyncio.create_task(AppFetcher(app).fetch(asked()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), 2)


@pytest.mark.requirement("D.time-outs")
async def test_no_answer_in_time_is_late_and_ends_the_app(app):
    ended = asyncio.Event()

    @app.get("/")
    async def slow():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(ExchangeFailed) as caught:
        await AppFetcher(app).fetch(asked(deadline=0.05))
    assert caught.value.late
    assert caught.value.sent
    await asyncio.wait_for(ended.wait(), 2)


async def settled(fetcher):
    """Until the app does nothing any more."""
    if fetcher._running:
        await asyncio.wait(list(fetcher._running), timeout=2)
    assert not fetcher._running


def endless(app):
    ended = asyncio.Event()

    @app.get("/")
    async def stream(pause: float = 0.0):
        async def pieces():
            try:
                while True:
                    yield b"data: x\n\n"
                    await asyncio.sleep(pause)
            finally:
                ended.set()

        return StreamingResponse(pieces(), media_type="text/event-stream")

    return ended


@pytest.mark.requirement("fault.no-limits", "X-18.result")
@pytest.mark.parametrize("wrapped", [False, True])
async def test_an_endless_answer_is_cut_at_the_cap_and_ended(app, wrapped):
    endless(app)
    if wrapped:
        app.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, call_next: call_next(request))
    fetcher = AppFetcher(app)
    response = await fetcher.fetch(asked(cap=20))
    assert (response.cut, response.body) == (True, b"data: x\n\ndata: x\n\nda")
    await settled(fetcher)


@pytest.mark.requirement("D.time-outs", "X-18.result")
async def test_a_slow_answer_is_cut_at_the_deadline_and_ended(app):
    ended = endless(app)
    response = await AppFetcher(app).fetch(asked("/?pause=60", deadline=0.1))
    assert (response.status, response.cut, response.body) == (200, True, b"data: x\n\n")
    await asyncio.wait_for(ended.wait(), 2)


async def test_whoever_wants_it_whole_gets_no_part(app):
    endless(app)
    for about in ({"cap": 20}, {"deadline": 0.1, "cap": 1 << 30}):
        with pytest.raises(ExchangeFailed):
            await AppFetcher(app).fetch(asked("/?pause=0.001", whole=True, **about))


async def test_an_answer_as_long_as_the_cap_is_whole(app):
    @app.get("/")
    async def exact():
        return Response(b"x" * 20)

    response = await AppFetcher(app).fetch(asked(cap=20))
    assert (response.cut, len(response.body)) == (False, 20)


@pytest.mark.requirement("X-09")
async def test_redirects_are_answers(app):
    @app.get("/")
    async def away():
        return RedirectResponse("https://elsewhere.example/?token=x")

    response = await AppFetcher(app).fetch(asked())
    assert (response.status, response.header("location")) == (307, "https://elsewhere.example/?token=x")


@pytest.mark.requirement("D.in-process")
async def test_state_of_a_lifespan_is_each_requests_own(app, visit):
    @app.get("/")
    async def change(request: Request):
        before = request.state.db
        request.state.db = "changed"
        return before

    fetcher = AppFetcher(app)
    assert [(await fetcher.fetch(asked())).body for _ in range(2)] == [b'"d"', b'"d"']


async def test_a_failure_after_the_answer_is_in_the_log(app, caplog):
    async def later():
        raise KeyError("canary")

    @app.get("/")
    async def answer(tasks: BackgroundTasks):
        tasks.add_task(later)
        return "now"

    fetcher = AppFetcher(app)
    with caplog.at_level(logging.WARNING):
        assert (await fetcher.fetch(asked())).status == 200
        await settled(fetcher)
    assert "raise KeyError" in caplog.text
