"""Pages of clients' services: what they are told, and what of theirs reaches a browser."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.rpc.place import WAIT, Place
from tests.rpc.test_http_apps import APPS
from tests.rpc.test_http_calls import shared
from valetkey.entrypoints.chat.handshake import cookie_name
from valetkey.entrypoints.web.forms import _cookie_name
from valetkey.entrypoints.web.interaction import _COOKIE
from valetkey.entrypoints.web.presented import session_cookie, without_ours

PUBLIC = {"visibility": "public"}
OURS = ("valetkey-claim-0123456789ab", *(f(secure=False) for f in (cookie_name, session_cookie)))


def asgi(*headers: tuple[bytes, bytes], body: bytes = b"0123456789", status: int = 200) -> dict[str, Any]:
    async def serve(args: Any) -> None:
        start = {"type": "http.response.start", "status": status, "headers": [list(each) for each in headers]}
        await args["send"](start)
        await args["send"]({"type": "http.response.body", "body": body})

    return {"id": "web", "type": "asgi", "config": PUBLIC, "serve": serve}


async def get(here: Place, path: str, *, method: str = "GET", more: str = "") -> bytes:
    """All that comes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.listener.port)
    try:
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{here.listener.port}\r\n{more}\r\n".encode())
        async with asyncio.timeout(WAIT):
            return await reader.read(-1)
    finally:
        writer.close()


@pytest.mark.requirement("E3.app-pages")
async def test_an_app_of_a_client_sees_no_cookies_and_one_of_the_host_program_none_of_ours() -> None:
    seen: list[str] = []

    def index(event: dict[str, Any]) -> dict[str, Any]:
        seen.append(event["headers"].get("cookie", ""))
        return {"status": 200, "body": "x"}

    async def serve(args: Any) -> None:
        headers = [tuple(each) for each in args["scope"]["headers"]]
        seen.extend(value.decode() for name, value in headers if name == b"cookie")
        await args["send"]({"type": "http.response.start", "status": 200, "headers": []})
        await args["send"]({"type": "http.response.body", "body": b""})

    pages = {"id": "pages", "type": "functions", "config": PUBLIC, "index": index}
    web = {"id": "web", "type": "asgi", "config": PUBLIC, "serve": serve}
    ours = (*OURS, _cookie_name("a-state", secure=False))
    async with shared(pages, web) as (here, _, http):
        for name in ours:
            for path in (f"{APPS}/pages/", f"{APPS}/web/"):
                await http.get(path, headers={"cookie": f"{name}={'s' * 43}; theirs=1"})
        assert [each for each in seen if each] == []
        here.services.table.register(pages, workspace="public")
        here.services.table.register(web, workspace="public")
        for name in ours[:1] + ours[3:]:  # the session's own case is tests/services/test_http.py's
            for path in ("/public/apps/pages/", "/public/apps/web/"):
                await http.get(path, headers={"cookie": f"{name}={'s' * 43}; theirs=1"})
        assert {each.strip() for each in seen if each} == {"theirs=1"}


def test_what_is_ours_among_cookies_is_known_by_its_name() -> None:
    for secure in (True, False):
        for name in (cookie_name(secure=secure), session_cookie(secure=secure), _cookie_name("s", secure=secure)):
            assert without_ours(f"a=1; {name}=x; b=2") == "a=1; b=2"
    claim = "__Host-valetkey-claim-0123456789ab"
    assert _COOKIE.fullmatch(claim)
    assert without_ours(f"{claim}=x;valetkeys=1; my-valetkey=2") == "valetkeys=1; my-valetkey=2"


@pytest.mark.requirement("E3.app-pages")
async def test_a_page_whose_headers_cannot_be_sent_is_a_500() -> None:
    bad = [{"set-cookie: valetkey=mine; Path=/; x": "1"}, {"": "1"}, {"x-a b": "1"}, {"x-a": "\x01"}, {"x-a": "\0"}]
    pages: dict[str, Any] = {"id": "pages", "type": "functions", "config": PUBLIC}
    for number, headers in enumerate(bad):
        pages[f"bad{number}"] = lambda event, headers=headers: {"status": 200, "headers": headers, "body": "x"}
    false = {"content-length": "99", "x-a": " spaced "}
    pages["false"] = lambda event: {"status": 200, "headers": false, "body": "x"}
    pages["nothing"] = lambda event: {"status": 204, "body": "x"}
    async with shared(pages) as (here, _, http):
        for number in range(len(bad)):
            answer = await http.get(f"{APPS}/pages/bad{number}")
            assert (answer.status_code, answer.json()["success"]) == (500, False), bad[number]
        answer = await http.get(f"{APPS}/pages/false")
        assert (answer.text, answer.headers["content-length"], answer.headers["x-a"]) == ("x", "1", "spaced")
        got = await get(here, f"{APPS}/pages/nothing", more="Connection: close\r\n")
        assert got.startswith(b"HTTP/1.1 204 ")
        assert got.endswith(b"\r\n\r\n")


@pytest.mark.requirement("E3.app-pages")
async def test_an_app_says_nothing_for_the_whole_site_or_to_the_proxy_before_it() -> None:
    speaking = """
        nel report-to reporting-endpoints x-accel-redirect x-accel-buffering x-sendfile x-lighttpd-send-file
        x-reproxy-url x-valetkey-from www-authenticate refresh clear-site-data service-worker-allowed alt-svc set-cookie
        set-cookie2 x-forwarded-host x-frame-options access-control-allow-origin origin-agent-cluster speculation-rules
        use-as-dictionary supports-loading-mode expect-ct public-key-pins document-policy sourcemap
    """.split()  # noqa: SIM905 - a list that people read
    telling = ["x-mine", "etag", "content-type", "content-language", "vary", "location", "X-RateLimit-Limit"]
    headers = dict.fromkeys([*speaking, *telling, "cache-control", "content-security-policy"], "/x")
    pages = {"id": "pages", "type": "functions", "config": PUBLIC}
    pages["index"] = lambda event: {"status": 200, "headers": headers, "body": "x"}  # type: ignore[assignment]
    web = asgi(*((name.encode(), value.encode()) for name, value in headers.items()))
    async with shared(web, pages) as (_, _, http):
        for path in ("web", "pages"):
            answer = await http.get(f"{APPS}/{path}/")
            assert [name for name in speaking if answer.headers.get(name) == "/x"] == []
            assert {name: answer.headers.get(name) for name in telling} == dict.fromkeys(telling, "/x")
            assert answer.headers.get_list("content-security-policy")[0].startswith("sandbox ")
            assert len(answer.headers.get_list("content-security-policy")) == 1


@pytest.mark.requirement("E3.apps")
@pytest.mark.parametrize(("length", "body"), [(b"30", b"0123456789"), (b"5", b"0123456789")])
async def test_an_answer_of_another_length_than_it_says_is_cut_and_the_server_still_stops(
    length: bytes, body: bytes
) -> None:
    async with shared(asgi((b"content-length", length), body=body)) as (here, _, _http):
        head, _, came = (await get(here, f"{APPS}/web/")).partition(b"\r\n\r\n")
        assert (head.startswith(b"HTTP/1.1 200 "), came) == (True, b"")


@pytest.mark.requirement("E3.apps")
async def test_an_answer_says_one_length_at_most_and_a_true_one_passes() -> None:
    length = b"content-length"
    async with shared() as (here, client, http):
        for headers in ([(length, b"10"), (length, b"10")], [(length, b"+10")], [(length, b"ten")], [(length, b"")]):
            await client.register_service(asgi(*headers), overwrite=True)
            answer = await http.get(f"{APPS}/web/")
            assert (answer.status_code, answer.json()["success"]) == (500, False), headers
        await client.register_service(asgi((length, b"10")), overwrite=True)
        assert (await http.get(f"{APPS}/web/")).text == "0123456789"
        assert (await http.head(f"{APPS}/web/")).headers["content-length"] == "10"
        await client.register_service(asgi((length, b"10"), status=304), overwrite=True)
        got = await get(here, f"{APPS}/web/", more="Connection: close\r\n")
        assert (got.startswith(b"HTTP/1.1 304 "), got.endswith(b"\r\n\r\n")) == (True, True)


@pytest.mark.requirement("E3.apps")
async def test_an_app_that_reads_no_body_ends_when_its_visitor_leaves() -> None:
    ended = asyncio.Event()

    async def serve(args: Any) -> None:
        try:
            await args["send"]({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await args["send"]({"type": "http.response.body", "body": b"more\n", "more_body": True})
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    async with shared({"id": "web", "type": "asgi", "config": PUBLIC, "serve": serve}) as (_, _, http):
        async with http.stream("POST", f"{APPS}/web/", content=b"z" * 300_000) as answer:
            assert await anext(answer.aiter_lines()) == "more"
        async with asyncio.timeout(WAIT):
            await ended.wait()
